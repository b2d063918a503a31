"""Counted nouns."""

import pytest

from pipeline.words import counted


@pytest.mark.parametrize(("number", "noun", "said"), [
    (0, "video", "0 videos"), (1, "test video", "1 test video"), (2, "test video", "2 test videos"),
    (1, "class", "1 class"), (13, "class", "13 classes"), (2, "batch", "2 batches"), (2, "epoch", "2 epochs")])
def test_a_noun_agrees_with_its_number(number: int, noun: str, said: str) -> None:
    assert counted(number, noun) == said
