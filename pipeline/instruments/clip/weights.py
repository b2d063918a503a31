"""Models into memory, and weights onto the disk."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.instruments.clip.encoder import Clip, dtype_of
from pipeline.instruments.clip.find import LOCAL, WEIGHTS, ClipError, cannot_load, find, trained_with_quick_gelu

if TYPE_CHECKING:
    from torch import nn

    from pipeline.instruments.hardware import Precision


def load(
    model: str, pretrained: str | None = None, *, device: str = "auto", precision: "Precision" = "auto"
) -> Clip:
    """Load a CLIP model for inference; see the package's text for what `model` and `pretrained` may be.

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
    spec, tag = find(model, pretrained)
    with _quiet():
        try:
            net = open_clip.create_model(
                spec, pretrained=tag, require_pretrained=True, pretrained_text=False, device="cpu",
                force_quick_gelu=trained_with_quick_gelu(spec, tag),
            )
            tokenizer = open_clip.get_tokenizer(spec)
            dim = open_clip.get_model_config(spec)["embed_dim"]
        except Exception as error:  # open_clip raises whatever its parts raise
            raise ClipError(cannot_load(model, pretrained, error)) from error
    net.requires_grad_(False).eval().to(where)
    net.visual.to(dtype_of(resolved))
    return Clip(model, net, tokenizer, dim, where, resolved)


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
