"""What `premask template` says of chat templates: small ones whose habits are known, and all the shared ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from commands import TOKENIZER, premask
from places import SHARED, MakeLabeller
from premask.core.errors import TemplateError
from premask.review.template_report import Diagnosis, diagnose

TEMPLATES = SHARED / "corpus" / "templates"
VERDICTS = ("exact", "exact with split", "refused")

PROMPT = "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
TURN = "<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n"
PLAIN = "{% for m in messages %}" + TURN + "{% endfor %}" + PROMPT
TOOLS_AND_CALLS = (
    "{% for tool in tools or [] %}{{ tool | tojson }}\n{% endfor %}"
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}"
    "{% for call in m.tool_calls or [] %}<call>{{ call.function | tojson }}</call>{% endfor %}"
    "<|im_end|>\n{% endfor %}" + PROMPT
)

KINDS = (
    "user and assistant",
    "system",
    "developer",
    "tools",
    "tool calls",
    "tool results",
    "reasoning",
    "reasoning in history",
    "reasoning within the text",
    "two users in a row",
    "assistant first",
)
HABITS = (
    "trims content",
    "rewrites history",
    "keeps the order of messages",
    "prints a date",
    "marks generated text itself",
)
PLAIN_TAKES = {
    "user and assistant": "taken",
    "system": "taken",
    "developer": "taken",
    "tools": "dropped",
    "tool calls": "dropped",
    "tool results": "taken",
    "reasoning": "dropped",
    "reasoning in history": "dropped",
    "reasoning within the text": "taken",
    "two users in a row": "taken",
    "assistant first": "taken",
}
PLAIN_HABITS = {
    "trims content": "no",
    "rewrites history": "no",
    "keeps the order of messages": "yes",
    "prints a date": "no",
    "marks generated text itself": "no",
}


class Doctor:
    """Diagnoses template texts with the sample tokenizer."""

    def __init__(self, make_labeller: MakeLabeller, folder: Path) -> None:
        self._make, self._path = make_labeller, folder / "template.jinja"

    def __call__(self, text: str, **keys: Any) -> Diagnosis:
        self._path.write_text(text, encoding="utf-8")
        return diagnose(self._make("sample", chat_template=str(self._path), **keys))


@pytest.fixture
def doctor(make_labeller: MakeLabeller, tmp_path: Path) -> Doctor:
    return Doctor(make_labeller, tmp_path)


def trained(diagnosis: Diagnosis, name: str) -> list[list[str]]:
    """The trained stretches of each sample of a probe."""
    return [
        [sample.text[turn.start : turn.end] for turn in sample.turns] for sample in diagnosis.samples[name]
    ]


# ==== Templates whose habits are known ====


def test_a_plain_template(doctor: Doctor) -> None:
    found = doctor(PLAIN)

    assert found.verdict == "exact"
    assert found.generation_prompt == "<|im_start|>assistant\n"
    assert found.turn_ends == ("<|im_end|>",)
    assert found.takes == PLAIN_TAKES
    assert found.habits == PLAIN_HABITS
    assert found.warnings == ()
    assert found.refusals == {
        "tools": "content_dropped: the chat template prints nothing of message 1 (assistant)"
    }
    assert trained(found, "plain") == [["zephyrean<|im_end|>", "jackdawed<|im_end|>"]]


def test_a_template_that_shows_tools(doctor: Doctor) -> None:
    found = doctor(TOOLS_AND_CALLS)

    assert found.verdict == "exact"
    assert found.takes == {**PLAIN_TAKES, "tools": "taken", "tool calls": "taken"}
    assert found.refusals == {}
    assert trained(found, "tools") == [
        [
            '<call>{"name": "fathomer", "arguments": {"depthwise": "sixpenny"}}</call><|im_end|>',
            "jackdawed<|im_end|>",
        ]
    ]


def test_a_template_that_shows_only_the_names_of_tools(doctor: Doctor) -> None:
    found = doctor(TOOLS_AND_CALLS.replace("{{ tool | tojson }}", "{{ tool.function.name }}"))

    assert found.takes["tools"] == "partly dropped"


@pytest.mark.parametrize(
    ("content", "roles"),
    [
        ("m.content | trim", "of user and assistant"),
        ("m.content.strip()", "of user and assistant"),
        ("m.content.rstrip() if m.role == 'assistant' else m.content", "of assistant"),
        ("m.content.lstrip() if m.role == 'user' else m.content", "of user"),
    ],
)
def test_a_template_that_trims(doctor: Doctor, content: str, roles: str) -> None:
    found = doctor(PLAIN.replace("m.content", content))

    assert found.verdict == "exact"
    assert found.habits == {**PLAIN_HABITS, "trims content": roles}


def test_a_template_that_drops_the_system_message(doctor: Doctor) -> None:
    found = doctor(PLAIN.replace(TURN, "{% if m.role != 'system' %}" + TURN + "{% endif %}"))

    assert found.verdict == "exact"
    assert found.takes == {**PLAIN_TAKES, "system": "dropped"}


def test_a_template_that_rewrites_history(doctor: Doctor) -> None:
    thought = "{% if m.role == 'assistant' and loop.last %}<think>\n{{ m.thinking }}\n</think>\n{% endif %}"
    found = doctor(PLAIN.replace("{{ m.content }}", thought + "{{ m.content }}"))

    assert found.verdict == "exact with split"
    assert found.habits == {**PLAIN_HABITS, "rewrites history": "in conversations of kind plain, reasoning"}
    assert found.takes["reasoning"] == "taken"
    assert found.takes["reasoning in history"] == "dropped"
    assert trained(found, "reasoning") == [
        ["<think>\npondering\n</think>\njackdawed<|im_end|>"],
        ["<think>\nmulling\n</think>\nzephyrean<|im_end|>"],
    ]


@pytest.mark.parametrize("date", ["2024-02-29", "0001-01-01", "9999-12-31", "9998-12-31"])
def test_a_template_that_prints_a_date(doctor: Doctor, date: str) -> None:
    found = doctor("Today: {{ strftime_now('%d %b %y') }}\n" + PLAIN, date=date)

    assert found.verdict == "exact"
    assert found.habits == {**PLAIN_HABITS, "prints a date": f"yes, that of {date}"}
    assert doctor(PLAIN, date=date).habits["prints a date"] == "no"


def test_a_template_that_turns_messages_around(doctor: Doctor) -> None:
    found = doctor(PLAIN.replace("in messages", "in messages | reverse"))

    assert found.verdict == "refused"
    assert found.habits["keeps the order of messages"] == "no"
    assert found.habits["rewrites history"] == "unknown"
    assert set(found.refusals) == {"plain", "tools", "reasoning"}
    assert found.samples == {}


def test_a_template_that_ends_no_turn(doctor: Doctor) -> None:
    text = (
        "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
        "{% if add_generation_prompt %}assistant:{% endif %}"
    )
    found = doctor(text)

    assert found.verdict == "exact"
    assert found.generation_prompt == "assistant:"
    assert len(found.warnings) == 1
    assert "prints no turn end" in found.warnings[0]
    assert "append_eos" in found.warnings[0]
    assert trained(found, "plain") == [[" zephyrean", " jackdawed"]]
    assert doctor(text, append_eos=True).warnings == ()
    ended = doctor(text.replace("m.content }}", "m.content }}{{ '</s>' if m.role == 'assistant' }}"))
    assert ended.warnings == ()
    assert ended.turn_ends == ("<|im_end|>", "</s>")
    assert trained(ended, "plain") == [[" zephyrean</s>", " jackdawed</s>"]]


def test_a_template_that_marks_what_is_generated(doctor: Doctor) -> None:
    content = (
        "{% if m.role == 'assistant' %}{% generation %}{{ m.content }}<|im_end|>{% endgeneration %}"
        "{% else %}{{ m.content }}<|im_end|>{% endif %}"
    )
    text = PLAIN.replace("{{ m.content }}<|im_end|>", content)
    found = doctor(text)

    assert found.verdict == "exact"
    assert found.habits == {**PLAIN_HABITS, "marks generated text itself": "yes"}
    by_tags = doctor(text, mask="generation-tags")
    assert trained(found, "plain") == trained(by_tags, "plain")
    assert by_tags.samples["plain"][0].proof == "generation-tags"


def test_a_template_in_which_user_and_assistant_must_take_turns(doctor: Doctor) -> None:
    check = (
        "{% if m.role != ('user' if loop.index0 % 2 == 0 else 'assistant') %}"
        "{{ raise_exception('roles must take turns') }}{% endif %}"
    )
    found = doctor(PLAIN.replace(TURN, check + TURN))
    refused = "refused: the chat template refuses the conversation (template line 1): roles must take turns"

    assert found.verdict == "exact"
    for kind in ("system", "developer", "two users in a row", "assistant first", "tool calls"):
        assert found.takes[kind] == refused, kind
    assert found.takes["user and assistant"] == "taken"


def test_a_template_that_refuses_everything(doctor: Doctor) -> None:
    found = doctor("{{ raise_exception('never') }}")

    assert found.verdict == "refused"
    assert found.generation_prompt == ""
    assert found.habits == {**dict.fromkeys(HABITS, "unknown"), "marks generated text itself": "no"}
    assert set(found.takes) == set(KINDS)
    assert all(fate.endswith(": never") for fate in found.takes.values())
    assert set(found.refusals) == {"plain", "tools", "reasoning"}


@pytest.mark.parametrize("text", ["", "nothing of it", "{{ messages }}", "{{ messages[0].nothing.at.all }}"])
def test_texts_that_are_no_chat_templates(doctor: Doctor, text: str) -> None:
    found = doctor(text)

    assert found.verdict == "refused"
    json.dumps(found.as_dict())


# ==== Real templates ====


def test_qwen3(make_labeller: MakeLabeller) -> None:
    """Its thoughts are gone once they are history, and an empty thought stands before the last answer."""
    found = diagnose(make_labeller("qwen3"))

    assert found.verdict == "exact with split"
    assert found.generation_prompt == "<|im_start|>assistant\n"
    assert found.turn_ends == ("<|im_end|>",)
    assert found.takes == {
        **dict.fromkeys(KINDS, "taken"),
        "developer": "dropped",
        "reasoning in history": "dropped",
    }
    assert found.habits == {
        **PLAIN_HABITS,
        "rewrites history": "in conversations of kind plain, tools, reasoning",
    }
    assert (found.warnings, found.refusals) == ((), {})
    assert trained(found, "plain") == [
        ["<think>\n\n</think>\n\njackdawed<|im_end|>"],
        ["<think>\n\n</think>\n\nzephyrean<|im_end|>"],
    ]


def test_llama_3_2(make_labeller: MakeLabeller) -> None:
    found = diagnose(make_labeller("llama3_2", date="2024-07-26"))

    assert found.verdict == "exact"
    assert found.generation_prompt == "<|start_header_id|>assistant<|end_header_id|>\n\n"
    assert "<|eot_id|>" in found.turn_ends
    assert found.habits == {
        **PLAIN_HABITS,
        "trims content": "of user and assistant",
        "prints a date": "yes, that of 2024-07-26",
    }
    assert "26 Jul 2024" in found.samples["plain"][0].text
    assert trained(found, "plain") == [["zephyrean<|eot_id|>", "jackdawed<|eot_id|>"]]


def shared_templates() -> list[Any]:
    """The templates of the shared folder, each text once."""
    texts: dict[str, Path] = {}
    for path in sorted(TEMPLATES.rglob("*.jinja")):
        texts.setdefault(path.read_text(encoding="utf-8"), path)
    names = {path: str(path.relative_to(TEMPLATES).with_suffix("")) for path in texts.values()}
    missing = pytest.param(TEMPLATES, id="none", marks=pytest.mark.skip(f"{TEMPLATES} is not there"))
    return [pytest.param(path, id=name) for path, name in names.items()] or [missing]


@pytest.mark.parametrize("path", shared_templates())
def test_every_shared_template_gets_a_verdict(make_labeller: MakeLabeller, path: Path) -> None:
    try:
        labeller = make_labeller("sample", chat_template=str(path))
    except TemplateError as error:
        assert "syntax error in line" in str(error)  # noqa: PT017
        return
    found = diagnose(labeller)

    assert found.verdict in VERDICTS
    assert (found.verdict == "refused") == ("plain" in found.refusals)
    assert (found.verdict == "exact with split") == (
        "plain" in found.samples and any(len(samples) > 1 for samples in found.samples.values())
    )
    assert {*found.samples, *found.refusals} == {"plain", "tools", "reasoning"}
    assert tuple(found.takes) == KINDS
    assert all(
        fate in ("taken", "partly dropped", "dropped") or fate.startswith("refused: ")
        for fate in found.takes.values()
    )
    assert tuple(found.habits) == HABITS
    for stretches in trained(found, "plain") if "plain" in found.samples else []:
        assert "quixotry" not in "".join(stretches)
        assert "wombatish" not in "".join(stretches)
    assert json.loads(json.dumps(found.as_dict()))["verdict"] == found.verdict


# ==== The command ====


def test_the_command_prints_what_was_found(tmp_path: Path) -> None:
    done = premask("template", TOKENIZER)
    lines = [" ".join(line.split()) for line in done.out.splitlines()]

    assert (done.code, done.err) == (0, "")
    assert "\x1b" not in done.out
    assert lines[:3] == [
        "verdict: exact",
        r"generation prompt <|im_start|>assistant\n",
        "a turn ends with <|im_end|>",
    ]
    assert "system taken" in lines
    assert "trims content no" in lines
    assert "plain; trained text is in [[ ]]:" in lines
    assert "[[zephyrean<|im_end|>]]" in lines
    assert any(line.startswith("refused, conversation of kind tools: template_error: ") for line in lines)


def test_the_command_as_json(tmp_path: Path) -> None:
    done = premask("template", TOKENIZER, "--format", "json")
    found = json.loads(done.out)

    assert (done.code, done.err, done.out.count("\n")) == (0, "", 1)
    assert list(found) == [
        "verdict", "generation_prompt", "turn_ends", "takes", "habits", "warnings", "refusals", "samples",
    ]  # fmt: skip
    assert (found["verdict"], found["turn_ends"]) == ("exact", ["<|im_end|>"])
    (sample,) = found["samples"]["plain"]
    assert list(sample) == ["text", "turns"]
    assert [list(turn) for turn in sample["turns"]] == [["message", "start", "end"]] * 2


@pytest.mark.parametrize("form", ["json", "table"])
@pytest.mark.parametrize(
    ("text", "code"), [(PLAIN, 0), (PLAIN.replace("in messages", "in messages | reverse"), 1)]
)
def test_the_exit_code_tells_the_verdict(tmp_path: Path, form: str, text: str, code: int) -> None:
    (tmp_path / "t.jinja").write_text(text)
    done = premask("template", TOKENIZER, "--chat-template", tmp_path / "t.jinja", "--format", form)

    assert (done.code, done.err) == (code, "")
    assert ("refused" in done.out.splitlines()[0].split(",")[0]) == (code == 1)


def test_a_template_cannot_paint_the_terminal(tmp_path: Path) -> None:
    (tmp_path / "t.jinja").write_text("\x1b[2J[bold]" + PLAIN + "{{ raise_exception('\x1b[31m') if tools }}")
    done = premask("template", TOKENIZER, "--chat-template", tmp_path / "t.jinja")

    assert done.code == 0
    assert "\x1b" not in done.out
    assert r"\x1b[2J[bold]" in done.out
    assert r"\x1b[31m" in done.out
