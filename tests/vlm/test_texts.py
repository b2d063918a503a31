"""Prompts and the check of what comes back."""

import hashlib
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.instruments.vlm import prompts
from pipeline.instruments.vlm.prompts import Prompt, PromptError, load, render
from pipeline.instruments.vlm.quality import CUT_SHORT, FLAGS, check

GOOD = "A man in a dark coat enters a shop at night. He takes money from the till and runs out into the street."


def test_packaged_prompts_ask_for_the_same_and_only_one_of_them_names_the_event() -> None:
    assert {"neutral-v1", "class_aware-v1"} <= set(prompts.available())
    neutral, aware = load("neutral-v1"), load("class_aware-v1")
    assert not neutral.uses_labels
    assert render(neutral, ["Robbery"]) == neutral.text
    assert render(aware) == neutral.text  # a normal video is told of no event
    assert "Robbery, Shooting" in render(aware, ["Robbery", "Shooting"])
    for word in ("one to three", "place", "people", "what they do", "ends"):
        assert word in neutral.text


def test_packaged_prompts_are_never_edited() -> None:
    """Texts made with a prompt carry its id: a changed wording is a new version, in a new file."""
    digests = {name: hashlib.sha256(load(name).text.encode()).hexdigest()[:12] for name in prompts.available()}
    assert digests == {"class_aware-v1": "133a0861d0b5", "neutral-v1": "7441d6827d19"}


def test_a_file_of_ones_own_is_known_by_its_content(tmp_path: Path) -> None:
    (file := tmp_path / "mine.txt").write_text("What happens, {really}?\nIt shows {labels}.\n")
    first = load(str(file))
    assert first.id.startswith("file:mine-")
    assert render(first, ["Arson"]) == "What happens, {really}?\nIt shows Arson."
    assert render(first) == "What happens, {really}?"
    file.write_text("What happens?")
    assert load(file).id != first.id


def test_a_prompt_that_cannot_be_used_is_explained(tmp_path: Path) -> None:
    with pytest.raises(PromptError, match="did you mean neutral-v1"):
        load("neutral_v1")
    with pytest.raises(PromptError, match="class_aware-v1, neutral-v1"):
        load("zzz.txt")
    (empty := tmp_path / "empty.txt").write_text(" {labels}\n")
    with pytest.raises(PromptError, match="is empty"):
        load(empty)
    (foreign := tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    with pytest.raises(PromptError, match="UTF-8"):
        load(foreign)


@given(st.text(), st.lists(st.text(min_size=1)))
def test_rendering_keeps_every_line_without_labels_and_fills_in_the_others(text: str, labels: list[str]) -> None:
    text = text.replace("{labels}", "")
    prompt = Prompt("x", text + "\nevent: {labels}")
    assert render(prompt) == text.strip()
    if labels:
        assert render(prompt, labels) == f"{text}\nevent: {', '.join(labels)}".strip()


@pytest.mark.parametrize(("text", "finish_reason", "flags"), [
    (GOOD, "stop", []),
    ("", "stop", ["empty"]),
    (" ... 12!", "stop", ["empty"]),
    ("A man enters a", "length", ["truncated"]),
    ("", "length", ["empty", "truncated"]),
    ("A man runs. Then a man runs! A man runs.", "stop", ["repeated"]),
    ("The car stops. The car  stops.", "stop", ["repeated"]),
    ("He runs and he runs and he runs and he runs and", "length", ["truncated", "repeated"]),
    ("what what what what", "stop", ["repeated"]),
    ("aaaaaaaaaaaaaaaa", "stop", ["repeated"]),
    ("I'm sorry, but I can't help with that.", "stop", ["refusing"]),
    ("I’m sorry, but I can’t assist with this request.", "stop", ["refusing"]),
    ("Sorry, no.", "stop", ["refusing"]),
    ("As an AI model, I have no eyes.", "stop", ["refusing"]),
    ("I cannot provide a description of violence.", "stop", ["refusing"]),
    ("A man falls.", "content_filter", ["refusing"]),
    (GOOD, "abort", ["unfinished"]),
    (GOOD, "error", ["unfinished"]),
    (GOOD, "null", ["unfinished"]),
    (GOOD, "model_length", ["unfinished"]),
    ("", "tool_calls", ["empty", "unfinished"]),
    ("A man runs. A man runs.", "abort", ["unfinished", "repeated"]),
    ("A man says sorry and helps a woman who cannot stand up.", "stop", []),
    ("Two men who cannot open the door break it. They run away. They are not seen again.", "stop", []),
    ("Cars pass at 12:00:00, 12:00:05 and 12:00:10.", "stop", []),
    ("Ein Mann läuft über die Straße. 一个人在走路。", "stop", []),
])
def test_flags(text: str, finish_reason: str, flags: list[str]) -> None:
    assert check(text, finish_reason) == flags


@given(st.text(), st.sampled_from(["stop", "length", "content_filter"]) | st.text())
def test_any_text_has_flags_of_the_vocabulary_in_order_and_none_only_if_it_is_finished(text: str, reason: str) -> None:
    flags = check(text, reason)
    assert flags == [flag for flag in FLAGS if flag in flags]
    assert ("truncated" in flags) == (reason == "length")
    assert ("unfinished" in flags) == (reason not in {"stop", *CUT_SHORT})
    assert reason == "stop" or flags


@given(st.lists(st.from_regex(r"[a-z]{2,9}", fullmatch=True), min_size=2, max_size=9))
@example(["he", "runs"])
def test_a_sentence_said_twice_is_always_found(words: list[str]) -> None:
    sentence = " ".join(words).capitalize()
    assert "repeated" in check(f"{sentence}. Something else happens there. {sentence}.", "stop")


@given(st.lists(st.from_regex(r"[a-z]{2,9}", fullmatch=True), unique=True, min_size=1, max_size=60))
def test_distinct_words_are_no_repetition(words: list[str]) -> None:
    assert "repeated" not in check(" ".join(words), "stop")


@pytest.mark.timeout(60)  # a second is plenty; a pattern that tries every split of the text takes hours
@pytest.mark.parametrize("text", ["a b " * 3000, "ab " * 4000, "word" * 4000, "x y z. " * 2000, " " * 20000])
def test_long_texts_are_checked_quickly(text: str) -> None:
    check(text + "!", "length")
    check("".join(reversed(text)), "length")
