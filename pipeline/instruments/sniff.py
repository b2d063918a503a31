from pathlib import Path


def looks_like_video(path: Path) -> bool:
    return False
