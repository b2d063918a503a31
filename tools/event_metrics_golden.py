"""Golden cases for the event metrics, by sed_eval (tests/detector/event_metrics_golden.json).

For an environment of its own, whose versions the file names; tests compare with the file and need no sed_eval:

    python -m venv /tmp/sed && /tmp/sed/bin/pip install numpy scipy cffi pyyaml typing-extensions
    /tmp/sed/bin/pip install --no-deps sed_eval dcase_util librosa lazy-loader soundfile six future validators
    /tmp/sed/bin/python tools/event_metrics_golden.py tests/detector/event_metrics_golden.json

sed_eval lets two events match by collars on onset and offset, not by IoU; what is checked is all that comes after:
the optimal one-to-one matching, and the figures over all files.
"""

import json
import platform
import random
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import sed_eval
from dcase_util.containers import MetaDataContainer

CASES, COLLAR_S, OF_LENGTH = 20, 2.0, 0.5


def main() -> None:
    rng = random.Random(0)
    names = ("sed_eval", "dcase_util", "numpy", "scipy")
    about = {"versions": {"python": platform.python_version(), **{name: version(name) for name in names}},
             "collar_s": COLLAR_S, "of_length": OF_LENGTH}
    cases = ",\n".join(json.dumps(case(rng)) for _ in range(CASES))  # a line each
    Path(sys.argv[1]).write_text(f'{json.dumps(about)[:-1]}, "cases": [\n{cases}\n]}}\n', encoding="utf-8")


def case(rng: random.Random) -> dict[str, Any]:
    files = []
    for _ in range(rng.randint(1, 4)):
        truth = spans(rng, rng.randint(0, 6))
        near = [[round(edge + rng.uniform(-3, 3), 1) for edge in span] for span in truth if rng.random() < 0.8]
        found = [span for span in near if span[0] < span[1]] + spans(rng, rng.randint(0, 2))
        files.append({"truth": truth, "found": sorted(found)})
    if not any(file["truth"] for file in files):
        files[0]["truth"] = spans(rng, 2)
    metrics = sed_eval.sound_event.EventBasedMetrics(
        event_label_list=["event"], t_collar=COLLAR_S, percentage_of_length=OF_LENGTH, event_matching_type="optimal")
    for number, file in enumerate(files):
        metrics.evaluate(*(MetaDataContainer([{"file": f"{number}.wav", "event_label": "event", "onset": start,
                                               "offset": end} for start, end in file[kind]])
                           for kind in ("truth", "found")))
    figures = metrics.results_overall_metrics()["f_measure"]
    return {"files": files, "matched": int(metrics.overall["Ntp"]),
            **{name: None if value != value else float(value) for name, value in
               (("precision", figures["precision"]), ("recall", figures["recall"]), ("f1", figures["f_measure"]))}}


def spans(rng: random.Random, count: int) -> list[list[float]]:
    starts = sorted(round(rng.uniform(0, 60), 1) for _ in range(count))
    return [[start, round(start + rng.uniform(1, 12), 1)] for start in starts]


if __name__ == "__main__":
    main()
