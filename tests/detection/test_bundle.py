"""Bundles: what is taken elsewhere scores as the run did, says what it is, and a wrong one is refused."""

import json
import shutil
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from dbvad.detection import onnx_form
from dbvad.detection.bundle import CARD, MANIFEST, ONNX, ModelError, export
from dbvad.detection.model import find_clip, load
from dbvad.training.checkpoint import MODEL, load_model, save_model
from pipeline.engine.hashing import HashCache
from tests.detection.conftest import BINS, CLIP, STRIDE, World, detect
from tests.e2e.conftest import call
from tests.tiny import tiny_clip

needs_onnx = pytest.mark.skipif(find_spec("onnxscript") is None or find_spec("onnxruntime") is None,
                                reason="dbvad[onnx] is not installed")


@pytest.fixture(scope="module")
def bundle(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("bundle") / "model"
    export(world.run, out)
    return out


def sequences(width: int, length: int = BINS) -> np.ndarray:
    return np.random.default_rng(1).standard_normal((3, length, width)).astype(np.float32)


def test_a_bundle_is_the_run(world: World, bundle: Path) -> None:
    ours, theirs = load(world.run, device="cpu"), load(bundle, device="cpu")
    assert (ours.fingerprint, ours.facts, ours.labels) == (theirs.fingerprint, theirs.facts, theirs.labels)
    assert ours.labels == ("fighting", "road accident")
    x = sequences(ours.facts.width)
    np.testing.assert_array_equal(ours.network(x), theirs.network(x))
    assert ours.facts.recipe["decode"]["stride"] == STRIDE
    assert ours.facts.recipe["score"]["crops"] == 1


def test_the_card_names_figures_and_where_they_come_from(world: World, bundle: Path) -> None:
    card, result = (bundle / CARD).read_text(), json.loads((world.run / "result.json").read_text())
    assert f"| video AUC | {100 * result['metrics']['video_auc']:.2f} |" in card
    for told in (result["provenance"]["test_data"], result["provenance"]["training_data"], "normal, fighting, "
                 "road_accident", load(bundle).fingerprint, "3 test videos", "scale bins", "calibration"):
        assert told in card
    made = json.loads((bundle / MANIFEST).read_text())
    assert made["clip"]["identity"]["content"] in card


def test_a_run_that_was_not_evaluated_promises_no_figure(world: World, tmp_path: Path) -> None:
    shutil.copytree(world.run, tmp_path / "run", ignore=shutil.ignore_patterns("result.json"))
    export(tmp_path / "run", tmp_path / "model")
    assert "there is no figure" in (tmp_path / "model" / CARD).read_text()


def test_a_bundle_detects_what_the_run_detected(world: World, searched: Path, bundle: Path, tmp_path: Path,
                                                capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(searched / "detections", tmp_path / "detections")
    capsys.readouterr()
    assert call(*detect(world, tmp_path, "--model", bundle, "--dry-run", "--json")) == 0
    assert json.loads(capsys.readouterr().out) == []


def test_wrong_bundles_are_refused(world: World, bundle: Path, tmp_path: Path) -> None:
    newer = shutil.copytree(bundle, tmp_path / "newer")
    made = json.loads((newer / MANIFEST).read_text())
    (newer / MANIFEST).write_text(json.dumps(made | {"bundle": 2, "dbvad": "9.9", "unheard": []}))
    with pytest.raises(ModelError, match=r"format 2, made by dbvad 9\.9.*install a newer dbvad"):
        load(newer)
    (newer / MANIFEST).write_text("{")
    with pytest.raises(ModelError, match="cannot be read"):
        load(newer)
    (newer / MANIFEST).write_text(json.dumps(made))
    model = load_model(newer)
    with open(newer / MODEL, "wb") as file:
        file.write((bundle / MODEL).read_bytes())
    model.detector.classifier.linear.bias.data += 1
    save_model(newer / MODEL, model)
    with pytest.raises(ModelError, match="not the file that was exported"):
        load(newer)
    with pytest.raises(ModelError, match="is there and is no bundle"):
        export(world.run, world.root)
    with pytest.raises(ModelError, match="the run itself"):
        export(world.run, world.run)


def test_a_local_clip_is_found_where_it_lay_or_taken_along_or_named(world: World, tmp_path: Path) -> None:
    cache = HashCache(tmp_path / "hashes.json")
    assert find_clip(load(world.run), None, cache).model == str(CLIP)
    moved = shutil.copytree(CLIP, tmp_path / "elsewhere")
    run = shutil.copytree(world.run, tmp_path / "run")
    model = load_model(run)
    save_model(run / MODEL, type(model)(model.detector, model.head, model.config.model_copy(
        update={"text_model": str(tmp_path / "gone")}), model.facts))
    with pytest.raises(ModelError, match="say where they lie by --clip"):
        find_clip(load(run), None, cache)
    assert find_clip(load(run), str(moved), cache).model == str(moved)
    assert call("export", run, "--out", tmp_path / "model", "--with-clip", "--clip", moved) == 0
    shutil.rmtree(moved)
    assert find_clip(load(tmp_path / "model"), None, cache).model == str(tmp_path / "model" / "clip")
    with pytest.raises(ModelError, match="features of clip"):
        find_clip(load(run), str(tiny_clip(tmp_path / "tiny")), cache)


@needs_onnx
def test_the_onnx_form_agrees_and_detects_alike(world: World, searched: Path, tmp_path: Path,
                                                capsys: pytest.CaptureFixture[str]) -> None:
    assert call(*detect(world, searched, "--json")) == 0
    before = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert call("export", world.run, "--out", tmp_path / "model", "--onnx") == 0
    assert f"all logits within {onnx_form.GATE:g}" in capsys.readouterr().out
    torch, onnx = load(tmp_path / "model", device="cpu"), load(tmp_path / "model", form="onnx", device="cpu")
    for length in range(1, BINS + 1):
        x = sequences(torch.facts.width, length)
        np.testing.assert_allclose(onnx.network(x), torch.network(x), atol=1e-5)
    shutil.copytree(searched / "detections", tmp_path / "detections")
    capsys.readouterr()
    assert call(*detect(world, tmp_path, "--model", tmp_path / "model", "--onnx", "--json")) == 0
    after = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [event["id"] for event in after] == [event["id"] for event in before]
    assert [event["peak"] for event in after] == pytest.approx([event["peak"] for event in before], abs=1e-4)


@needs_onnx
def test_a_form_that_differs_is_not_written(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_form, "GATE", 0.0)
    with pytest.raises(ModelError, match="differs from PyTorch"):
        onnx_form.export(load_model(world.run), tmp_path / ONNX, "weights")
    assert list(tmp_path.iterdir()) == []


def test_without_the_packages_the_message_names_the_extra(bundle: Path, tmp_path: Path,
                                                          monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("onnx", "onnxruntime"):
        monkeypatch.setitem(__import__("sys").modules, name, None)
    with pytest.raises(ModelError, match=r"pip install 'dbvad\[onnx\]'"):
        onnx_form.export(load(bundle).model, tmp_path / ONNX, "weights")
    (other := shutil.copytree(bundle, tmp_path / "other")).joinpath(ONNX).write_bytes(b"")
    with pytest.raises(ModelError, match=r"pip install 'dbvad\[onnx\]'"):
        load(other, form="onnx")
