"""The detector: consumes the pipeline's artifacts, trains, evaluates, detects, reports.

`from dbvad import Detector` is the way in from Python; nothing heavy is imported before it is asked for.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dbvad.detection.detector import Detection, Detector
    from dbvad.scoring.events import Event, Snippet, Thresholds, Tracker

__version__ = "0.1.0"
__all__ = ["Detection", "Detector", "Event", "Snippet", "Thresholds", "Tracker", "__version__"]
_HOMES = {"Detection": "detection.detector", "Detector": "detection.detector", "Event": "scoring.events",
          "Snippet": "scoring.events", "Thresholds": "scoring.events", "Tracker": "scoring.events"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"dbvad.{_HOMES[name]}"), name)
