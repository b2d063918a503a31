"""Feature files are read in parts, whatever their layout, and every odd one is named."""

import pickle
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dbvad.importing import BadInput, arrays
from dbvad.importing.arrays import Norms, guess_layout, read_header, snippets
from tests.importing.published import DIM, rows, save, unit


class Bomb:
    """Leaves a file behind if it is ever unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def cut(path: Path, size: int) -> Path:
    path.write_bytes(path.read_bytes()[:size])
    return path


FAULTS = {
    "empty": lambda p: p.touch(),
    "not_npy": lambda p: p.write_text("path,label\n"),
    "pickled": lambda p: np.save(p, np.array([Bomb(p.with_suffix(".boom"))], dtype=object), allow_pickle=True),
    "dtype": lambda p: np.save(p, np.zeros((4, 5), np.int64)),
    "truncated": lambda p: cut(save(p, rows(40)), 300),
    "shape": lambda p: np.save(p, np.ones(7, np.float32)),
    "unreadable": lambda p: p.mkdir(),
}


@pytest.mark.parametrize("kind", FAULTS)
def test_a_file_that_cannot_be_used_is_named_with_a_remedy(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.npy"
    FAULTS[kind](path)
    with pytest.raises(BadInput) as raised:
        read_header(path)
    assert raised.value.kind == kind
    assert "a.npy" in raised.value.reason
    assert raised.value.remedy
    assert not list(tmp_path.glob("*.boom"))


def test_bytes_of_a_pickle_are_no_npy(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    path.write_bytes(pickle.dumps(Bomb(tmp_path / "boom")))
    with pytest.raises(BadInput, match=r"no \.npy"):
        read_header(path)
    assert not (tmp_path / "boom").exists()


@settings(deadline=None, max_examples=60)
@given(length=st.integers(1, 40), crops=st.sampled_from([1, 5, 10]), layout=st.sampled_from(["files", "tcd", "ctd"]),
       per=st.integers(1, 7), part=st.integers(1, 4000), stop=st.one_of(st.none(), st.integers(1, 50)),
       fortran=st.booleans(), wide=st.booleans())
def test_parts_and_layouts_change_nothing(tmp_path_factory, length, crops, layout, per, part, stop, fortran, wide):
    """What comes out is the mean of unit rows scaled to length 1, however it was stored and read."""
    folder, features = tmp_path_factory.mktemp("f"), rows(length, crops, seed=length)
    stored = features.astype(np.float32) if wide else features
    stored = np.asfortranarray(stored) if fortran else stored
    if layout == "files":
        files = [save(folder / f"{k}.npy", stored[:, k]) for k in range(crops)]
    else:
        files = [save(folder / "a.npy", stored if layout == "tcd" else stored.transpose(1, 0, 2))]
    expected = unit(features)
    expected = unit(np.stack([expected[s:s + per].mean(axis=0) for s in range(0, length, per)]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(arrays, "PART_BYTES", part)
        found = np.concatenate(list(snippets([read_header(f) for f in files], "td" if layout == "files" else layout,
                                             per=per, norms=(norms := Norms()), stop=stop)))
    assert np.allclose(found, expected[:stop], atol=1e-5)
    assert norms.low == pytest.approx(10, rel=0.01)
    assert norms.high == pytest.approx(10, rel=0.01)


@pytest.mark.parametrize(("value", "kind"), [(np.nan, "not_finite"), (np.inf, "not_finite"), (0, "zeros")])
def test_a_bad_row_is_named(tmp_path: Path, value: float, kind: str) -> None:
    files = [save(tmp_path / f"{k}.npy", rows(30)) for k in range(2)]
    spoilt = rows(30)
    spoilt[17] = value
    save(files[1], spoilt)
    with pytest.raises(BadInput, match=r"1\.npy: row 17") as raised:
        list(snippets([read_header(file) for file in files], "td", per=1, norms=Norms()))
    assert raised.value.kind == kind


def test_the_shape_tells_the_layout_where_it_can() -> None:
    assert guess_layout((30, 512)) == "td"
    assert guess_layout((30, 10, 512)) == "tcd"
    assert guess_layout((10, 30, 512)) == "ctd"
    assert guess_layout((10, 10, 512)) is None
    assert guess_layout((30, 30, 512)) is None


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    files = []
    for crop in range(10):
        array = np.lib.format.open_memmap(tmp_path / f"{crop}.npy", "w+", np.float16, (100_000, DIM * 2))
        array[:] = 1
        files.append(tmp_path / f"{crop}.npy")
    tracemalloc.start()
    total = sum(len(part) for part in snippets([read_header(file) for file in files], "td", per=1, norms=Norms()))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert total == 100_000
    assert peak < 4 * arrays.PART_BYTES  # 48 MB as float32
