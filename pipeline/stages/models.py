"""What a model is, for a fingerprint: a name and revision, or the content of a local checkpoint."""

import hashlib
from pathlib import Path

from pipeline.engine.hashing import HashCache

ModelIdentity = dict[str, str | None]
MODEL_FILES = {".safetensors", ".bin", ".pt", ".pth", ".json", ".txt", ".jinja", ".model"}  # not its card, not its .git


def identify(model: str, revision: str | None, cache: HashCache) -> ModelIdentity:
    """Identity of a hub model, or of a local one wherever it lies.

    `revision`: a commit, an open_clip tag, or a path to weights. `cache` saves reading gigabytes of weights at each
    plan.
    """
    if Path(model).is_dir():
        return {"content": _folder_hash(Path(model), cache)}
    if revision is not None and Path(revision).is_file():
        return {"name": model, "content": cache.hash(str(Path(revision).resolve()), Path(revision))}
    return {"name": model, "revision": revision}


def name_of(model: str) -> str:
    """The name to store: a local model goes by its folder's name, so that no machine's path gets into an artifact."""
    return Path(model).resolve().name if Path(model).is_dir() else model


def _folder_hash(folder: Path, cache: HashCache) -> str:
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.suffix in MODEL_FILES and path.is_file():
            name = path.relative_to(folder).as_posix()
            digest.update(f"{name} {cache.hash(str(path.resolve()), path)}\n".encode())
    return digest.hexdigest()[:32]
