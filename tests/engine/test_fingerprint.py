"""Laws of the fingerprint: it hangs on every value in its basis, and on nothing else."""

import copy
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pipeline.engine.fingerprint import Fingerprinter, canonical, fingerprint
from pipeline.engine.stage import BadVideo
from tests.engine.world import World

leaves = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(
    st.characters(exclude_categories=["Cs"]))
keys = st.text("abc", max_size=2)
values = st.recursive(leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
                      max_leaves=9)
bases = st.dictionaries(st.text("xyz", min_size=1, max_size=3), values, min_size=1, max_size=4)


def reordered(value: Any) -> Any:
    """The same value with its keys in the opposite order."""
    if isinstance(value, dict):
        return {key: reordered(value[key]) for key in reversed(list(value))}
    return [reordered(item) for item in value] if isinstance(value, list) else value


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where the leaves are."""
    if isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from places(item, (*path, key))
    else:
        yield path


@given(bases)
def test_the_order_of_keys_does_not_matter(base: dict[str, Any]) -> None:
    assert fingerprint(base) == fingerprint(reordered(base))


@given(bases, st.data())
def test_every_leaf_matters(base: dict[str, Any], data: st.DataObject) -> None:
    found = list(places(base))
    assume(found)
    *above, last = data.draw(st.sampled_from(found))
    other, spot = copy.deepcopy(base), None
    spot = other
    for key in above:
        spot = spot[key]
    new = data.draw(leaves)
    assume(canonical(new) != canonical(spot[last]))
    spot[last] = new
    assert fingerprint(other) != fingerprint(base)


@given(bases, bases)
def test_equal_fingerprints_mean_equal_bases(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert (fingerprint(one) == fingerprint(other)) == (canonical(one) == canonical(other))


def test_values_that_json_cannot_spell_are_refused() -> None:
    for value in (float("nan"), float("inf"), object()):
        with pytest.raises((ValueError, TypeError)):
            canonical({"value": value})


@given(st.text("xyz", min_size=1), bases, st.dictionaries(st.text("abc\"ü"), st.text("0f\"ü"), max_size=3))
def test_bases_that_share_a_recipe_hash_as_each_alone(stage: str, facts: dict[str, Any], above: dict[str, Any]) -> None:
    shared = {"stage": stage, "version": {"upstream": 0}, "facts": facts, "params": {"upstream": 0}}
    assert Fingerprinter(shared)(above) == fingerprint({**shared, "upstream": above})


def test_the_root_hangs_on_content_and_the_others_on_what_they_read(world: World) -> None:
    world.labels = {"a": "fight"}
    plan = world.write(a="one").plan()
    source = plan.sources[0]
    assert plan["words", "a.txt"].basis == {"stage": "words", "version": 1, "contract": 1, "params": {}, "facts": {},
                                            "upstream": {"source": source.hash}}
    below = plan["upper", "a.txt"].basis
    assert below["upstream"] == {"source": source.hash}, "the root stage stands in it by the content"
    last = plan["count", "a.txt"].basis
    assert (last["upstream"], last["facts"]) == ({"upper": fingerprint(below)}, {"label": "fight"})
    assert plan["count", "a.txt"].fingerprint == fingerprint(last)


def test_a_bad_video_crosses_a_process_border_whole() -> None:
    import pickle

    back = pickle.loads(pickle.dumps(BadVideo("empty", "no bytes", "copy it again")))
    assert (back.kind, back.reason, back.remedy, str(back)) == ("empty", "no bytes", "copy it again", "no bytes")
