"""Descriptions come in for training videos only, as texts or vectors of any width."""

import json
from pathlib import Path

import numpy as np
import pytest

from dbvad.importing import ImportFault
from pipeline.contracts import DESCRIBE, EMBED, embeddings
from pipeline.engine.store import Store
from tests.importing.published import ages, rows, run, save
from tests.tiny import tiny_clip

TEXTS = {"a": "A man lights a fire.", "b": "People walk by, \"slowly\".\nNothing else happens."}


@pytest.fixture
def artifacts(tmp_path: Path) -> Path:
    """Two training videos and a test video."""
    for name in "abc":
        save(tmp_path / "features" / f"{name}.npy", rows(3))
    (tmp_path / "labels.csv").write_text("video,label,split\na,fire,train\nb,normal,train\nc,fire,test\n")
    run("features", tmp_path / "features", "--labels", tmp_path / "labels.csv", "--artifacts", tmp_path / "artifacts")
    return tmp_path / "artifacts"


def vectors(path: Path, named: dict[str, list[float]]) -> Path:
    np.savez(path, videos=np.array(list(named)), embeddings=np.array(list(named.values()), np.float32))
    return path


def embedding(store: Store, video_id: str) -> np.ndarray:
    return embeddings(store.read("embed", video_id)["embedding"])[0]


@pytest.mark.parametrize("form", ["json", "csv"])
def test_texts_through_a_clip(artifacts: Path, tmp_path_factory: pytest.TempPathFactory, form: str) -> None:
    file = artifacts.parent / f"texts.{form}"
    if form == "json":
        file.write_text(json.dumps(TEXTS))
    else:
        file.write_text("video,text\n" + "".join(f'{name},"{text.replace(chr(34), chr(34) * 2)}"\n'
                                                 for name, text in TEXTS.items()))
    model = tiny_clip(tmp_path_factory.mktemp("clip") / "tiny")
    command = ["descriptions", file, "--clip", model, "--artifacts", artifacts]
    assert run(*command) == 0
    store = Store(artifacts)
    assert store.videos("describe") == store.videos("embed") == ["a", "b"]
    for video_id, text in TEXTS.items():
        assert store.fault_of(store.path("describe", video_id), DESCRIBE) is None
        assert store.fault_of(store.path("embed", video_id), EMBED) is None
        assert store.read("describe", video_id)["text"].to_pylist() == [text]
    assert store.footer("embed", "a").meta == {"model": "tiny", "dim": 32}
    before = ages(store)
    assert run(*command) == 0
    assert ages(store) == before
    file.write_text(file.read_text().replace("lights", "puts out"))
    assert run(*command) == 0
    assert {name for name, age in ages(store).items() if age != before[name]} == {"describe/a.parquet",
                                                                                   "embed/a.parquet"}


def test_vectors_of_any_width(artifacts: Path) -> None:
    file = vectors(artifacts.parent / "v.npz", {"a": [3.0, 4.0, 0.0], "x/b.mp4": [0.0, 2.0, 0.0]})
    assert run("descriptions", "--embeddings", file, "--artifacts", artifacts) == 0
    store = Store(artifacts)
    assert np.allclose(embedding(store, "a"), [0.6, 0.8, 0], atol=1e-3)
    assert np.allclose(embedding(store, "b"), [0, 1, 0], atol=1e-3)
    assert store.videos("describe") == []


def test_a_test_videos_description_never_comes_in(artifacts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    texts = artifacts.parent / "t.json"
    texts.write_text(json.dumps(TEXTS | {"c": "poison", "elsewhere": "?"}))
    file = vectors(artifacts.parent / "v.npz", {"a": [1.0], "b": [1.0], "c": [1.0]})
    assert run("descriptions", texts, "--embeddings", file, "--artifacts", artifacts) == 3
    said = capsys.readouterr().out
    assert "1 are of test videos and were refused: they would be a leak: c" in said
    assert "1 are of no video here: elsewhere" in said
    store = Store(artifacts)
    assert store.videos("describe") == store.videos("embed") == ["a", "b"]
    texts.write_text(json.dumps(TEXTS))
    vectors(file, {"a": [1.0], "b": [1.0]})
    command = ["descriptions", texts, "--embeddings", file, "--strict", "--artifacts", artifacts]
    assert run(*command) == 0
    texts.write_text(json.dumps(TEXTS | {"elsewhere": "?"}))
    assert run(*command) == 1


def test_one_that_cannot_be_used_costs_its_video_only(artifacts: Path) -> None:
    file = vectors(artifacts.parent / "v.npz", {"a": [np.nan, 1.0], "b": [1.0, 1.0]})
    assert run("descriptions", "--embeddings", file, "--artifacts", artifacts) == 3
    store = Store(artifacts)
    assert store.videos("embed") == ["b"]
    assert store.quarantined("embed", "a")["kind"] == "not_finite"
    vectors(file, {"a": [1.0, 0.0], "b": [1.0, 1.0]})
    assert run("descriptions", "--embeddings", file, "--artifacts", artifacts) == 0
    assert store.quarantined("embed", "a") is None


def test_what_is_left_of_an_earlier_import_is_told(artifacts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    both = vectors(artifacts.parent / "v.npz", {"a": [1.0, 0.0], "b": [0.0, 1.0]})
    run("descriptions", "--embeddings", both, "--artifacts", artifacts)
    run("descriptions", "--embeddings", vectors(both, {"b": [0.0, 1.0]}), "--artifacts", artifacts)
    assert "1 training videos keep the description of an earlier import: a" in capsys.readouterr().out


def test_mistakes_are_explained(artifacts: Path, tmp_path: Path) -> None:
    def fails(message: str, *arguments: object) -> None:
        with pytest.raises(ImportFault, match=message):
            run("descriptions", *arguments, "--artifacts", artifacts)

    texts, listed, unknown = tmp_path / "t.json", tmp_path / "l.json", tmp_path / "u.json"
    texts.write_text(json.dumps(TEXTS))
    listed.write_text("[1]")
    unknown.write_text('{"z": "who"}')
    pickled = tmp_path / "p.npz"
    np.savez(pickled, videos=np.array(["a"], object), embeddings=np.ones((1, 2)))
    fails("nothing to import")
    fails("add them to the embeddings, or name a CLIP", texts)
    fails("expected JSON {video: text}, found a list", listed)
    fails("no description of a training video in here: 1 names are of no video", unknown)
    fails("cannot read descriptions from", tmp_path / "none.json")
    fails("cannot read embeddings from", "--embeddings", pickled)
    fails("use one of the two", texts, "--clip", "x", "--embeddings", pickled)
    twice = tmp_path / "twice.npz"
    np.savez(twice, videos=np.array(["a", "a"]), embeddings=np.ones((2, 2)))
    fails("come twice", "--embeddings", twice)
    with pytest.raises(ImportFault, match=r"no videos in .*import their features first"):
        run("descriptions", texts, "--clip", "x", "--artifacts", tmp_path / "new")
