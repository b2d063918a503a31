"""The seal: Parquet stays Parquet, and no byte of it changes unseen."""

import random
import tempfile
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.engine.sealed import NoSeal, Unsealed, seal, verify, verify_if_sealed
from tests.damage import flip, flip_column

TABLE = pa.table({"id": ["a"] * 50, "n": list(range(50)), "blob": [bytes([n]) * 40 for n in range(50)],
                  "vector": pa.array([[float(n)] * 4 for n in range(50)], pa.list_(pa.float32(), 4))})


def write(path: Path, table: pa.Table = TABLE, group: int = 20) -> Path:
    pq.write_table(table, path, row_group_size=group, compression="zstd")
    seal(path)
    return path


@pytest.mark.parametrize("table", [TABLE, TABLE.slice(0, 0)])
@pytest.mark.parametrize("group", [7, 1000])
def test_a_sealed_file_is_read_by_everybody(tmp_path: Path, table: pa.Table, group: int) -> None:
    path = write(tmp_path / "a.parquet", table, group)
    verify(path)
    assert pq.read_table(path).equals(table)
    assert duckdb.sql(f"select count(*), sum(n) from read_parquet('{path}')").fetchall() == [
        (len(table), sum(table["n"].to_pylist()) if len(table) else None)]


def test_every_flip_of_every_byte_is_found(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet")
    whole, draw = path.read_bytes(), random.Random(0)
    for place in range(len(whole)):
        path.write_bytes(whole)
        flip(path, place, draw.randrange(1, 256))
        with pytest.raises(Unsealed):
            verify(path)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_a_file_cut_or_grown_or_zeroed_in_part_is_found(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder) / "a.parquet")
        whole = path.read_bytes()
        start = data.draw(st.integers(0, len(whole) - 1))
        end = data.draw(st.integers(start + 1, len(whole)))
        way = data.draw(st.sampled_from(["cut", "zero", "grow"]))
        part = {"cut": b"", "zero": bytes(end - start), "grow": whole[start:end] * 2}[way]
        changed = whole[:start] + part + whole[end:]
        path.write_bytes(changed)
        if changed != whole:
            with pytest.raises(Unsealed):
                verify(path)


def test_only_what_is_read_is_checked(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet")
    flip_column(path, "blob", group=1)
    verify(path, ["n", "vector"])
    for columns in (["blob"], ["n", "blob"], None):
        with pytest.raises(Unsealed, match="column blob is not what was written"):
            verify(path, columns)


def test_a_file_without_a_seal_says_so(tmp_path: Path) -> None:
    pq.write_table(TABLE, tmp_path / "a.parquet")
    with pytest.raises(NoSeal, match="a version of dbvad that did not seal its files"):
        verify(tmp_path / "a.parquet")
    verify_if_sealed(tmp_path / "a.parquet")
    flip_column(write(tmp_path / "b.parquet"), "n")
    with pytest.raises(Unsealed, match="column n"):
        verify_if_sealed(tmp_path / "b.parquet")


def test_a_seal_of_many_row_groups_is_found_beyond_one_look(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", pa.concat_tables([TABLE] * 40), group=1)
    verify(path)
    verify(path, ["n"])
