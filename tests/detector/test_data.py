"""From artifacts to batches: the gather equals a loop, batches are balanced, and what is missing is said."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dbvad.cli.artifacts import gc
from dbvad.data.dataset import DataError, epoch_batches, read_index, read_training, split_holdout
from dbvad.data.features import FeatureError, bin_edges, bin_means, read_features
from pipeline.engine.files import Damaged
from pipeline.engine.sealed import seal
from pipeline.engine.store import Store
from pipeline.manifest import read as manifest
from pipeline.manifest import write
from tests.damage import flip, flip_column
from tests.detector.planted import World, plant
from tests.manifests import write_manifest

SMALL = World(train=12, test=4, crops=2, dim=8, text_dim=6, snippets=(3, 20))


@pytest.fixture
def store(tmp_path):
    plant(tmp_path, SMALL)
    return Store(tmp_path)


def read(store, *, bins=8, descriptions=True):
    return read_training(store, bins=bins, cache=store.root / "cache", descriptions=descriptions)


@given(st.integers(1, 700), st.integers(1, 300))
def test_bins_cover_every_snippet_once(length, bins):
    edges = bin_edges(length, bins)
    assert (edges[0], edges[-1], len(edges)) == (0, length, min(length, bins) + 1)
    sizes = np.diff(edges)
    assert sizes.min() >= 1
    assert sizes.max() - sizes.min() <= 1


@settings(max_examples=30)
@given(st.integers(1, 60), st.integers(1, 20), st.integers(0, 2**31))
def test_bin_means(length, bins, seed):
    x = np.random.default_rng(seed).standard_normal((length, 2, 3)).astype(np.float16)
    edges = bin_edges(length, bins)
    expected = [x[a:b].astype(np.float32).mean(axis=0) for a, b in pairwise(edges)]
    np.testing.assert_allclose(bin_means(x, bins), expected, rtol=1e-5, atol=1e-6)


def test_a_batch_is_what_a_loop_would_read(store):
    data = read(store)
    videos, crops = np.array([5, 0, 11, 5]), np.array([0, 1, 1, 1])
    batch = data.batch(videos, crops)
    for row, (video, crop) in enumerate(zip(videos, crops, strict=True)):
        features, _ = read_features(store, data.index.videos[video].video_id, 2)
        expected = bin_means(features[:, crop], 8).astype(np.float16)
        length = len(expected)
        np.testing.assert_array_equal(batch.x[row, :length].numpy(), expected.astype(np.float32))
        assert batch.mask[row].sum() == length
        assert (batch.x[row, length:] == 0).all()
    assert batch.labels.shape == (4, 4)
    assert batch.abnormal.tolist() == [bool(data.index.videos[v].labels) for v in videos]


def test_the_cache_is_used_and_named_by_content(store, monkeypatch):
    first = read(store)
    monkeypatch.setattr("dbvad.data.features.read_features", None)  # a second reading would fail
    again = read(store)
    np.testing.assert_array_equal(first.features.rows, again.features.rows)
    monkeypatch.undo()
    read(store, bins=4)
    assert len(list((store.root / "cache").glob("*.f16"))) == 2


@pytest.mark.parametrize("kind", ["f16", "json"])
def test_a_damaged_cache_is_made_anew_and_said(store, capsys, kind):
    first = np.array(read(store).features.rows)
    (path,) = (store.root / "cache").glob(f"*.{kind}")
    whole = path.read_bytes()
    flip(path, len(whole) // 2)
    np.testing.assert_array_equal(first, read(store).features.rows)
    assert f"{path} is damaged" in capsys.readouterr().err
    assert path.read_bytes() == whole
    read(store)
    assert capsys.readouterr().err == ""


def test_gc_removes_packed_features_that_training_would_not_open(store, capsys):
    def collect(**how):
        write(store.root, replace(manifest(store.root), made_by="import"))  # of a pipeline it would look for its videos
        gc(artifacts=store.root, **how)
        return capsys.readouterr().out

    read(store)
    kept, *_ = (store.root / "cache").glob("*.f16")
    plant(store.root, World(**vars(SMALL) | {"changed": {"train/video 003.mp4": {"mark": "made anew"}}}))
    (store.root / "cache" / "features-torn.f16").write_bytes(b"x")
    read(store)
    assert "features-torn.f16" in collect()
    assert kept.exists()
    told = collect(delete=True)
    assert str(kept.relative_to(store.root)) in told
    assert "features packed for training from other shards than today's" in told
    assert len(list((store.root / "cache").glob("features-*"))) == 2
    assert "packed" not in collect()


def test_damaged_features_are_not_trained_on_and_the_message_names_the_remedy(store):
    flip_column(store.path("score", "train/video 004.mp4"), "embedding")
    with pytest.raises(Damaged, match=r"004\.mp4\.parquet is damaged: column embedding .*Make it again: dbvad pipeline "
                                      r"run score --video 'train/video 004\.mp4' --force"):
        read(store)


def test_fingerprint_follows_training_data_alone(store, tmp_path):
    def fingerprint(**changed):
        plant(tmp_path / "other", World(**vars(SMALL) | {"changed": changed}))
        return read(Store(tmp_path / "other")).fingerprint

    whole = read(store).fingerprint
    assert fingerprint() == whole
    assert fingerprint(**{"test/video 013.mp4": {"labels": ["theft"], "mark": "x"}}) == whole
    assert fingerprint(**{"train/video 003.mp4": {"labels": ["theft"]}}) != whole
    assert fingerprint(**{"train/video 003.mp4": {"mark": "x"}}) != whole
    assert read(store, descriptions=False).fingerprint != whole


def test_undescribed_videos_are_marked(store, tmp_path):
    plant(tmp_path / "other", World(**vars(SMALL) | {"changed": {"train/video 003.mp4": {"text": None}}}))
    data = read(Store(tmp_path / "other"))
    assert np.flatnonzero(~data.described).tolist() == [3]
    assert (data.descriptions[3] == 0).all()


@settings(max_examples=60)
@given(abnormal=st.integers(1, 30), normal=st.integers(1, 30), crops=st.sampled_from([1, 2, 5, 10]),
       half=st.integers(1, 12), seed=st.integers(0, 1000), epoch=st.integers(0, 9))
def test_batches(abnormal, normal, crops, half, seed, epoch):
    videos = np.arange(abnormal + normal) * 3
    kinds = np.arange(abnormal + normal) < abnormal
    made = epoch_batches(videos, kinds, crops=crops, batch=2 * half, seed=seed, epoch=epoch)
    is_abnormal = dict(zip(videos.tolist(), kinds.tolist(), strict=True))
    for drawn, crop in made:
        assert len(set(drawn.tolist())) == len(drawn)  # one crop a video a batch
        assert sum(is_abnormal[v] for v in drawn) * 2 == len(drawn)
        assert ((crop >= 0) & (crop < crops)).all()
    larger = videos[kinds] if abnormal >= normal else videos[~kinds]
    if len(larger) % min(half, abnormal, normal) == 0:  # no remainder: an epoch is every crop of every video
        shown = {(v, c) for drawn, crop in made for v, c in zip(drawn.tolist(), crop.tolist(), strict=True)}
        assert {(v, c) for v in larger.tolist() for c in range(crops)} <= shown
    again = epoch_batches(videos, kinds, crops=crops, batch=2 * half, seed=seed, epoch=epoch)
    np.testing.assert_array_equal(made, again)


def test_holdout_by_kind():
    abnormal = np.arange(40) < 10
    chosen, held = split_holdout(abnormal, 0.2, seed=0)
    assert sorted([*chosen, *held]) == list(range(40))
    assert (abnormal[held].sum(), (~abnormal)[held].sum()) == (2, 6)
    assert split_holdout(abnormal, 0, seed=0)[1].size == 0
    with pytest.raises(DataError, match="raise holdout"):
        split_holdout(abnormal, 0.01, seed=0)
    with pytest.raises(DataError, match="lower holdout"):
        split_holdout(abnormal, 0.99, seed=0)


# What is missing


def test_no_artifacts(tmp_path):
    with pytest.raises(DataError, match=r"no artifacts in .*: run `dbvad pipeline run`"):
        read(Store(tmp_path / "none"))
    with pytest.raises(DataError, match=r"no list of videos .* in .*: run `dbvad pipeline run`"):
        read(Store(tmp_path))


def test_no_test_videos(tmp_path):
    plant(tmp_path, World(train=4, test=0))
    with pytest.raises(DataError, match=r"no test video .* give videos the split 'test'"):
        read_index(Store(tmp_path), "test")


@pytest.mark.parametrize(("labels", "message"), [([], "none of the 6 training videos .* has a label.*stages.yaml"),
                                                 (["fire"], "all 6 training videos .* are abnormal: add normal")])
def test_one_kind_only(tmp_path, labels, message):
    changed = {f"train/video {number:03d}.mp4": {"labels": labels} for number in range(6)}
    plant(tmp_path, World(train=6, test=0, changed=changed))
    with pytest.raises(DataError, match=message):
        read(Store(tmp_path))


def test_missing_score_shards_are_counted_and_named(store):
    for number in range(5):
        store.path("score", f"train/video {number:03d}.mp4").unlink()
    with pytest.raises(DataError, match=r"5 of 12 train videos have no features of today's making \(train/video 000.mp4"
                                        r", .*002.mp4 and 2 more\): run `dbvad pipeline run score`"):
        read(store)


def test_quarantined_and_empty_videos_are_left_out(store):
    torn, empty = "train/video 001.mp4", "train/video 002.mp4"
    store.path("score", torn).unlink()
    store.quarantine("decode", torn, fingerprint="f", kind="truncated", reason="cut", remedy="copy it again")
    footer = store.footer("score", empty)
    from pipeline.contracts import SCORE

    store.publish(SCORE, empty, SCORE.schema.empty_table(), fingerprint=footer.fingerprint, basis={}, meta=footer.meta)
    write_manifest(store.root)
    data = read(store)
    assert data.index.dropped == {torn: "truncated: cut", empty: "it has no snippet"}
    assert len(data.index.videos) == len(data.features.lengths) == 10


def test_no_descriptions_at_all(tmp_path):
    changed = {f"train/video {number:03d}.mp4": {"text": None} for number in range(12)}
    plant(tmp_path, World(**vars(SMALL) | {"changed": changed}))
    with pytest.raises(DataError, match=r"none of the 12 training videos has a description: "
                                         r".*dbvad import descriptions.*--set dbm=false"):
        read(Store(tmp_path))
    assert not read(Store(tmp_path), descriptions=False).described.any()


def test_features_of_two_models(store, tmp_path):
    plant(tmp_path / "other", World(**vars(SMALL) | {"dim": 10}))
    video = "train/video 004.mp4"
    store.path("score", video).write_bytes(Store(tmp_path / "other").path("score", video).read_bytes())
    with pytest.raises(DataError, match=r"1 videos were made differently.*004.mp4 has width 10 instead of 8"):
        read(store)


def test_nan_in_a_shard_names_the_video(store):
    """Published shards are checked, so this one was written by something else."""
    path = store.path("score", "train/video 004.mp4")
    file = pq.ParquetFile(path)
    table, metadata = file.read(), file.metadata.metadata
    flat = table["embedding"].combine_chunks().flatten().to_numpy(zero_copy_only=False).copy()
    flat[2 * 8 * 2 + 1] = np.nan
    bad = pa.FixedSizeListArray.from_arrays(pa.array(flat), 8)
    table = table.set_column(table.schema.get_field_index("embedding"), "embedding", bad)
    pq.write_table(table.replace_schema_metadata({b"dbvad": metadata[b"dbvad"]}), path)
    seal(path)
    with pytest.raises(FeatureError, match=r"train/video 004.mp4: its features hold NaN.*at frame 32.*--force"):
        read(store)
