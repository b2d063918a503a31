"""Cutting texts: nothing is lost, everything fits."""

from hypothesis import given
from hypothesis import strategies as st

from pipeline.instruments.sentences import pieces, sentences

TEXT = st.lists(st.text("abé人.!? ,\n\t\"'", max_size=12), max_size=30).map(" ".join)


def bare(text: str) -> str:
    return "".join(text.split())


@given(TEXT, st.integers(1, 6), st.integers(1, 20))
def test_pieces_hold_every_character_and_fit(text: str, words: int, letters: int) -> None:
    def fits(piece: str) -> bool:
        return len(piece.split()) <= words and len(piece) <= letters

    found = pieces(text, fits)
    assert bare("".join(found)) == bare(text)
    assert all(fits(piece) and piece == piece.strip() != "" for piece in found)


@given(TEXT)
def test_a_text_that_fits_stays_whole(text: str) -> None:
    assert pieces(text, lambda piece: True) == ([text.strip()] if text.strip() else [])


def test_sentences_end_where_a_reader_ends_them() -> None:
    text = 'A man waits (he is 1.5 m away). "Stop!" he shouts… Why?\nNobody knows 人が走る。火事だ。'
    assert sentences(text) == [
        "A man waits (he is 1.5 m away).", '"Stop!"', "he shouts…", "Why?", "Nobody knows 人が走る。", "火事だ。"]


def test_an_overlong_sentence_is_cut_between_words_and_an_overlong_word_between_letters() -> None:
    assert pieces("Yes. one two three four abcdefgh z", lambda piece: len(piece) <= 7) == [
        "Yes.", "one two", "three", "four", "abcdefg", "h z"]
