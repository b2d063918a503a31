"""A loaded CLIP at work: crops of pictures, short and long texts."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from pipeline.instruments.clip.find import ClipError
from pipeline.instruments.sentences import pieces

if TYPE_CHECKING:
    import torch

    from pipeline.instruments.clip.text_tower import TextTower

CROPS_RULE = 1  # raised when the same picture would be cut another way
BATCH = 64  # crops in one forward pass
MARGIN = 256 / 224  # crops of 5 and 10 are cut from a picture this much larger than the model's input


class Clip:
    """A CLIP model ready to encode; safe to call from several threads. Made by `load`."""

    def __init__(self, name: str, net: Any, tokenizer: Any, dim: int, device: "torch.device",
                 precision: Literal["fp32", "bf16"]) -> None:
        """`net`, `tokenizer`: as open_clip makes them."""
        self.name, self.net, self.dim, self.device, self.precision = name, net, dim, device, precision
        self._tokenizer = tokenizer
        self._context: int = net.context_length

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
        import torch

        if crops not in (1, 5, 10):
            raise ClipError(f"{crops} crops: use 1, 5 or 10")
        for place, image in enumerate(images):
            if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
                raise ClipError(f"picture {place}: {image.dtype} {image.shape}, expected uint8 (H, W, 3) RGB")
        step = max(1, BATCH // crops)
        found = [torch.empty(0, self.dim)]
        with torch.inference_mode(), ThreadPoolExecutor(torch.get_num_threads()) as pool:
            for start in range(0, len(images), step):
                views = list(pool.map(partial(self._views, crops=crops), images[start:start + step]))
                pixels = torch.cat(views).to(self.device, dtype_of(self.precision))
                found.append(self._unit(self.net.encode_image(pixels)))
        return torch.cat([part.cpu() for part in found]).numpy().reshape(len(images), crops, self.dim)

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

    def _views(self, image: np.ndarray, crops: int) -> "torch.Tensor":
        """One picture as the model's input: (crops, 3, S, S) float32."""
        import torch
        from open_clip.transform import PreprocessCfg, image_transform_v2
        from PIL import Image
        from torchvision.transforms import InterpolationMode, functional  # type: ignore[import-untyped]

        config, picture = PreprocessCfg(**self._preprocessing), Image.fromarray(image)
        if crops == 1:
            return image_transform_v2(config, is_train=False)(picture)[None]
        height, width = (config.size, config.size) if isinstance(config.size, int) else config.size
        scale = MARGIN * max(height / picture.height, width / picture.width)
        large = functional.resize(picture, [round(picture.height * scale), round(picture.width * scale)],
                                  InterpolationMode(config.interpolation))
        *corners, centre = functional.five_crop(large, [height, width])
        views = [functional.to_tensor(view) for view in (centre, *corners)]
        if crops == 10:
            views += [view.flip(-1) for view in views]
        return functional.normalize(torch.stack(views), config.mean, config.std)

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
