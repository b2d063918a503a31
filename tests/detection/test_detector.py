"""The detector from Python gives what the command gives."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import dbvad
from dbvad import Detector, Thresholds
from dbvad.detection.snippets import Maker
from dbvad.detection.stages import read_events, snippets
from pipeline.contracts import embeddings
from pipeline.engine.stage import BadVideo
from pipeline.engine.store import Store
from pipeline.instruments import video
from tests import videos
from tests.detection.conftest import BINS, STRIDE, TEST, World


@pytest.fixture(scope="module")
def detector(world: World) -> Detector:
    return Detector.load(world.run, scale="bins", device="cpu", thresholds=Thresholds(
        on=world.on, off=world.on * 0.99, min_length_s=0, merge_gap_s=0.1))


def test_a_video_gives_the_events_and_scores_of_the_command(world: World, searched: Path, detector: Detector) -> None:
    store = Store(searched / "detections")
    for name in TEST:
        found = detector.detect(world.tests / name)
        assert found.video == Path(name).name
        theirs = snippets(store.read("detect", name))
        assert [(s.start_s, s.end_s, s.end_frame) for s in found.scores] == [
            (s.start_s, s.end_s, s.end_frame) for s in theirs]
        np.testing.assert_allclose([s.score for s in found.scores], [s.score for s in theirs], atol=1e-5)
        assert [(e.start_s, e.end_s, e.fingerprint) for e in found.events] == [
            (e.start_s, e.end_s, e.fingerprint) for e in read_events(store, name)]
    assert detector.classes == ("fighting", "road accident")


def test_a_bad_video_is_told_with_kind_and_remedy(tmp_path: Path, detector: Detector) -> None:
    with pytest.raises(BadVideo) as fault:
        detector.detect(videos.text(tmp_path / "letter.mp4"))
    assert fault.value.kind == "not_video"
    with pytest.raises(BadVideo):
        detector.detect(tmp_path / "gone.mp4")


def test_a_stream_gives_each_snippet_once_and_while_it_fits_the_last_as_the_recording(
        world: World, detector: Detector) -> None:
    frames = [(frame.pts_s, frame.image) for frame in video.decode(world.tests / "fighting" / "a.mp4")]
    short = frames[:BINS * STRIDE - 2]
    found = list(detector.stream(short))
    assert [(s.start_frame, s.end_frame) for s in found] == [
        (STRIDE * k, min(STRIDE * (k + 1), len(short))) for k in range(BINS)]
    assert [s.start_s for s in found] == pytest.approx([STRIDE * k / videos.FPS for k in range(BINS)])
    assert found[-1].end_s == pytest.approx(len(short) / videos.FPS)
    features = [made.feature for made in detector._maker.snippets(short)]  # type: ignore[union-attr]
    whole = detector.loaded.network(np.stack(features, axis=1))[0, :, 0]
    assert found[-1].score == pytest.approx(float(whole[-1]), abs=1e-5)
    longer = list(detector.stream(frames))
    assert len(longer) == len(frames) // STRIDE
    assert [s.score for s in longer[:BINS - 1]] == pytest.approx([s.score for s in found[:BINS - 1]], abs=1e-5)
    assert list(detector.stream([])) == []


def test_a_streams_features_are_those_of_the_pipeline(world: World, searched: Path, detector: Detector) -> None:
    maker = detector._maker or Maker(detector.loaded.facts.recipe, detector._stages)
    rows = Store(searched / "detections").read("score", "fighting/a.mp4", ["embedding"])
    frames = ((frame.pts_s, frame.image) for frame in video.decode(world.tests / "fighting" / "a.mp4"))
    ours = np.stack([made.feature[0].astype(np.float32) for made in maker.snippets(frames)])
    theirs = embeddings(rows["embedding"])
    assert ours.shape == theirs.shape
    assert (ours * theirs).sum(axis=1).min() > 0.98  # these are not shrunk, and went through no JPEG


def test_a_snippet_is_told_when_the_next_one_begins(detector: Detector) -> None:
    drawn: list[int] = []

    def camera():
        for k in range(3 * STRIDE):
            drawn.append(k)
            yield k / 25, videos.barcode_image(k)

    told = [(snippet.start_frame, len(drawn)) for snippet in detector.stream(camera())]
    assert told == [(0, STRIDE + 1), (STRIDE, 2 * STRIDE + 1), (2 * STRIDE, 3 * STRIDE)]


def test_importing_dbvad_is_light_and_an_unknown_name_is_an_error() -> None:
    code = "import dbvad, sys; assert 'torch' not in sys.modules and 'pyarrow' not in sys.modules; dbvad.Thresholds"
    subprocess.run([sys.executable, "-c", code + "; assert 'torch' not in sys.modules"], check=True)
    with pytest.raises(AttributeError, match="no attribute 'Detectr'"):
        dbvad.Detectr  # noqa: B018
    assert all(hasattr(dbvad, name) for name in dbvad.__all__)
