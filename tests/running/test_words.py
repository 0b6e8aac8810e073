"""Words and runs of words: what counts as the same text, in any script."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from premask.running.words import run_hashes, word_hashes, words_of


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Hello, World!", "hello world"),
        ("a\n\n b\tc", "A b c"),
        ("$x^2 + 1$", "x 2 1"),
        ("Ａｂｃ１２", "abc12"),
        ("STRASSE", "straße"),
        ("नमस्ते दुनिया", "नमसत दनय"),
        ("今天天气。很好", "今 天 天 气 很 好"),
        ("ｶﾀｶﾅ", "カタカナ"),
    ],
)
def test_the_same_words(one: str, other: str) -> None:
    assert list(words_of(one)) == list(words_of(other))


def test_scripts_without_spaces_are_counted_by_character() -> None:
    assert list(words_of("日本語のtextです")) == ["日", "本", "語", "の", "text", "で", "す"]
    assert len(list(words_of("สวัสดีครับ"))) == 7  # the marks above and below belong to no word


def test_a_large_text_has_the_words_of_its_parts() -> None:
    part = "some words 今天 of a text, "
    parts = [part] * (1 << 16)

    assert word_hashes(["".join(parts)]).tolist() == word_hashes(parts).tolist()


def test_words_that_utf_8_cannot_hold_have_a_hash() -> None:
    assert len(word_hashes(["\ud800 x"])) >= 1


def test_runs_lie_within_their_row_and_do_not_depend_on_the_others() -> None:
    rows = [word_hashes([text]) for text in ("a b c d", "", "x", "b c d e", "c d")]
    runs, starts = run_hashes(rows, 2)
    alone = [run_hashes([row], 2)[0].tolist() for row in rows]

    assert starts.tolist() == [0, 3, 3, 3, 6, 7]
    assert [runs[a:b].tolist() for a, b in pairwise(starts)] == alone
    assert alone[0][1:] == alone[3][:2]
    assert alone[4] == alone[0][2:]


def test_the_order_of_words_counts() -> None:
    one, other = (run_hashes([word_hashes([text])], 3)[0] for text in ("a b c", "c b a"))

    assert one[0] != other[0]


def test_hashes_are_the_same_everywhere() -> None:
    assert word_hashes(["the cat"]).tolist() == [3331141520948189790, 3429664268601861939]
    assert run_hashes([np.arange(4, dtype=np.uint64)], 3)[0].tolist() == [
        10905525725756348110,
        14374693752645609763,
    ]
