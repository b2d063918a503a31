"""The six anomalies, each a choreography of people, vehicles and effects between two moments."""

from collections.abc import Callable

import numpy as np

from dbvad.demo.world.events.arson import arson
from dbvad.demo.world.events.explosion import explosion
from dbvad.demo.world.events.fighting import fighting
from dbvad.demo.world.events.incident import Incident, random_look
from dbvad.demo.world.events.road_accident import road_accident
from dbvad.demo.world.events.robbery import robbery
from dbvad.demo.world.events.vandalism import vandalism
from dbvad.demo.world.scenes import Scene

__all__ = ["EVENTS", "SUITED", "Incident", "random_look"]

SUITED: dict[str, tuple[str, ...]] = {  # the places where each class can happen
    "fighting": ("street", "shop", "car park", "plaza"),
    "road_accident": ("street", "car park"),
    "explosion": ("street", "shop", "car park", "plaza"),
    "robbery": ("street", "shop", "car park", "plaza"),
    "vandalism": ("street", "shop", "car park", "plaza"),
    "arson": ("street", "shop", "car park", "plaza"),
}
# Each: what happens in a scene from one moment to another (seconds), drawn by the generator.
EVENTS: dict[str, Callable[[np.random.Generator, Scene, float, float], Incident]] = {
    "fighting": fighting,
    "road_accident": road_accident,
    "explosion": explosion,
    "robbery": robbery,
    "vandalism": vandalism,
    "arson": arson,
}
