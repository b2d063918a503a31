"""What may be published: every contract against every way to break it, whole and in parts of a stream."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.contracts import (
    DECODE,
    QUARANTINE,
    SCORE,
    STAGES,
    Contract,
    ContractError,
    embedding_array,
    embeddings,
    frame_times,
)

CONTRACTS = [*STAGES.values(), QUARANTINE]
ORDERED = [contract for contract in CONTRACTS if contract.order]
UNIT = [contract for contract in CONTRACTS if contract.unit]
WIDTH = 8
VALUES: dict[pa.DataType, Any] = {pa.string(): "x", pa.binary(): b"x", pa.list_(pa.string()): ["x"]}


def named(contract: Contract) -> str:
    return contract.artifact


def table(contract: Contract, rows: int = 3, start: int = 0) -> pa.Table:
    """Rows that keep the contract; numbers rise from `start`."""
    columns = []
    for field in contract.schema:
        if field.name == contract.unit:
            columns.append(embedding_array(np.random.default_rng(0).normal(size=(rows, WIDTH))))
        elif contract.clock and field.name == contract.clock[1]:
            columns.append(pa.array([[k, k + 0.5] for k in range(start, start + rows)], field.type))
        elif field.type in VALUES:
            columns.append(pa.array([VALUES[field.type]] * rows, field.type))
        else:
            columns.append(pa.array(np.arange(start, start + rows), field.type))
    return pa.Table.from_arrays(columns, names=contract.schema.names)


def replaced(whole: pa.Table, name: str, column: pa.Array) -> pa.Table:
    return whole.set_column(whole.column_names.index(name), name, column)


def fields(wanted: Callable[[pa.DataType], bool]) -> pytest.MarkDecorator:
    """Once for each column whose type is wanted."""
    return pytest.mark.parametrize(("contract", "field"), [
        pytest.param(contract, field, id=f"{contract.artifact}.{field.name}")
        for contract in CONTRACTS for field in contract.schema if wanted(field.type)])




@pytest.mark.parametrize("contract", CONTRACTS, ids=named)
def test_good_rows_are_let_through_whole_in_parts_or_none(contract: Contract) -> None:
    whole = table(contract, 5)
    contract.check(whole)
    contract.check(whole.slice(2), whole.slice(0, 2), 2)
    contract.check(whole.slice(0, 0))
    contract.check(contract.schema.empty_table())


@pytest.mark.parametrize("contract", CONTRACTS, ids=named)
def test_columns_are_those_of_the_contract_in_its_order(contract: Contract) -> None:
    whole = table(contract)
    names = whole.column_names
    for wrong in (whole.drop_columns(names[-1:]), whole.append_column("more", whole[names[0]]),
                  whole.select(names[::-1])):
        with pytest.raises(ContractError, match=f"{contract.artifact}: columns "):
            contract.check(wrong)


@fields(lambda type_: True)
def test_nulls_are_refused(contract: Contract, field: pa.Field) -> None:
    whole = table(contract)
    found = whole[field.name].to_pylist()
    column = pa.array([found[0], None, found[2]], whole.schema.field(field.name).type)
    with pytest.raises(ContractError, match=rf"{contract.artifact}\.{field.name}: 1 nulls in 3 rows"):
        contract.check(replaced(whole, field.name, column))


@fields(lambda type_: True)
def test_other_types_are_refused(contract: Contract, field: pa.Field) -> None:
    whole = table(contract)
    other = pa.int16() if field.type != pa.int16() else pa.int32()
    with pytest.raises(ContractError, match=rf"{contract.artifact}\.{field.name}: type int16, expected"):
        contract.check(replaced(whole, field.name, pa.array([1, 2, 3], other)))


@pytest.mark.parametrize("artifact", ["ingest", "describe"])
def test_nulls_within_lists_are_refused(artifact: str) -> None:
    contract = STAGES[artifact]
    name = next(field.name for field in contract.schema if pa.types.is_list(field.type))
    column = pa.array([["x"], [None, "y"], []], pa.list_(pa.string()))
    with pytest.raises(ContractError, match=rf"{artifact}\.{name}: 1 nulls"):
        contract.check(replaced(table(contract), name, column))


@fields(pa.types.is_floating)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_numbers_are_finite(contract: Contract, field: pa.Field, value: float) -> None:
    column = pa.array([0, 1, value], field.type)
    with pytest.raises(ContractError, match=rf"{contract.artifact}\.{field.name}: row 12 is {value}, must be finite"):
        contract.check(replaced(table(contract), field.name, column), first_row=10)


@pytest.mark.parametrize("contract", ORDERED, ids=named)
def test_rows_rise_strictly(contract: Contract) -> None:
    whole = table(contract, 4)
    for wrong, row in (([0, 1, 1, 2], 2), ([0, 1, 3, 2], 3), ([3, 2, 1, 0], 1)):
        with pytest.raises(ContractError, match=rf"rows must rise by .* but row {row} \("):
            contract.check(whole.take(wrong))


@pytest.mark.parametrize("contract", ORDERED, ids=named)
def test_rows_rise_over_the_seams_of_a_stream(contract: Contract) -> None:
    before = table(contract, 3)
    contract.check(table(contract, 2, start=3), before, 3)
    contract.check(table(contract, 0), before, 3)
    for start in (1, 2):
        with pytest.raises(ContractError, match=r"but row 3 \("):
            contract.check(table(contract, 2, start=start), before, 3)


def test_crops_of_a_frame_rise_within_it() -> None:
    whole = replaced(table(SCORE, 4), "frame_idx", pa.array([0, 0, 16, 16], pa.int64()))
    SCORE.check(replaced(whole, "crop", pa.array([0, 1, 0, 1], pa.int8())))
    with pytest.raises(ContractError, match=r"row 3 \(16, 0\) follows \(16, 0\)"):
        SCORE.check(replaced(whole, "crop", pa.array([0, 1, 0, 0], pa.int8())))


@pytest.mark.parametrize(("times", "wrong"), [
    ([[0.0, 0.5], [], [2.0]], "row 11 is empty"),
    ([[0.0, 0.5], [1.5], [2.0]], "row 11 does not start at its pts_s"),
    ([[0.0, 1.0], [1.0], [2.0]], "those of row 11 do not"),
    ([[0.0, 0.5, 0.4], [1.0], [2.0]], "those of row 10 do not"),
    ([[0.0], [1.0], [2.0, float("inf")]], "those of row 12 do not"),
    ([[0.0], [1.0], [2.0, float("nan")]], "those of row 12 do not"),
])
def test_the_times_of_all_frames_rise_from_row_to_row(times: list[list[float]], wrong: str) -> None:
    with pytest.raises(ContractError, match=rf"decode\.times_s: .*{wrong}"):
        DECODE.check(replaced(table(DECODE), "times_s", pa.array(times)), first_row=10)


def test_times_rise_over_the_seams_of_a_stream() -> None:
    before = table(DECODE, 3)
    DECODE.check(table(DECODE, 2, start=3), before, 3)
    late = replaced(before, "times_s", pa.array([[0.0], [1.0], [2.0, 3.0]]))
    with pytest.raises(ContractError, match="those of row 3 do not"):
        DECODE.check(table(DECODE, 2, start=3), late, 3)


@given(st.lists(st.integers(1, 4), max_size=6))
def test_frame_times_are_those_of_all_frames(counts: list[int]) -> None:
    times = [[row + k / 8 for k in range(count)] for row, count in enumerate(counts)]
    whole = replaced(table(DECODE, len(counts)), "times_s", pa.array(times, pa.list_(pa.float64())))
    DECODE.check(whole)
    assert frame_times(whole).tolist() == [time for row in times for time in row]


@pytest.mark.parametrize("contract", UNIT, ids=named)
@pytest.mark.parametrize("vector", [[0.0] * WIDTH, [1.0] * WIDTH, [0.9] + [0.0] * 7, [float("nan")] * WIDTH,
                                    [float("inf")] + [0.0] * 7, [None] + [1.0] + [0.0] * 6])
def test_embeddings_have_length_one(contract: Contract, vector: list[float | None]) -> None:
    good = table(contract, 1)[contract.unit].to_pylist()
    column = pa.array([*good, vector, *good], pa.list_(pa.float16(), WIDTH))
    with pytest.raises(ContractError, match=r"row 1 has length .*, must be 1"):
        contract.check(replaced(table(contract), str(contract.unit), column))


@pytest.mark.parametrize("contract", UNIT, ids=named)
@pytest.mark.parametrize("type_", [pa.list_(pa.float32(), WIDTH), pa.list_(pa.float16()), pa.list_(pa.float16(), 0)],
                         ids=str)
def test_embeddings_are_half_floats_of_a_fixed_width(contract: Contract, type_: pa.DataType) -> None:
    vector = [1.0] + [0.0] * 7 if type_ != pa.list_(pa.float16(), 0) else []
    column = pa.array([vector] * 3, type_)
    with pytest.raises(ContractError, match=r"expected fixed_size_list<float16>\[D\]"):
        contract.check(replaced(table(contract), str(contract.unit), column))


@pytest.mark.parametrize("contract", UNIT, ids=named)
def test_the_width_of_an_embedding_stays_over_a_stream(contract: Contract) -> None:
    narrow = replaced(table(contract, 3, start=3), str(contract.unit), embedding_array(np.eye(3)))
    contract.check(narrow)
    with pytest.raises(ContractError, match="from row 3 on of another schema"):
        contract.check(narrow, table(contract, 3), 3)


@given(st.integers(0, 20), st.integers(1, 40), st.integers(0, 999), st.floats(1e-3, 1e3))
def test_vectors_of_any_length_are_scaled_to_one_and_come_back(rows: int, width: int, seed: int, scale: float) -> None:
    vectors = np.random.default_rng(seed).normal(size=(rows, width)) * scale
    column = pa.chunked_array([embedding_array(vectors)])
    back = embeddings(column)
    assert back.shape == (rows, width)
    assert back.dtype == np.float32
    assert np.allclose(back, vectors / np.linalg.norm(vectors, axis=1, keepdims=True), atol=2e-3)
    assert np.array_equal(embeddings(column.slice(rows // 2)), back[rows // 2:])


def test_a_vector_of_zeros_stays_and_is_refused_by_the_contract() -> None:
    assert not embeddings(pa.chunked_array([embedding_array(np.zeros((1, 3)))])).any()


@pytest.mark.parametrize("contract", CONTRACTS, ids=named)
def test_every_table_begins_with_the_video(contract: Contract) -> None:
    assert contract.schema.names[0] == "video_id"
    assert not any(field.nullable for field in contract.schema)
