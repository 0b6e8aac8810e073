"""What `explain` says of single rows: the JSON that other programs read, text and tables for a person."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from commands import SAMPLE, TOKENIZER, Done, chat, premask, process, write_rows
from premask.core.recipe_file import make_recipe
from premask.review.explain import explain

ESCAPE = "\x1b"
SAMPLE_KEYS = ["text", "turns", "proof", "seam_tokens", "tokens"]
TOKEN_KEYS = ["id", "start", "end", "label", "origin"]

BRIEF = {
    "id": "a",
    "messages": [
        {"role": "system", "content": "B"},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hé🙂"},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "So long"},
    ],
}
BRIEF_TEXT = """\
<|im_start|>system
B<|im_end|>
<|im_start|>user
Hi<|im_end|>
<|im_start|>assistant
Hé🙂<|im_end|>
<|im_start|>user
Hi<|im_end|>
<|im_start|>assistant
So long<|im_end|>
"""
BRIEF_TOKENS = [  # id, characters, trained, origin
    (1, "<|im_start|>", False, "template"),
    (85, "s", False, "template"),
    (6600, "yst", False, "template"),
    (902, "em", False, "template"),
    (201, "\n", False, "template"),
    (36, "B", False, "system:0"),
    (2, "<|im_end|>", False, "template"),
    (201, "\n", False, "template"),
    (1, "<|im_start|>", False, "template"),
    (7155, "user", False, "template"),
    (201, "\n", False, "template"),
    (1934, "Hi", False, "user:1"),
    (2, "<|im_end|>", False, "template"),
    (201, "\n", False, "template"),
    (1, "<|im_start|>", False, "template"),
    (7954, "assistant", False, "template"),
    (201, "\n", False, "template"),
    (42, "H", True, "assistant:2"),
    (814, "é", True, "assistant:2"),
    (511, "🙂", True, "assistant:2"),  # two tokens share the bytes of one character
    (5310, "🙂", True, "assistant:2"),
    (2, "<|im_end|>", True, "template"),
    (201, "\n", False, "template"),
    (1, "<|im_start|>", False, "template"),
    (7155, "user", False, "template"),
    (201, "\n", False, "template"),
    (1934, "Hi", False, "user:3"),
    (2, "<|im_end|>", False, "template"),
    (201, "\n", False, "template"),
    (1, "<|im_start|>", False, "template"),
    (7954, "assistant", False, "template"),
    (201, "\n", False, "template"),
    (53, "S", True, "assistant:4"),
    (81, "o", True, "assistant:4"),
    (756, " long", True, "assistant:4"),
    (2, "<|im_end|>", True, "template"),
    (201, "\n", False, "template"),
]


def run(*words: object, **environ: str) -> Done:
    return premask("explain", *words, "--tokenizer", TOKENIZER, **environ)


def lines(*words: object) -> list[Any]:
    done = run(*words, "--format", "json")
    assert (done.code, done.err) == (0, ""), done
    return [json.loads(line) for line in done.out.removesuffix("\n").split("\n")]


# ==== JSON ====


def test_a_kept_row_to_the_letter(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "a.jsonl", [BRIEF])
    (found,) = lines(source)
    tokens = found["samples"][0]["tokens"]

    assert list(found) == ["row", "id", "status", "samples"]
    assert (found["row"], found["id"], found["status"]) == (0, "a", "kept")
    (sample,) = found["samples"]
    assert list(sample) == SAMPLE_KEYS
    assert sample["text"] == BRIEF_TEXT
    assert sample["turns"] == [
        {"message": 2, "start": 83, "end": 96},
        {"message": 4, "start": 149, "end": 166},
    ]
    assert [BRIEF_TEXT[turn["start"] : turn["end"]] for turn in sample["turns"]] == [
        "Hé🙂<|im_end|>",
        "So long<|im_end|>",
    ]
    assert list(tokens) == TOKEN_KEYS
    assert tokens["id"] == [id_ for id_, _, _, _ in BRIEF_TOKENS]
    shown = [BRIEF_TEXT[start:end] for start, end in zip(tokens["start"], tokens["end"], strict=True)]
    assert shown == [text for _, text, _, _ in BRIEF_TOKENS]
    assert tokens["label"] == [id_ if trained else -100 for id_, _, trained, _ in BRIEF_TOKENS]
    assert tokens["origin"] == [origin for _, _, _, origin in BRIEF_TOKENS]


def test_a_rejected_row_to_the_letter(tmp_path: Path) -> None:
    rows = [chat("Hi", id="x"), "{broken", {"uuid": 7, "messages": []}]

    assert run(write_rows(tmp_path / "a.jsonl", rows), "--dialect", "openai", "--format", "json").out == (
        '{"row": 0, "id": "x", "status": "rejected", "reason": "no_assistant", '
        '"detail": "none of the 1 messages is by the assistant"}\n'
        '{"row": 1, "id": null, "status": "rejected", "reason": "invalid_json", '
        '"detail": "Expecting property name enclosed in double quotes at line 1 column 2"}\n'
        '{"row": 2, "id": "7", "status": "rejected", "reason": "no_messages", '
        '"detail": "the row has no turns"}\n'
    )


def test_one_line_a_row_in_order_whatever_stands_in_it(tmp_path: Path) -> None:
    rows = [chat("Hi", text) for text in ("a\nb", "a\u2028b\u2029c\x85d\x0be", "x\x1b[31m", "\ufeff日本")]
    done = run(write_rows(tmp_path / "a.jsonl", rows), "--format", "json")
    found = [json.loads(line) for line in done.out.removesuffix("\n").split("\n")]

    assert [row["row"] for row in found] == [0, 1, 2, 3]
    for row, given in zip(found, rows, strict=True):
        assert given["messages"][1]["content"] in row["samples"][0]["text"]


def test_every_row_of_the_sample_keeps_the_contract() -> None:
    """Spans cover the text in order, labels agree with the turns, origins with the characters."""
    found = lines(SAMPLE / "conversations.jsonl")

    assert [row["row"] for row in found] == list(range(300))
    assert sum(row["status"] == "rejected" for row in found) == 8
    for row in found:
        if row["status"] == "rejected":
            assert list(row) == ["row", "id", "status", "reason", "detail"]
            continue
        assert list(row) == ["row", "id", "status", "samples"]
        for sample in row["samples"]:
            assert list(sample) == SAMPLE_KEYS
            assert list(sample["tokens"]) == TOKEN_KEYS
            assert_consistent(sample)


def assert_consistent(sample: dict[str, Any]) -> None:
    text, turns = sample["text"], sample["turns"]
    columns = [sample["tokens"][key] for key in TOKEN_KEYS]
    assert len({len(column) for column in columns}) == 1
    at = 0
    for turn in turns:
        assert list(turn) == ["message", "start", "end"]
        assert at <= turn["start"] < turn["end"] <= len(text)
        at = turn["end"]
    at = 0
    for number, (id_, start, end, label, origin) in enumerate(zip(*columns, strict=True)):
        assert at - 1 <= start <= at, "a token starts where the one before ends, or within its last character"
        assert start < end
        at = end
        inside = any(turn["start"] <= start and end <= turn["end"] for turn in turns)
        assert label == (id_ if inside and number else -100)
        assert origin == "template" or origin.partition(":")[0] in ("system", "user", "assistant")
        if inside and origin != "template":
            assert origin.startswith("assistant:")
    assert at == len(text)


def test_a_row_of_several_samples(tmp_path: Path) -> None:
    """A template that shows a turn otherwise once it is history; each sample ends with a turn."""
    template = tmp_path / "think.jinja"
    template.write_text(
        "{% for m in messages %}<|im_start|>{{ m.role }}\n"
        "{% if m.role == 'assistant' and loop.last %}<think>\n\n</think>\n\n{% endif %}"
        "{{ m.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    source = write_rows(tmp_path / "a.jsonl", [chat("Hi", "Hello", "Bye", "Ciao")])
    (found,) = lines(source, "--chat-template", template)

    assert [[turn["message"] for turn in sample["turns"]] for sample in found["samples"]] == [[3], [1]]
    trained = [
        sample["text"][turn["start"] : turn["end"]] for sample in found["samples"] for turn in sample["turns"]
    ]
    assert trained == ["<think>\n\n</think>\n\nCiao<|im_end|>", "<think>\n\n</think>\n\nHello<|im_end|>"]
    for sample in found["samples"]:
        assert_consistent(sample)
    (last,) = lines(source, "--chat-template", template, "--history", "last")
    assert [sample.pop("proof") for sample in found["samples"] + last["samples"]] == [
        "split",
        "split",
        "inference",
    ]
    assert last["samples"] == found["samples"][:1]


def test_what_is_trained_follows_the_flags(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "a.jsonl", [BRIEF])

    def trained(*flags: str) -> list[str]:
        (found,) = lines(source, *flags)
        (sample,) = found["samples"]
        return [sample["text"][turn["start"] : turn["end"]] for turn in sample["turns"]]

    assert trained("--train", "turns=last") == ["So long<|im_end|>"]
    assert trained("--train", "end_of_turn=false") == ["Hé🙂", "So long"]
    assert trained("--train", "roles=user") == ["Hi", "Hi"]


# ==== Which rows ====


def test_row_and_limit(tmp_path: Path) -> None:
    rows: list[Any] = [chat("Hi", f"Answer {i}") for i in range(5)]
    rows[2] = ""  # a blank line is no row
    source = write_rows(tmp_path / "a.jsonl", rows)

    def numbers(*flags: object) -> list[int]:
        return [found["row"] for found in lines(source, *flags)]

    assert numbers() == [0, 1, 3, 4]
    assert numbers("--limit", 2) == [0, 1]
    assert numbers("--limit", 99) == [0, 1, 3, 4]
    assert numbers("--row", 3) == [3]
    assert "Answer 3" in lines(source, "--row", 3)[0]["samples"][0]["text"]
    assert numbers("--row", 0, "--limit", 5) == [0]


@pytest.mark.parametrize("form", ["json", "table"])
def test_a_row_that_is_not_there(tmp_path: Path, form: str) -> None:
    source = write_rows(tmp_path / "a.jsonl", [chat("Hi", "Hello")])

    assert run(source, "--row", 1, "--format", form) == (2, "", f"premask: there is no row 1 in {source}\n")


def test_a_source_without_rows(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("[]")
    done = run(tmp_path / "a.json", "--dialect", "openai")

    assert done == (2, "", f"premask: there are no rows in {tmp_path / 'a.json'}\n")


def test_several_files_one_after_another(tmp_path: Path) -> None:
    one = write_rows(tmp_path / "a.jsonl", [chat("Hi", "One"), chat("Hi", "Two")])
    turns = [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Three"}]
    (tmp_path / "b.json").write_text(json.dumps([{"conversations": turns}]))
    two = str(tmp_path / "b.json")
    found = lines(one, two)

    assert [row["row"] for row in found] == [0, 1, 0]
    assert "Three" in found[2]["samples"][0]["text"]
    assert [row["row"] for row in lines(one, two, "--row", 0)] == [0, 0]
    assert len(lines(one, two, "--row", 1)) == 1
    assert [row["row"] for row in lines(one, two, "--limit", 3)] == [0, 1, 0]
    recipe = make_recipe({"sources": [one, two], "tokenizer": TOKENIZER, "output": "-"})
    assert [(source, row["row"]) for source, row in explain(recipe)] == [(one, 0), (one, 1), (two, 0)]
    table = run(one, two, "--limit", 3).out
    assert [line.split(": ")[0].strip() for line in table.splitlines() if " tokens, " in line] == [
        f"{one} row 0",
        f"{one} row 1",
        f"{two} row 0",
    ]


def test_a_recipe_is_explained_without_an_output(tmp_path: Path) -> None:
    write_rows(tmp_path / "a.jsonl", [BRIEF])
    recipe = tmp_path / "r.yaml"
    recipe.write_text(f"sources: [{tmp_path}/a.jsonl]\ntokenizer: {TOKENIZER}\ntrain: {{turns: last}}\n")
    done = premask("explain", recipe, "--format", "json")

    assert done.code == 0
    assert [turn["message"] for turn in json.loads(done.out)["samples"][0]["turns"]] == [4]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.jsonl", "r.yaml"]


def test_rows_by_their_id(tmp_path: Path) -> None:
    rows: list[Any] = [chat("Hi", "One", id="a"), "{broken", chat("Hi", "Two", id="b"), chat("Hi", id="c")]
    source = write_rows(tmp_path / "a.jsonl", [*rows, chat("Hi", "Three", id="a")])

    assert [found["row"] for found in lines(source, "--id", "a")] == [0, 4]
    assert [found["row"] for found in lines(source, "--id", "c", "--id", "b")] == [2, 3]
    assert [found["row"] for found in lines(source, "--id", "a", "--limit", 1)] == [0]
    assert run(source, "--id", "a").out.count(" tokens, ") == 2
    nothing = f"premask: there is no row with the id x or y in {source}\n"
    assert run(source, "--id", "x", "--id", "y") == (2, "", nothing)
    assert (
        run(source, "--id", "a", "--row", 1).err == f"premask: there is no row 1 with the id a in {source}\n"
    )


# ==== Text ====


def test_the_text_of_a_row_to_the_letter(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "a.jsonl", [BRIEF])
    done = run(source, COLUMNS="20")

    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines() == [
        f"{source} row 0 (id a): 37 tokens, 9 trained (24.3%), prompt 17, proof inference",
        "            | <|im_start|>system",
        "system:0    | B<|im_end|>",
        "            | <|im_start|>user",
        "user:1      | Hi<|im_end|>",
        "            | <|im_start|>assistant",
        "assistant:2 | [[Hé🙂<|im_end|>]]",
        "            | <|im_start|>user",
        "user:3      | Hi<|im_end|>",
        "            | <|im_start|>assistant",
        "assistant:4 | [[So long<|im_end|>]]",
        "",
        "trained text is in [[ ]]; proof inference: every turn looks as inference shows it; both ways agree",
    ]


def test_samples_of_a_row_are_shown_in_the_order_of_their_turns(tmp_path: Path) -> None:
    template = tmp_path / "last.jinja"
    template.write_text(
        "{% for m in messages %}<|im_start|>{{ m.role }}\n"
        "{% if m.role == 'assistant' and loop.last %}<think>\n\n</think>\n\n{% endif %}"
        "{{ m.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    source = write_rows(tmp_path / "a.jsonl", [chat("Hi", "Hello", "Bye", "Ciao")])
    shown = run(source, "--chat-template", template).out.splitlines()

    titles = [line for line in shown if " tokens, " in line]
    assert [title.partition(":")[0] for title in titles] == [
        f"{source} row 0, sample {i} of 2" for i in (1, 2)
    ]
    assert all(title.endswith("proof split") for title in titles)
    ends = [line for line in shown if line.endswith("]]")]
    assert ends == ["            | Hello<|im_end|>]]", "            | Ciao<|im_end|>]]"]
    assert shown.count("assistant:1 | [[<think>") == 1


# ==== The table ====


def test_the_table_shows_every_token_and_what_is_trained(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "a.jsonl", [BRIEF])
    done = run(source, "--tokens")
    title, heading, *rows = done.out.splitlines()

    assert (done.code, done.err) == (0, "")
    assert ESCAPE not in done.out
    assert title == f"{source} row 0 (id a): 37 tokens, 9 trained (24.3%), prompt 17, proof inference"
    assert heading.split() == ["index", "id", "token", "label", "origin"]
    for number, (row, (id_, text, trained, origin)) in enumerate(zip(rows, BRIEF_TOKENS, strict=True)):
        shown = text.strip(" ").replace("\n", "\\n")
        cells = re.sub(r" \([12] of 2\)", "", row).split()  # of tokens that share a character
        assert cells == [str(number), str(id_), shown, str(id_ if trained else -100), origin]


def test_a_character_of_several_tokens_is_shown_whole(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "a.jsonl", [BRIEF])
    parts = [line.split() for line in run(source, "--tokens").out.splitlines() if "🙂" in line]

    assert [part[1:6] for part in parts] == [
        ["511", "🙂", "(1", "of", "2)"],
        ["5310", "🙂", "(2", "of", "2)"],
    ]


def test_one_row_is_shown_unless_told_otherwise(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "a.jsonl", [chat("Hi", "One"), chat("Hi", "Two")])

    assert run(source).out.count(" tokens, ") == 1
    assert run(source, "--limit", 2).out.count(" tokens, ") == 2
    assert "Two" in run(source, "--row", 1).out


def test_a_rejected_row_in_the_table(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "a.jsonl", [chat("Hi", "One"), chat("Hi", id="evil\x1b[2J")])
    done = run(source, "--row", 1, COLUMNS="300")

    assert done.out == (
        f"{source} row 1 (id evil\\x1b[2J): rejected, no_assistant: "
        "none of the 1 messages is by the assistant\n"
    )


@pytest.mark.parametrize("words", [[], ["--tokens"]])
def test_content_cannot_paint_the_terminal(tmp_path: Path, words: list[str]) -> None:
    """Escapes, control characters and text that turns writing around are written out; markup stays text."""
    evil = "\x1b[2J\x1b]0;title\x07 \u202eabc\u202c \x00\x08 [bold red]no[/bold red] \ud7ff\ue000\u200b\xa0"
    source = write_rows(tmp_path / "a.jsonl", [chat(evil, evil, id="[red]x")])
    plain, coloured = run(source, *words), run(source, *words, FORCE_COLOR="1", TERM="xterm")

    assert plain.code == coloured.code == 0
    assert all(char.isprintable() or char == "\n" for char in plain.out)
    assert "[red]x" in plain.out
    shown = plain.out.replace(" ", "")
    for part in ("\\x1b", "\\u202e", "\\x07", "\\x00", "\\u200b", "\\xa0"):
        assert part in shown
    assert "red]no[/" in shown if not words else plain.out.count(" red ") == 4  # in both messages
    codes = {part.partition("m")[0] for part in coloured.out.split("\x1b[")[1:]}
    known = {"0", "1", "2", "3", "32", "36", "1;36", "1;32", "1;4;32", "39", "0;39"}
    assert codes <= known | {"30;47", "38;5;16;48;5;151"}, codes


def test_colour_is_for_terminals_and_can_be_switched_off(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "a.jsonl", [BRIEF])

    for words in ([], ["--tokens"]):
        assert ESCAPE not in run(source, *words).out
        assert "\x1b[1;32m" in run(source, *words, FORCE_COLOR="1", TERM="xterm").out
        assert "32m" not in run(source, *words, FORCE_COLOR="1", TERM="xterm", NO_COLOR="1").out
    without = run(source, "--tokens", FORCE_COLOR="1", TERM="xterm", NO_COLOR="1").out
    assert "\x1b[1;4m long" in without  # bold and underlined is no colour


def test_no_letter_is_lost_in_the_table(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "a.jsonl", [chat("Grüße", "日本語 العربية हिन्दी")])
    shown = run(source).out

    for part in ("ü", "ß", "日", "本"):
        assert part in shown


# ==== Locales ====

BARE = {"LC_ALL": "C", "LANG": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
"""An environment in which Python takes ASCII for the encoding of its streams."""


def test_json_is_utf_8_in_every_locale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTHONIOENCODING", raising=False)
    source = write_rows(tmp_path / "a.jsonl", [BRIEF, chat("日本語", "é🙂")])
    words = ["explain", source, "--tokenizer", TOKENIZER, "--format", "json"]
    here = premask(*words)
    there = process(*words, **BARE)

    assert (there.returncode, there.stderr) == (0, b"")
    assert there.stdout.decode("utf-8") == here.out
    assert "é🙂" in here.out


def test_the_table_is_shown_in_every_locale(tmp_path: Path) -> None:
    """What the terminal cannot show is written out instead of ending the command."""
    assert "PYTHONIOENCODING" not in os.environ
    source = write_rows(tmp_path / "a.jsonl", [BRIEF])
    done = process("explain", source, "--tokenizer", TOKENIZER, **BARE)

    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.isascii()
    assert b"\\U0001f642" in done.stdout
    assert b"[[So long<|im_end|>]]" in done.stdout
