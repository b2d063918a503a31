"""The cache of content hashes saves reading, and is never trusted with more."""

import os
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.engine.hashing import HashCache, hash_file, stamp_of


class Reads:
    """Hashes files and counts them."""

    def __init__(self) -> None:
        self.paths: list[Path] = []

    def __call__(self, path: Path) -> str:
        self.paths.append(path)
        return hash_file(path)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"content")
    return path


def test_an_unchanged_file_is_read_once_even_by_the_next_run(tmp_path: Path, file: Path) -> None:
    read = Reads()
    cache = HashCache(tmp_path / "cache")
    first = cache.hash("a", file, read)
    assert cache.hash("a", file, read) == first == hash_file(file)
    cache.save()
    assert HashCache(tmp_path / "cache").hash("a", file, read) == first
    assert len(read.paths) == 1


def test_a_moved_file_is_known_by_its_id(tmp_path: Path, file: Path) -> None:
    read, cache = Reads(), HashCache(tmp_path / "cache")
    first = cache.hash("a", file, read)
    assert cache.hash("a", file.rename(tmp_path / "b.mp4"), read) == first
    assert len(read.paths) == 1


def test_a_touched_file_is_read_again_and_hashes_the_same(tmp_path: Path, file: Path) -> None:
    read, cache = Reads(), HashCache(tmp_path / "cache")
    first = cache.hash("a", file, read)
    os.utime(file, (1, 1))
    assert cache.hash("a", file, read) == first
    assert len(read.paths) == 2


def test_changed_content_of_the_same_length_is_seen(tmp_path: Path, file: Path) -> None:
    cache = HashCache(tmp_path / "cache")
    first = cache.hash("a", file)
    file.write_bytes(b"CONTENT")
    os.utime(file, (2, 2))
    assert cache.hash("a", file) != first


@pytest.mark.parametrize("content", ["", "{", "[]", "7", '{"a": [1, 2, "x"]}'])
def test_a_damaged_cache_is_no_cache(tmp_path: Path, file: Path, content: str) -> None:
    (tmp_path / "cache").write_text(content)
    assert HashCache(tmp_path / "cache").hash("a", file) == hash_file(file)


def test_names_in_any_bytes_can_be_kept(tmp_path: Path, file: Path) -> None:
    cache, keys, stamp = HashCache(tmp_path / "cache"), ["a\udcff ü", "b"], stamp_of(file)
    told = cache.hash(keys[0], file)
    cache.save()
    assert HashCache(tmp_path / "cache").fresh(keys[0], stamp) == told
    assert HashCache(tmp_path / "cache").fresh_all(keys, [stamp, stamp]) == [told, None]


KEYS = st.lists(st.text("ab\udcffü", max_size=2), unique=True)


@given(KEYS, KEYS, st.integers(0, 1))
def test_many_are_told_as_one_is(kept: list[str], asked: list[str], size: int) -> None:
    with TemporaryDirectory() as folder:
        cache = HashCache(Path(folder) / "cache")
        for key in kept:
            cache.remembered(key, (len(key) % 2, "etag"), partial(repr, key))
        cache.save()
        cache = HashCache(cache.path)
        assert cache.fresh_all(asked, [(size, "etag")] * len(asked)) == [cache.fresh(key, (size, "etag"))
                                                                         for key in asked]
        assert [key for key in asked if cache.fresh(key, (size, "etag"))] == [
            key for key in asked if key in kept and len(key) % 2 == size]
