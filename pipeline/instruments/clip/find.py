"""Which CLIP model is meant and where it lies: a name of open_clip, a repository of the hub, a folder."""

import difflib
from pathlib import Path

CONFIG, WEIGHTS = "open_clip_config.json", "open_clip_model.safetensors"
HUB, LOCAL = "hf-hub:", "local-dir:"


class ClipError(Exception):
    """No such model, no weights, or an input that CLIP cannot take. The message holds the remedy."""


def find(model: str, pretrained: str | None) -> tuple[str, str | None]:
    """Name and tag as open_clip takes them. Raises ClipError if there can be no such model."""
    import open_clip

    if folder := local_folder(model):
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


def local_folder(model: str) -> Path | None:
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
        raise ClipError(cannot_load(model, None, error)) from error
    local_folder(f"{LOCAL}{folder}")
    return folder


def trained_with_quick_gelu(name: str, tag: str | None) -> bool:
    """Whether these weights need QuickGELU: open_clip takes it from the model's name and would only warn."""
    import open_clip

    return bool(tag and open_clip.get_pretrained_cfg(name, tag).get("quick_gelu", False))


def cannot_load(model: str, pretrained: str | None, error: Exception) -> str:
    """What to tell of a model that open_clip or the hub's client failed on."""
    named = f"{model} ({pretrained})" if pretrained else model
    lines = str(error).strip().splitlines() or [type(error).__name__]
    reason = " ".join(line.strip() for line in lines[:3]).rstrip(".")
    if local_folder(model) or (pretrained and Path(pretrained).is_file()):
        return f"CLIP model {named} cannot be loaded: {reason}. Check that weights and {CONFIG} belong together"
    return (f"CLIP model {named} cannot be fetched: {reason}. Without a network: load it once on a connected machine "
            f"and copy its cache (~/.cache/huggingface), or give a local folder with {CONFIG} and {WEIGHTS}")
