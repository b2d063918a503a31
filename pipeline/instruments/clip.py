"""CLIP through open_clip, and the only importer of it: pictures and texts to vectors of unit length.

A model is an open_clip name with a `pretrained` tag or a weights file ("ViT-B-16", "openai"), a hub repository
("hf-hub:org/name", or "hf-hub:org/name@revision" to pin it), or a local folder that holds open_clip_config.json and
open_clip_model.safetensors. Importing this module imports no torch; `load` does.
"""

import difflib
import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from pipeline.instruments.sentences import pieces

if TYPE_CHECKING:
    import torch
    from torch import nn

    from pipeline.instruments.clip_text import TextTower
    from pipeline.instruments.hardware import Precision

CROPS_RULE = 1  # raised when the same picture would be cut another way
CONFIG, WEIGHTS = "open_clip_config.json", "open_clip_model.safetensors"
HUB, LOCAL = "hf-hub:", "local-dir:"
BATCH = 64  # crops in one forward pass
MARGIN = 256 / 224  # crops of 5 and 10 are cut from a picture this much larger than the model's input


class ClipError(Exception):
    """No such model, no weights, or an input that CLIP cannot take. The message holds the remedy."""


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
                pixels = torch.cat(views).to(self.device, _dtype(self.precision))
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
        from pipeline.instruments.clip_text import TextTower, UnsupportedTower

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


def load(
    model: str, pretrained: str | None = None, *, device: str = "auto", precision: "Precision" = "auto"
) -> Clip:
    """Load a CLIP model for inference; see the module's text for what `model` and `pretrained` may be.

    `precision` "bf16" casts the image tower's weights (not autocast: measured twice as fast as float32 on a CPU with
    bf16 instructions, where autocast was slower); texts are always encoded in float32, for they are few. "auto"
    follows the hardware. Raises ClipError.
    """
    import open_clip

    from pipeline.instruments.hardware import pick_device, pick_precision

    try:
        where = pick_device(device)
    except ValueError as error:
        raise ClipError(str(error)) from error
    resolved = pick_precision(precision, where)
    spec, tag = _find(model, pretrained)
    with _quiet():
        try:
            net = open_clip.create_model(
                spec, pretrained=tag, require_pretrained=True, pretrained_text=False, device="cpu",
                force_quick_gelu=_trained_with_quick_gelu(spec, tag),
            )
            tokenizer = open_clip.get_tokenizer(spec)
            dim = open_clip.get_model_config(spec)["embed_dim"]
        except Exception as error:  # open_clip raises whatever its parts raise
            raise ClipError(_cannot_load(model, pretrained, error)) from error
    net.requires_grad_(False).eval().to(where)
    net.visual.to(_dtype(resolved))
    return Clip(model, net, tokenizer, dim, where, resolved)


def rules() -> dict[str, Any]:
    """What a feature depends on besides the model: for a fingerprint; needs no torch."""
    return {"open_clip": ".".join(version("open_clip_torch").split(".")[:2]), "crops_rule": CROPS_RULE}


def initialise(folder: Path, seed: int = 0) -> None:
    """Write weights drawn from `seed` for the model that `folder`/open_clip_config.json describes."""
    import torch
    from open_clip import create_model

    with _quiet(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        save(create_model(f"{LOCAL}{folder}", load_weights=False), folder)


def trainable(folder: Path) -> tuple[Any, Any]:
    """The model in `folder` with weights that learn, in float32, and its tokenizer, as open_clip makes them."""
    import open_clip

    with _quiet():
        return open_clip.create_model(f"{LOCAL}{folder}").float(), open_clip.get_tokenizer(f"{LOCAL}{folder}")


def save(net: "nn.Module", folder: Path) -> None:
    """Write a model's weights in float16 beside the configuration in `folder`, which `load` then takes."""
    import torch
    from safetensors.torch import save_file

    weights = {key: value.to("cpu", torch.float16).contiguous() for key, value in net.state_dict().items()}
    save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})
    (folder / WEIGHTS).chmod(0o644)  # safetensors leaves it to the owner alone


def _dtype(precision: str) -> "torch.dtype":
    import torch

    return torch.bfloat16 if precision == "bf16" else torch.float32


def _token_ids(tokenizer: Any, text: str) -> list[int]:
    """All tokens of a text, start and end token included, nothing cut and nothing padded."""
    if hasattr(tokenizer, "encode"):  # CLIP's own byte-pair encoder
        return [tokenizer.sot_token_id, *tokenizer.encode(text), tokenizer.eot_token_id]
    clean = getattr(tokenizer, "clean_fn", str.strip)
    ids: list[int] = tokenizer.tokenizer(clean(text)).input_ids
    return ids


def _local_folder(model: str) -> Path | None:
    """The folder that `model` names, None if it names no folder. Raises ClipError for one that holds no model."""
    folder = Path(model.removeprefix(LOCAL)).expanduser()
    if not (model.startswith(LOCAL) or folder.is_dir()):
        return None
    if not folder.is_dir():
        raise ClipError(f"{folder}: no such folder; give a folder that holds {CONFIG} and {WEIGHTS}")
    if not (folder / CONFIG).is_file():
        raise ClipError(f"{folder}: no {CONFIG} in it, so it is not an open_clip model; "
                        "save one with open_clip's push_to_hf_hub or download one from the hub")
    if not any(path.suffix in {".safetensors", ".bin", ".pth"} for path in folder.iterdir()):
        raise ClipError(f"{folder}: no weights in it; put {WEIGHTS} beside {CONFIG}")
    return folder


def _find(model: str, pretrained: str | None) -> tuple[str, str | None]:
    """Name and tag as open_clip takes them. Raises ClipError if there can be no such model."""
    import open_clip

    if folder := _local_folder(model):
        return f"{LOCAL}{folder}", None
    if model.startswith(HUB):
        return f"{LOCAL}{_download(model)}", None
    name = model.replace("/", "-")
    if name not in open_clip.list_models():
        near = difflib.get_close_matches(name, open_clip.list_models(), 3, 0.4)
        raise ClipError(f"no CLIP model {model!r}; near it: {', '.join(near) or 'nothing'}. A local model is given by "
                        f"its folder (no folder of that name here), one of the hub as {HUB}org/name")
    tags = open_clip.list_pretrained_tags_by_model(name)
    if pretrained and (open_clip.get_pretrained_cfg(name, pretrained) or Path(pretrained).is_file()):
        return name, pretrained
    asked = f"no weights {pretrained!r} of" if pretrained else "no weights named for"
    raise ClipError(f"{asked} CLIP model {model!r}; `pretrained` may be a weights file or "
                    f"{', '.join(tags) or '(no tag is known for this model)'}")


def _download(model: str) -> Path:
    """A hub repository as a local folder; from the cache if it is there. Raises ClipError."""
    from huggingface_hub import snapshot_download

    name, _, revision = model.removeprefix(HUB).partition("@")
    wanted = [CONFIG, "tokenizer*", "special_tokens_map.json", "vocab.*", "merges.txt", "*.spm", "sentencepiece*"]
    try:
        for weights in (WEIGHTS, "open_clip_pytorch_model.bin"):
            folder = Path(snapshot_download(name, revision=revision or None, allow_patterns=[*wanted, weights]))
            if (folder / weights).is_file():
                break
    except Exception as error:  # the hub's client raises errors of several libraries
        raise ClipError(_cannot_load(model, None, error)) from error
    _local_folder(f"{LOCAL}{folder}")
    return folder


def _trained_with_quick_gelu(name: str, tag: str | None) -> bool:
    """Whether these weights need QuickGELU: open_clip takes it from the model's name and would only warn."""
    import open_clip

    return bool(tag and open_clip.get_pretrained_cfg(name, tag).get("quick_gelu", False))


def _cannot_load(model: str, pretrained: str | None, error: Exception) -> str:
    named = f"{model} ({pretrained})" if pretrained else model
    lines = str(error).strip().splitlines() or [type(error).__name__]
    reason = " ".join(line.strip() for line in lines[:3]).rstrip(".")
    if _local_folder(model) or (pretrained and Path(pretrained).is_file()):
        return f"CLIP model {named} cannot be loaded: {reason}. Check that weights and {CONFIG} belong together"
    return (f"CLIP model {named} cannot be fetched: {reason}. Without a network: load it once on a connected machine "
            f"and copy its cache (~/.cache/huggingface), or give a local folder with {CONFIG} and {WEIGHTS}")


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence open_clip, which logs each step through the root logger; its faults arrive as exceptions."""
    root, before = logging.getLogger(), logging.root.manager.disable
    guard = logging.NullHandler()  # without a handler, logging would install one for good
    root.addHandler(guard)
    logging.disable(logging.ERROR)
    try:
        yield
    finally:
        logging.disable(before)
        root.removeHandler(guard)
