"""The form of a tokenizer that the fast engine loads."""

from __future__ import annotations

import json
from typing import Any

import pytest
from premask.tokens.fast_forms import fast_form, is_number
from premask.tokens.token_bytes import byte_names

LAST = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
NUMBERS = {"type": "Digits", "individual_digits": True}


def split(behavior: str, *, invert: bool) -> dict[str, Any]:
    return {"type": "Split", "pattern": {"Regex": r"\s+"}, "behavior": behavior, "invert": invert}


def spec(*cuts: dict[str, Any], lacking: str = "") -> dict[str, Any]:
    names = [name for name in byte_names() if name not in lacking]
    return {
        "added_tokens": [{"id": 300, "content": "<|u|>"}],
        "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": list(cuts)},
        "model": {"type": "BPE", "vocab": {name: i for i, name in enumerate(names)}, "merges": []},
    }


def test_most_tokenizers_stay_as_they_are() -> None:
    text = json.dumps(spec(split("Isolated", invert=False), LAST), indent=1)
    form = fast_form(text)

    assert form.json == text.encode()
    assert form.pieces is None


def test_a_regex_that_keeps_its_matches_isolates_them() -> None:
    before = spec(split("Removed", invert=True), LAST)
    form = fast_form(json.dumps(before))

    assert json.loads(form.json) == spec(split("Isolated", invert=False), LAST)
    assert form.pieces is None


@pytest.mark.parametrize(
    ("individual", "pieces"), [(True, ["a", "1", "2", " b", "²"]), (False, ["a", "12", " b", "²"])]
)
def test_numbers_are_cut_off_before(individual: bool, pieces: list[str]) -> None:  # noqa: FBT001
    cuts = {**NUMBERS, "individual_digits": individual}
    form = fast_form(json.dumps(spec(cuts, {**LAST, "use_regex": True})))

    assert form.pieces is not None
    assert form.pieces("a12 b²") == pieces
    assert json.loads(form.json)["pre_tokenizer"] == {**LAST, "use_regex": True}
    assert all(map(is_number, "1²½Ⅷ௧㊿"))
    assert not any(map(is_number, "aA中 -\u20e3"))


def test_lacking_bytes_get_ids_behind_all_others() -> None:
    form = json.loads(fast_form(json.dumps(spec(LAST, lacking="\u0104\xf1"))).json)
    vocabulary = form["model"]["vocab"]

    assert set(vocabulary) == set(byte_names())
    assert sorted(vocabulary.values())[-3:] == [253, 301, 302]
    assert form["model"]["merges"] == []


def test_pieces_join_to_the_text() -> None:
    form = fast_form(json.dumps(spec(NUMBERS, {**LAST, "use_regex": True})))
    text = "x1\n22\r\n³ é中9🙂\u2028 7"

    assert form.pieces is not None
    assert "".join(form.pieces(text)) == text
