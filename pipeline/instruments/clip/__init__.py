"""CLIP through open_clip, and the only importer of it: pictures and texts to vectors of unit length.

A model is an open_clip name with a `pretrained` tag or a weights file ("ViT-B-16", "openai"), a hub repository
("hf-hub:org/name", or "hf-hub:org/name@revision" to pin it), or a local folder that holds open_clip_config.json and
open_clip_model.safetensors. Importing this package imports no torch; `load` does.
"""

from pipeline.instruments.clip.encoder import BATCH, Clip, rules
from pipeline.instruments.clip.find import CONFIG, WEIGHTS, ClipError
from pipeline.instruments.clip.weights import initialise, load, save, trainable

__all__ = ["BATCH", "CONFIG", "WEIGHTS", "Clip", "ClipError", "initialise", "load", "rules", "save", "trainable"]
