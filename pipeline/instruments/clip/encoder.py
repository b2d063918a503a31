"""A loaded CLIP at work: crops of pictures, short and long texts."""

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, partial
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np

from pipeline.instruments.clip.find import ClipError
from pipeline.instruments.sentences import pieces

if TYPE_CHECKING:
    import torch

    from pipeline.instruments.clip.pictures import Views
    from pipeline.instruments.clip.text_tower import TextTower

T = TypeVar("T")

CROPS_RULE = 1  # raised when the same picture would be cut another way
BATCH, CARD_BATCH = 64, 256  # crops in one forward pass, on a processor and on a graphics card
AHEAD = 2  # batches that are read while the model works on one


class Clip:
    """A CLIP model ready to encode; safe to call from several threads. Made by `load`."""

    def __init__(self, name: str, net: Any, tokenizer: Any, dim: int, device: "torch.device",
                 precision: Literal["fp32", "bf16"]) -> None:
        """`net`, `tokenizer`: as open_clip makes them."""
        self.name, self.net, self.dim, self.device, self.precision = name, net, dim, device, precision
        self._tokenizer = tokenizer
        self._context: int = net.context_length

    @property
    def batch(self) -> int:
        """Crops in one forward pass."""
        return CARD_BATCH if self._on_card else BATCH

    @property
    def provenance(self) -> dict[str, Any]:
        """What made the vectors, for a footer: more than the identity, for it names this machine's choices."""
        return {"model": self.name, "dim": self.dim, "precision": self.precision, "device": self.device.type,
                "image_size": self._preprocessing["size"], "open_clip": version("open_clip_torch")}

    def encode_images(self, images: Sequence[np.ndarray], crops: int = 1) -> np.ndarray:
        """Features of pictures: N arrays (H, W, 3) uint8 RGB -> (N, crops, D) float32, each of length 1.

        `crops` 1: the model's own preprocessing (most often: short side resized, centre cut). 5: centre, top left,
        top right, bottom left, bottom right; 10: these and their mirror images, in that order, which is the order of
        VadCLIP's published features (`__0` to `__9`). For 5 and 10 the short side is resized to 256/224 of the input
        size (after VadCLIP, which resizes to 340 x 256 and cuts 224; here the aspect ratio is kept), so that the
        corners differ in every video. Pictures may differ in size. Raises ClipError.
        """
        step = max(1, self.batch // crops)
        batches = (images[start:start + step] for start in range(0, len(images), step))
        none = np.empty((0, crops, self.dim), np.float32)
        return np.concatenate([none, *self.encode_batches(batches, lambda image: image, crops)])

    def encode_batches(self, batches: Iterable[Sequence[T]], read: Callable[[T], np.ndarray],
                       crops: int = 1) -> Iterator[np.ndarray]:
        """The same for batches of any things that `read` makes pictures of: an array for each batch, in order.

        Threads read and cut the pictures of the next batches while the model works on one; what `read` raises ends it.
        A batch should have `batch` crops.
        """
        if crops not in (1, 5, 10):
            raise ClipError(f"{crops} crops: use 1, 5 or 10")
        from torch import get_num_threads

        places = itertools.count()
        pool = ThreadPoolExecutor(get_num_threads())
        submit = partial(pool.submit, partial(self._ready, read, crops))
        try:
            reading = (list(map(submit, batch, places)) for batch in batches)
            found = (self._features([picture.result() for picture in batch], crops) for batch in _ahead(reading, AHEAD))
            # A card is asked for features only when it has the next batch's work as well.
            for features in _ahead(found, int(self._on_card)):
                yield features.cpu().numpy().reshape(-1, crops, self.dim)
        finally:
            pool.shutdown(cancel_futures=True)

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        """Features of short texts: (N, D) float32, each of length 1. Raises ClipError for one that is empty or cut."""
        import torch

        for text in texts:
            self._not_empty(text)
            if not self._fits(text):
                raise ClipError(f"text has {len(_token_ids(self._tokenizer, text))} tokens, {self.name} reads "
                                f"{self._context}; shorten it or use encode_long_text: {text[:80]!r}...")
        found = [torch.empty(0, self.dim)]
        with torch.inference_mode():
            for start in range(0, len(texts), BATCH):
                tokens = self._tokenizer(list(texts[start:start + BATCH])).to(self.device)
                found.append(self._unit(self.net.encode_text(tokens)))
        return torch.cat([part.cpu() for part in found]).numpy()

    def encode_long_text(self, text: str) -> tuple[np.ndarray, int]:
        """Feature of a text of any length: (D,) float32 of length 1, and the number of pieces it was read in.

        CLIP reads 77 tokens. A text that fits is read whole; a longer one is read sentence by sentence (an overlong
        sentence in pieces cut at word borders), and the unit vectors are averaged and scaled to length 1. Nothing is
        cut off. Raises ClipError for a text without words.
        """
        self._not_empty(text)
        parts = [part for part in pieces(text, self._fits) if self._content(part)]
        mean = self.encode_texts(parts).mean(axis=0)
        return mean / np.linalg.norm(mean), len(parts)

    def text_tower(self) -> "TextTower":
        """A frozen float32 copy of the text encoder for prompt learning, on this model's device. Raises ClipError."""
        from pipeline.instruments.clip.text_tower import TextTower, UnsupportedTower

        try:
            return TextTower(self.net, partial(_token_ids, self._tokenizer)).to(self.device)
        except UnsupportedTower as error:
            raise ClipError(f"{self.name} cannot carry learnable prompts: {error}. "
                            "Use a model with CLIP's own text tower, such as ViT-B-16") from error

    @property
    def _preprocessing(self) -> dict[str, Any]:
        config: dict[str, Any] = self.net.visual.preprocess_cfg
        return config

    @cached_property
    def views(self) -> "Views":
        """What the model sees of a picture."""
        from open_clip.transform import PreprocessCfg

        from pipeline.instruments.clip.pictures import Views

        return Views(PreprocessCfg(**self._preprocessing))

    @property
    def _on_card(self) -> bool:
        return self.device.type == "cuda"

    def _ready(self, read: Callable[[T], np.ndarray], crops: int, item: T, place: int) -> np.ndarray:
        """A picture for a card to cut, (H, W, 3), or cut, (crops, h, w, 3). Raises ClipError."""
        image = read(item)
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
            raise ClipError(f"picture {place}: {image.dtype} {image.shape}, expected uint8 (H, W, 3) RGB")
        return image if self._on_card and self.views.for_card(image, crops) else self.views.cut(image, crops)

    def _features(self, pictures: Sequence[np.ndarray], crops: int) -> "torch.Tensor":
        """Of what `_ready` gave for a batch: (N x crops, D) on the device, where they may not be ready yet."""
        import torch

        with torch.inference_mode():
            parts = [self._levels(list(alike), crops)
                     for _, alike in itertools.groupby(pictures, lambda picture: picture.shape)]
            return torch.cat([self._unit(self.net.encode_image(self.views.normal(pixels, dtype_of(self.precision))))
                              for pixels in torch.cat(parts).split(self.batch)])

    def _levels(self, pictures: Sequence[np.ndarray], crops: int) -> "torch.Tensor":
        """Pictures alike, as `_ready` gave them -> (N x crops, 3, h, w) float32 levels on the device."""
        import torch

        packed = torch.empty((len(pictures), *pictures[0].shape), dtype=torch.uint8, pin_memory=self._on_card)
        np.stack(pictures, out=packed.numpy())
        there = self._bring(packed)
        if there.ndim == 4:
            return self.views.cut_on_card(there, crops)
        return there.flatten(0, 1).permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.contiguous_format)

    def _bring(self, values: "torch.Tensor") -> "torch.Tensor":
        """To the device; to a card beside what it computes meanwhile."""
        import torch

        if not self._on_card:
            return values.to(self.device)
        now = torch.cuda.current_stream(self.device)
        with torch.cuda.stream(self._copies):
            there = values.to(self.device, non_blocking=True)
        now.wait_stream(self._copies)
        there.record_stream(now)
        return there

    @cached_property
    def _copies(self) -> "torch.cuda.Stream":
        import torch

        return torch.cuda.Stream(self.device)

    @staticmethod
    def _unit(features: "torch.Tensor") -> "torch.Tensor":
        features = features.float()
        return features / features.norm(dim=-1, keepdim=True)

    def _fits(self, text: str) -> bool:
        return len(_token_ids(self._tokenizer, text)) <= self._context

    def _content(self, text: str) -> bool:
        return len(_token_ids(self._tokenizer, text)) > len(_token_ids(self._tokenizer, ""))

    def _not_empty(self, text: str) -> None:
        if not self._content(text):
            raise ClipError(f"text {text!r} has no words; leave it out, or describe the video again")


def _ahead(items: Iterable[T], count: int) -> Iterator[T]:
    """The items, each handed out when `count` more have been drawn."""
    waiting: deque[T] = deque()
    for item in items:
        waiting.append(item)
        if len(waiting) > count:
            yield waiting.popleft()
    yield from waiting


def rules() -> dict[str, Any]:
    """What a feature depends on besides the model: for a fingerprint; needs no torch."""
    return {"open_clip": ".".join(version("open_clip_torch").split(".")[:2]), "crops_rule": CROPS_RULE}


def dtype_of(precision: str) -> "torch.dtype":
    """What the image tower's weights and pictures are held in."""
    import torch

    return torch.bfloat16 if precision == "bf16" else torch.float32


def _token_ids(tokenizer: Any, text: str) -> list[int]:
    """All tokens of a text, start and end token included, nothing cut and nothing padded."""
    if hasattr(tokenizer, "encode"):  # CLIP's own byte-pair encoder
        return [tokenizer.sot_token_id, *tokenizer.encode(text), tokenizer.eot_token_id]
    clean = getattr(tokenizer, "clean_fn", str.strip)
    ids: list[int] = tokenizer.tokenizer(clean(text)).input_ids
    return ids
