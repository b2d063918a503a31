"""A seeded world of surveillance videos with exact truth: places, people, vehicles, six anomalies.

`render_dataset` writes it as a dataset of mp4 files; `tell` and `Renderer` give any frame of any story in memory.
"""

from dbvad.demo.world.captions import CLASSES, named_class
from dbvad.demo.world.dataset import MODEL_SEEDS, Video, catalogue, render_dataset
from dbvad.demo.world.render import Renderer
from dbvad.demo.world.story import NORMAL, Story, tell

__all__ = [
    "CLASSES",
    "MODEL_SEEDS",
    "NORMAL",
    "Renderer",
    "Story",
    "Video",
    "catalogue",
    "named_class",
    "render_dataset",
    "tell",
]
