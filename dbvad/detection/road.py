"""The road from a video to its events: the pipeline's stages as the model was trained on them, then detection's own."""

from collections.abc import Sequence

from dbvad.detection.contracts import SPLIT
from dbvad.detection.model import ClipPlace, Loaded
from dbvad.detection.stages import Detect, Events
from dbvad.scoring.events import Thresholds
from dbvad.scoring.protocol import Protocol
from pipeline.engine.config import parse
from pipeline.engine.stage import Stage
from pipeline.stages.decode import Decode, DecodeParams
from pipeline.stages.ingest import Ingest, IngestParams
from pipeline.stages.score import Score, ScoreParams

FACTS = {"split": SPLIT, "labels": []}


def stages(loaded: Loaded, clip: ClipPlace, *, protocol: Protocol, thresholds: Thresholds, words: Sequence[str] = (),
           device: str = "auto", workers: int | None = None) -> list[Stage]:
    """The stages in order. `workers`: processes that probe and decode."""
    recipe, where = loaded.facts.recipe, f"the recipe of {loaded.path}"
    decode = parse(DecodeParams, recipe["decode"] | ({"workers": workers} if workers else {}), where)
    score = parse(ScoreParams, recipe["score"] | {"model": clip.model, "pretrained": clip.pretrained,
                                                  "device": device}, where)
    ingest = IngestParams(workers=workers) if workers else IngestParams()
    return [Ingest(ingest), Decode(decode), Score(score, {}, clip.identity), Detect(loaded, protocol, device),
            Events(loaded, thresholds, words, score, clip.identity)]


