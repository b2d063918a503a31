"""Arrow schemas of what detection adds to the artifacts (see pipeline/contracts.py)."""

import pyarrow as pa

from pipeline.contracts import Contract

SPLIT = "detect"  # of a video that nothing is known of: neither trained nor tested on


def _schema(**columns: pa.DataType) -> pa.Schema:
    return pa.schema([pa.field(name, type_, nullable=False) for name, type_ in columns.items()])


# A row a snippet. `shares`: of the model's classes, normal first, empty where it tells none apart; `label`: the
# likeliest class that is not normal, in words, with its share among those in `likeness`.
DETECT = Contract("detect", _schema(
    video_id=pa.string(), start_frame=pa.int64(), end_frame=pa.int64(), start_s=pa.float64(), end_s=pa.float64(),
    score=pa.float32(), label=pa.string(), likeness=pa.float32(), shares=pa.list_(pa.float32()),
), order=("start_frame",))
# A row an event. `suggested_by`: "model" (shares of its classes), "words" (CLIP likeness to the user's own), or "".
EVENTS = Contract("events", _schema(
    video_id=pa.string(), event_id=pa.string(), start_s=pa.float64(), end_s=pa.float64(), start_frame=pa.int64(),
    end_frame=pa.int64(), peak=pa.float32(), peak_s=pa.float64(), mean=pa.float32(),
    suggested=pa.list_(pa.string()), likeness=pa.list_(pa.float32()), suggested_by=pa.string(),
    fingerprint=pa.string(),
), order=("start_frame",))
# A row an event that was explained. `frames`, `times_s`: what the model was shown, in order of time.
EXPLAIN = Contract("explain", _schema(
    video_id=pa.string(), event_id=pa.string(), frames=pa.list_(pa.int64()), times_s=pa.list_(pa.float64()),
    what=pa.string(), who=pa.string(), place=pa.string(), outcome=pa.string(), against=pa.string(), text=pa.string(),
    flags=pa.list_(pa.string()), model=pa.string(), revision=pa.string(), prompt_id=pa.string(),
    latency_ms=pa.float32(),
))

VIEWS = {"detected": DETECT, "events": EVENTS, "explained": EXPLAIN}  # as SQL calls them
CONTRACTS = {contract.artifact: contract for contract in (DETECT, EVENTS, EXPLAIN)}
