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


def recipe(loaded: Loaded, clip: ClipPlace, device: str = "auto") -> tuple[DecodeParams, ScoreParams]:
    """How pictures are taken and features made of them, as the model was trained. Raises ConfigError."""
    made, where = loaded.facts.recipe, f"the recipe of {loaded.path}"
    return (parse(DecodeParams, made["decode"], where),
            parse(ScoreParams, made["score"] | {"model": clip.model, "pretrained": clip.pretrained, "device": device},
                  where))


def stages(loaded: Loaded, clip: ClipPlace, *, protocol: Protocol, thresholds: Thresholds, words: Sequence[str] = (),
           device: str = "auto", workers: int | None = None) -> list[Stage]:
    """The stages in order. `workers`: processes that probe and decode. Raises ConfigError, LookAheadError."""
    decode, score = recipe(loaded, clip, device)
    ingest = IngestParams(workers=workers) if workers else IngestParams()
    if workers:
        decode = decode.model_copy(update={"workers": workers})
    return [Ingest(ingest), Decode(decode), Score(score, {}, clip.identity), Detect(loaded, protocol, device),
            Events(loaded, thresholds, words, score, clip.identity)]
