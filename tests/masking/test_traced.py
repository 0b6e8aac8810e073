"""Traced strings: the same text as plain strings in every operation, and origins that are never wrong.

The slow reference of a traced string is a list of (character, origin) pairs, on which an operation is a
loop a reader can check.
"""

from __future__ import annotations

import pickle
import string
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import Markup
from premask.core.records import (
    MIXED,
    TEMPLATE,
    Origin,
    cut,
    placed,
)
from premask.masking.texts import Text
from premask.masking.traced import (
    TracedMarkup,
    TracedStr,
    add_markup,
    as_traced,
    brace_format,
    concat,
    mark,
    percent_format,
    runs_of,
    text_of,
    trace,
    traced_method,
)

USER = Origin(0, "user", "content")
ANSWER = Origin(1, "assistant", "content")
THOUGHT = Origin(1, "assistant", "thinking")
ORIGINS = (TEMPLATE, USER, ANSWER, THOUGHT)

Pairs = list[tuple[str, Origin]]


def pairs_of(text: str) -> Pairs:
    """Each character with its origin; fails where the runs do not cover the text."""
    runs = runs_of(text)

    assert sum(length for length, _ in runs) == len(text)
    assert all(length > 0 for length, _ in runs)

    return list(zip(str(text), (origin for length, origin in runs for _ in range(length)), strict=True))


def traced_from(pairs: Iterable[tuple[str, Origin]]) -> TracedStr:
    return as_traced(concat([TracedStr.of(char, origin) for char, origin in pairs]))


ODD = "ab AB\t\n\r\x0b\x1c\u2028\x85ßΣσςİıŉ…é👩‍👩%{}<>&'0.-+"

texts = st.text(alphabet=ODD, max_size=12)
origins = st.sampled_from(ORIGINS)
traced = st.lists(st.tuples(st.sampled_from(ODD), origins), max_size=14).map(traced_from)
separators = st.sampled_from([" ", "a", "ab", "aa", "\n", "ß", "b ", "Σ"])
chars = st.none() | st.text(alphabet=ODD, max_size=4)
bounds = st.none() | st.integers(-16, 16)
counts = st.integers(-1, 4)


# ==== The text is that of plain strings ====

SAME_TEXT: dict[str, st.SearchStrategy[tuple[Any, ...]]] = {
    "capitalize": st.tuples(),
    "casefold": st.tuples(),
    "center": st.tuples(st.integers(-1, 20), st.sampled_from(" *ß")),
    "count": st.tuples(texts),
    "encode": st.just(("utf-8", "surrogatepass")),
    "endswith": st.tuples(texts),
    "expandtabs": st.tuples(st.integers(0, 9)),
    "find": st.tuples(texts, bounds, bounds),
    "isspace": st.tuples(),
    "join": st.tuples(st.lists(texts, max_size=4)),
    "ljust": st.tuples(st.integers(-1, 20), st.sampled_from(" *ß")),
    "lower": st.tuples(),
    "lstrip": st.tuples(chars),
    "partition": st.tuples(separators),
    "removeprefix": st.tuples(texts),
    "removesuffix": st.tuples(texts),
    "replace": st.tuples(texts, texts, counts),
    "rjust": st.tuples(st.integers(-1, 20), st.sampled_from(" *ß")),
    "rpartition": st.tuples(separators),
    "rsplit": st.tuples(st.none() | separators, counts),
    "rstrip": st.tuples(chars),
    "split": st.tuples(st.none() | separators, counts),
    "splitlines": st.tuples(st.booleans()),
    "startswith": st.tuples(texts),
    "strip": st.tuples(chars),
    "swapcase": st.tuples(),
    "title": st.tuples(),
    "translate": st.just(({ord("a"): "xyz", ord("b"): None},)),
    "upper": st.tuples(),
    "zfill": st.tuples(st.integers(-1, 20)),
    "__add__": st.tuples(texts),
    "__contains__": st.tuples(texts),
    "__eq__": st.tuples(texts),
    "__format__": st.sampled_from([("",), ("s",), (">9",), ("*^11.3",)]),
    "__lt__": st.tuples(texts),
    "__mul__": st.tuples(st.integers(-1, 3)),
    "__repr__": st.tuples(),
    "__rmul__": st.tuples(st.integers(-1, 3)),
    "__str__": st.tuples(),
}


@pytest.mark.parametrize("method", SAME_TEXT)
@given(data=st.data(), text=traced)
def test_every_method_gives_what_str_gives(method: Any, data: Any, text: Any) -> None:
    args = data.draw(SAME_TEXT[method])
    plain = getattr(str.__str__(text), method)(*args)
    result = getattr(text, method)(*args)

    assert result == plain
    for piece in result if isinstance(result, (list, tuple)) else [result]:
        if isinstance(piece, str):
            pairs_of(piece)


@given(text=traced, more=texts)
def test_arithmetic_from_the_other_side(text: Any, more: Any) -> None:
    assert more + text == more + str.__str__(text)
    assert pairs_of(more + text) == pairs_of(more) + pairs_of(text)


@pytest.mark.parametrize(
    ("operation", "error"),
    [
        (lambda s: s.split(""), ValueError),
        (lambda s: s.rsplit(""), ValueError),
        (lambda s: s.partition(""), ValueError),
        (lambda s: s.rpartition(""), ValueError),
        (lambda s: s[9], IndexError),
        (lambda s: s[-4], IndexError),
        (lambda s: s + 1, TypeError),
        (lambda s: 1 + s, TypeError),
        (lambda s: s.join([1]), TypeError),
        (lambda s: s.removeprefix(1), TypeError),
        (lambda s: s.center(9, "ab"), TypeError),
        (lambda s: s % (1, 2), TypeError),
    ],
)
def test_what_str_refuses_is_refused(operation: Any, error: Any) -> None:
    for text in ("abc", TracedStr.of("abc", USER)):
        with pytest.raises(error):
            operation(text)


@given(text=traced)
def test_a_traced_string_is_a_good_key(text: Any) -> None:
    assert {str.__str__(text): 1}[text] == 1
    assert hash(text) == hash(str.__str__(text))


# ==== Characters that are kept keep their origin ====


def sliced(pairs: Pairs, key: Any) -> Pairs:
    return pairs[key] if isinstance(key, slice) else [pairs[key]]


@given(text=traced, start=bounds, stop=bounds, step=st.none() | st.integers(-3, 3).filter(bool))
def test_slices(text: Any, start: Any, stop: Any, step: Any) -> None:
    key = slice(start, stop, step)

    assert pairs_of(text[key]) == sliced(pairs_of(text), key)


@given(text=traced)
def test_single_characters_and_iteration(text: Any) -> None:
    pairs = pairs_of(text)

    assert [pair for char in text for pair in pairs_of(char)] == pairs
    assert [pairs_of(text[i])[0] for i in range(-len(text), len(text))] == pairs + pairs


def stripped(pairs: Pairs, unwanted: str | None, *, left: bool, right: bool) -> Pairs:
    def goes(char: str) -> bool:
        return char.isspace() if unwanted is None else char in unwanted

    while left and pairs and goes(pairs[0][0]):
        pairs = pairs[1:]
    while right and pairs and goes(pairs[-1][0]):
        pairs = pairs[:-1]
    return pairs


@given(text=traced, unwanted=chars)
def test_strip(text: Any, unwanted: Any) -> None:
    pairs = pairs_of(text)

    assert pairs_of(text.strip(unwanted)) == stripped(pairs, unwanted, left=True, right=True)
    assert pairs_of(text.lstrip(unwanted)) == stripped(pairs, unwanted, left=True, right=False)
    assert pairs_of(text.rstrip(unwanted)) == stripped(pairs, unwanted, left=False, right=True)


def split_at(pairs: Pairs, separator: str, most: int) -> list[Pairs]:
    """Pieces between the first `most` separators (all if negative), found from the left one by one."""
    pieces: list[Pairs] = [[]]
    at = 0
    while at < len(pairs):
        if most != 0 and "".join(c for c, _ in pairs[at : at + len(separator)]) == separator:
            pieces.append([])
            at += len(separator)
            most -= 1
        else:
            pieces[-1].append(pairs[at])
            at += 1
    return pieces


@given(text=traced, separator=separators, most=counts)
def test_split_at_a_separator(text: Any, separator: Any, most: Any) -> None:
    assert [pairs_of(piece) for piece in text.split(separator, most)] == split_at(
        pairs_of(text), separator, most
    )


@given(text=traced, separator=separators, most=counts)
def test_split_from_the_right_is_split_of_the_reverse(text: Any, separator: Any, most: Any) -> None:
    mirrored = split_at(pairs_of(text)[::-1], separator[::-1], most)

    assert [pairs_of(piece) for piece in text.rsplit(separator, most)] == [
        piece[::-1] for piece in mirrored[::-1]
    ]


@given(text=traced, most=counts)
def test_split_at_blanks(text: Any, most: Any) -> None:
    """All pieces but the last hold no blank, so they are runs of other characters in order."""
    pairs, at = pairs_of(text), 0
    for piece in text.split(None, most):
        while pairs[at][0].isspace():
            at += 1

        assert pairs_of(piece) == pairs[at : at + len(piece)]

        at += len(piece)


@given(text=traced, keep=st.booleans())
def test_splitlines(text: Any, keep: Any) -> None:
    whole = [pair for line in text.splitlines(True) for pair in pairs_of(line)]

    assert whole == pairs_of(text)
    for line, with_end in zip(text.splitlines(keep), text.splitlines(True), strict=True):
        assert pairs_of(line) == pairs_of(with_end)[: len(line)]


@given(text=traced, separator=separators)
def test_partition(text: Any, separator: Any) -> None:
    for parts in (text.partition(separator), text.rpartition(separator)):
        assert [pair for part in parts for pair in pairs_of(part)] == pairs_of(text)


@given(text=traced, old=separators, new=traced, count=counts)
def test_replace(text: Any, old: Any, new: Any, count: Any) -> None:
    first, *rest = split_at(pairs_of(text), old, count)
    expected = first + [pair for piece in rest for pair in pairs_of(new) + piece]

    assert pairs_of(text.replace(old, new, count)) == expected


@given(text=traced, new=traced)
def test_replacing_nothing_marks_the_whole(text: Any, new: Any) -> None:
    result = text.replace("", new)
    written = {origin for _, origin in pairs_of(text) + pairs_of(new)}

    assert result == str.__str__(text).replace("", str.__str__(new))
    if written:
        assert len(runs_of(result)) <= 1


@given(parts=st.lists(traced | texts, max_size=5), glue=traced | texts)
def test_concat_and_join(parts: Any, glue: Any) -> None:
    together = [pair for part in parts for pair in pairs_of(part)]

    assert pairs_of(concat(parts)) == together

    joined: Pairs = []
    for number, part in enumerate(parts):
        joined += (pairs_of(glue) if number else []) + pairs_of(part)

    assert pairs_of(as_traced(glue).join(parts)) == joined


@given(text=traced, times=st.integers(0, 3))
def test_repetition(text: Any, times: Any) -> None:
    assert pairs_of(text * times) == pairs_of(text) * times


@given(text=traced, width=st.integers(0, 20))
def test_padding_is_the_template_s(text: Any, width: Any) -> None:
    pad = [("*", TEMPLATE)] * max(0, width - len(text))

    assert pairs_of(text.ljust(width, "*")) == pairs_of(text) + pad
    assert pairs_of(text.rjust(width, "*")) == pad + pairs_of(text)


@given(text=traced, prefix=texts)
def test_removed_edges(text: Any, prefix: Any) -> None:
    pairs = pairs_of(text)

    assert pairs_of(text.removeprefix(prefix)) == pairs[len(prefix) if text.startswith(prefix) else 0 :]
    assert (
        pairs_of(text.removesuffix(prefix))
        == pairs[: len(pairs) - (len(prefix) if text.endswith(prefix) else 0)]
    )


# ==== Characters that are changed ====


def changes(text: str) -> dict[str, str]:
    return {
        "upper": text.upper(),
        "lower": text.lower(),
        "casefold": text.casefold(),
        "swapcase": text.swapcase(),
        "title": text.title(),
        "capitalize": text.capitalize(),
    }


@given(text=traced)
def test_case_changes_name_no_origin_that_is_not_there(text: Any) -> None:
    """Changed case keeps the origins, or marks the whole as one message's or as mixed."""
    there = {origin for _, origin in runs_of(text)}
    for name, expected in changes(str.__str__(text)).items():
        result = getattr(text, name)()
        named = {origin for _, origin in pairs_of(result)}

        assert result == expected
        assert named <= there | {MIXED, *(Origin(o.message, o.role, "*") for o in there)}
        if len({origin.message for origin in there}) == 1:
            assert {origin.message for origin in named} <= {origin.message for origin in there}


def test_sharp_s_grows_and_stays_its_message_s() -> None:
    text = TracedStr.of("ß", USER) + TracedStr.of("a", ANSWER)

    assert pairs_of(text.upper()) == [("S", USER), ("S", USER), ("A", ANSWER)]


def test_a_final_sigma_that_depends_on_another_message_is_mixed() -> None:
    """`Σ` becomes `ς` at the end of a word and `σ` elsewhere: what it becomes, another message decides."""
    text = TracedStr.of("ΑΣ", USER) + TracedStr.of("Α", ANSWER)

    assert text.lower() == "ασα"
    assert runs_of(text.lower()) == ((3, MIXED),)
    assert runs_of(TracedStr.of("ΑΣ", USER).lower()) == ((2, USER),)


# ==== Marking ====


@pytest.mark.parametrize(
    ("inputs", "origin"),
    [
        ([TracedStr.of("a", USER)], USER),
        ([TracedStr.of("a", USER), "plain", 3], USER),
        ([TracedStr.of("a", ANSWER), TracedStr.of("b", THOUGHT)], Origin(1, "assistant", "*")),
        ([TracedStr.of("a", ANSWER), TracedStr.of("b", USER)], MIXED),
        ([{"k": [TracedStr.of("a", USER)]}], USER),
        ([{TracedStr.of("k", USER): 1}.keys()], USER),
        ([{"k": TracedStr.of("a", USER)}.values()], USER),
        ([(TracedStr.of("a", USER) + "!",)], MIXED),  # the message's and the template's
    ],
)
def test_a_computed_text_is_marked_with_the_one_message_it_can_come_from(inputs: Any, origin: Any) -> None:
    assert runs_of(mark("new", *inputs)) == ((3, origin),)


def test_without_traced_inputs_nothing_is_marked() -> None:
    assert type(mark("new", "a", [1], None)) is str


def test_lists_and_dicts_printed_as_a_whole_keep_their_origin() -> None:
    value = trace({"a": ["x", 1, {"b": "y"}]}, USER)

    assert str(value) == str({"a": ["x", 1, {"b": "y"}]})
    assert {origin for _, origin in pairs_of(str(value))} == {USER}
    assert {origin for _, origin in pairs_of(text_of([*value["a"][:2], 3]))} == {USER}
    assert {
        origin for _, origin in pairs_of(text_of([TracedStr.of("a", USER), TracedStr.of("b", ANSWER)]))
    } == {MIXED}
    assert type(text_of([1, "a"])) is str
    assert runs_of(repr(TracedStr.of("a", USER))) == ((3, USER),)


# ==== Formatting ====


@given(values=st.lists(traced, min_size=2, max_size=2))
def test_percent_s_keeps_origins(values: Any) -> None:
    left, right = values
    expected = [*pairs_of("<"), *pairs_of(left), *pairs_of("|%|"), *pairs_of(right), *pairs_of(">")]

    assert pairs_of(percent_format("<%s|%%|%s>", tuple(values))) == expected
    assert pairs_of(percent_format("<%(a)s|%%|%(b)s>", {"a": left, "b": right})) == expected


@pytest.mark.parametrize(
    ("template", "values"),
    [
        ("%r and %d", (TracedStr.of("a'b", USER), 5)),
        ("%-6s|%6.2s", (TracedStr.of("abc", USER), TracedStr.of("xyz", ANSWER))),
        ("%*d %s", (5, 42, TracedStr.of("abc", USER))),
        ("%(a(b))s", {"a(b)": TracedStr.of("abc", USER)}),
        ("%s", [TracedStr.of("abc", USER)]),
        ("%s", (TracedStr.of("abc", USER),)),
        ("%s", {"a": TracedStr.of("abc", USER)}),
        ("%c%5.1f%%%x", ("a", 2.25, 255)),
        (TracedStr.of("no fields", USER), ()),
    ],
)
def test_percent_formats_of_every_kind(template: Any, values: Any) -> None:
    result = percent_format(template, values)

    assert result == str.__str__(template) % values
    assert {origin for _, origin in pairs_of(result)} <= {TEMPLATE, USER, ANSWER, MIXED}
    if "abc" in result and "xyz" not in str(values):
        assert {pairs_of(result)[result.index("abc") + i][1] for i in range(3)} <= {USER, MIXED}


@given(left=traced, right=traced)
def test_braces_keep_origins(left: Any, right: Any) -> None:
    expected = [*pairs_of("<"), *pairs_of(left), *pairs_of("|{}|"), *pairs_of(right), *pairs_of(left)]

    result = brace_format(string.Formatter(), "<{0}|{{}}|{b}{0!s}", (left,), {"b": right})

    assert result == "<{0}|{{}}|{b}{0!s}".format(str.__str__(left), b=str.__str__(right))
    if left or right:
        assert pairs_of(result) == expected


@pytest.mark.parametrize(
    ("template", "args"),
    [
        ("{:>8}|{!r}", (TracedStr.of("abc", USER), TracedStr.of("x", ANSWER))),
        ("{:{}}", (TracedStr.of("abc", USER), 8)),
        ("{0[0]}{0[k]}", ({0: TracedStr.of("abc", USER), "k": TracedStr.of("x", ANSWER)},)),
        ("{}", ([TracedStr.of("abc", USER)],)),
        (TracedStr.of("abc {}", USER), (1,)),
    ],
)
def test_braces_of_every_kind(template: Any, args: Any) -> None:
    result = brace_format(string.Formatter(), template, args, {})

    assert result == str.__str__(template).format(*args)
    assert {pairs_of(result)[result.index("abc") + i][1] for i in range(3)} <= {USER, MIXED}


def method_of(text: str, name: str) -> Any:
    return getattr(text, name)


def test_methods_of_plain_strings_are_traced_where_an_argument_is() -> None:
    joined = traced_method(method_of(", ", "join"), (["a", TracedStr.of("b", USER)],))(
        ["a", TracedStr.of("b", USER)]
    )
    replaced = traced_method(method_of("a-b", "replace"), ("-", TracedStr.of("x", USER)))(
        "-", TracedStr.of("x", USER)
    )

    assert pairs_of(joined) == [("a", TEMPLATE), (",", TEMPLATE), (" ", TEMPLATE), ("b", USER)]
    assert pairs_of(replaced) == [("a", TEMPLATE), ("x", USER), ("b", TEMPLATE)]
    assert traced_method(method_of("ab", "upper"), ()) == "ab".upper


# ==== Markup ====


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (TracedMarkup.of("<b>", ANSWER), TracedStr.of("x<y&'", USER)),
        (TracedStr.of("x<y&'", USER), TracedMarkup.of("<b>", ANSWER)),
        (TracedMarkup.of("<b>", ANSWER), TracedMarkup.of("<i>", USER)),
        (Markup("<b>"), TracedStr.of("<", USER)),
    ],
)
def test_markup_escapes_what_is_added_to_it(left: Any, right: Any) -> None:
    def plain(part: str) -> str:
        text = str.__str__(part)
        return Markup(text) if isinstance(part, (Markup, TracedMarkup)) else text  # noqa: S704

    result = add_markup(left, right)

    assert result == plain(left) + plain(right)
    assert {origin for _, origin in pairs_of(result)} == {
        *(o for _, o in runs_of(left)),
        *(o for _, o in runs_of(right)),
    }
    assert isinstance(result, TracedMarkup)


# ==== Runs ====


@given(text=traced, start=st.integers(0, 16), stop=st.integers(0, 16))
def test_cutting_runs_is_slicing_the_text(text: Any, start: Any, stop: Any) -> None:
    kept = cut(runs_of(text), start, stop)

    assert [o for length, o in kept for _ in range(length)] == [o for _, o in pairs_of(text)][start:stop]


def test_questions_about_runs() -> None:
    text = Text.of("<u>" + TracedStr.of("hi", USER) + "</u>" + TracedStr.of("yes", ANSWER) + ".")  # type: ignore[arg-type]

    assert list(placed(text.runs))[1] == (3, 5, USER)
    assert text.span(0) == (3, 5)
    assert text.span(7) is None
    assert list(text.spans(1)) == [(9, 12, "content")]
    assert text.content_before(12) == (12, 1)
    assert text.content_before(12, but=1) == (5, 0)
    assert text.content_before(3) == (0, -1)
    assert text.cut(4, 10).text == "i</u>y"
    assert list(text.between(4, 6)) == [(4, 5, USER), (5, 6, TEMPLATE)]


@given(text=traced)
def test_equal_neighbours_are_one_run(text: Any) -> None:
    written = [origin for _, origin in runs_of(text)]

    assert all(one != other for one, other in pairwise(written))


# ==== Workers ====


@pytest.mark.parametrize("kind", [TracedStr, TracedMarkup])
@given(text=traced)
def test_pickling_keeps_everything(kind: Any, text: Any) -> None:
    original = kind.with_runs(text, runs_of(text))
    copy = pickle.loads(pickle.dumps(original))  # noqa: S301

    assert type(copy) is kind
    assert copy == text
    assert runs_of(copy) == runs_of(text)


def test_traced_values_are_pickled_too() -> None:
    value = trace({"a": ["x"]}, USER)
    copy = pickle.loads(pickle.dumps(value))  # noqa: S301

    assert copy == value
    assert runs_of(copy["a"][0]) == ((1, USER),)
    assert {origin for _, origin in pairs_of(str(copy))} == {USER}


@given(text=traced)
def test_the_text_of_a_sample_is_a_plain_string(text: Any) -> None:
    assert type(str.__str__(text)) is str
