"""A dataset under any edits, with runs in between, equals the same dataset built from nothing."""

import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dbvad.data.dataset import DataError, read_index, read_training
from dbvad.evaluation.evaluate import evaluate
from dbvad.training.config import TrainConfig
from dbvad.training.loop import train
from pipeline.engine.config import ConfigError
from pipeline.engine.store import Store
from pipeline.sql import connect, query
from tests import videos
from tests.changing import Edited

LABELS = ("normal", "fight", "arson")
START = {"a.mp4": ("fight", "train"), "b.mp4": ("normal", "train"), "c.mp4": ("arson", "train"),
         "d.mp4": ("normal", "train"), "e.mp4": ("fight", "test"), "f.mp4": ("normal", "test")}
NAMES = [*START, "g.mp4", "h.mp4"]
QUESTIONS = ("from videos order by video_id", "select * from ingest order by video_id",
             "select video_id, frame_idx, pts_s, hash(jpeg) from decode order by video_id, frame_idx",
             "select * from score order by video_id, frame_idx",
             "select video_id, stage, kind from quarantine order by all")

EDITS = st.one_of(
    st.tuples(st.just("put"), st.sampled_from(NAMES), st.integers(0, 7)),  # add, replace, mend, copy: by content
    st.tuples(st.just("remove"), st.sampled_from(NAMES)),
    st.tuples(st.just("rename"), st.sampled_from(NAMES), st.sampled_from(NAMES)),
    st.tuples(st.just("empty"), st.sampled_from(NAMES)),
    st.tuples(st.just("break"), st.sampled_from(NAMES)),
    st.tuples(st.just("label"), st.sampled_from(NAMES), st.sampled_from(LABELS), st.sampled_from(("train", "test"))),
    st.tuples(st.just("forget"), st.sampled_from(NAMES)),
    st.tuples(st.just("run")),
)


@pytest.fixture(scope="module")
def templates(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("templates")
    return [videos.barcode(folder / f"{number}.mp4", 9 + 4 * number, size=(64, 48)) for number in range(8)]


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory, templates: list[Path]) -> Path:
    """A model that was trained on the first state of the dataset."""
    root = tmp_path_factory.mktemp("model")
    start(root, templates).run(root / "artifacts")
    train(TrainConfig(dbm=False, batch=2, epochs=1, device="cpu", precision="fp32"), root / "artifacts", root / "run",
          quiet=True)
    return root / "run"


def start(root: Path, templates: list[Path]) -> Edited:
    edited = Edited(root, dict(START))
    for name, template in zip(START, templates, strict=False):
        edited.put(name, template)
    return edited


def edit(edited: Edited, templates: list[Path], kind: str, name: str = "", *more: Any) -> None:
    path = edited.videos / name
    if kind == "put":
        edited.put(name, templates[more[0]])
    elif kind == "remove":
        path.unlink(missing_ok=True)
    elif kind == "rename" and path.exists():
        path.replace(edited.videos / more[0])
    elif kind == "empty" and path.exists():
        path.write_bytes(b"")
    elif kind == "break" and path.exists():
        path.write_bytes(path.read_bytes()[:-400])
    elif kind == "label":
        edited.rows[name] = more
    elif kind == "forget":
        edited.rows.pop(name, None)


def answers(artifacts: Path, run: Path) -> dict[str, Any]:
    """Everything that a user could be told of the artifacts."""
    store, found = Store(artifacts), dict[str, Any]()
    with closing(connect(artifacts)) as con:
        for question in QUESTIONS:
            asked = query(con, question)
            assert asked is not None
            found[question] = list(asked.rows)
    for name, ask in {
        "train": lambda: read_index(store, "train"), "test": lambda: read_index(store, "test"),
        "training data": lambda: _training(store),
        "figures": lambda: evaluate(run, artifacts, device="cpu", out=artifacts)["metrics"],
    }.items():
        try:
            found[name] = ask()
        except DataError as error:
            found[name] = str(error).replace(str(artifacts), "ARTIFACTS")
    return found


def _training(store: Store) -> tuple[str, list[list[float]]]:
    data = read_training(store, bins=8, cache=store.root / "cache", descriptions=False, allow_leaks=True)
    return data.fingerprint, np.asarray(data.features.rows).tolist()


@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(edits=st.lists(EDITS, min_size=1, max_size=12))
def test_edits_and_runs_leave_what_a_fresh_build_has(templates: list[Path], run_folder: Path, edits: list[Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        edited = start(Path(folder), templates)
        edited.run(edited.root / "lived")
        for number, one in enumerate([*edits, ("run",)]):
            edit(edited, templates, *one)
            if one[0] == "run":
                try:
                    edited.run(edited.root / "lived")
                except ConfigError:  # no video is left: what was there is not today's dataset
                    assert number < len(edits) or not list(edited.videos.iterdir())
                    return
        edited.run(edited.root / "fresh")
        assert answers(edited.root / "lived", run_folder) == answers(edited.root / "fresh", run_folder)
