"""What `premask template` says of chat templates: small ones whose habits are known, and real ones.

That its verdicts are what a run does is tested over the shared templates in
tests/corpus/test_template_report_corpus.py.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from commands import TOKENIZER, premask
from places import MakeLabeller
from premask.core.records import Sample
from premask.review.capabilities import Capability
from premask.review.probes import NAMED_IDS, probes
from premask.review.template_report import Diagnosis, diagnose

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
AGENTS = {
    "tools",
    "tool call",
    "tool result",
    "tool rounds",
    "parallel calls",
    "text beside a call",
    "system and tools",
    "reasoning before a call",
    "reasoning in tool rounds",
}
REASONING = {"reasoning", "reasoning in each turn", "reasoning in an earlier turn"}
NAMES = tuple(probes("<|im_end|>"))
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


def both(capability: Capability) -> tuple[str, str]:
    """What inference and the template show, from where they differ."""
    difference = capability.difference
    assert difference is not None
    assert difference.prompt[: difference.same] == difference.shown[: difference.same]
    return difference.prompt[difference.same :], difference.shown[difference.same :]


def ends_of(sample: Sample) -> tuple[str, str]:
    """The last line before the trained text of a sample, and that text."""
    (turn,) = sample.turns
    return sample.text[: turn.start].splitlines(keepends=True)[-1], sample.text[turn.start : turn.end]


# ==== Templates whose habits are known ====


def test_a_plain_template(doctor: Doctor) -> None:
    found = doctor(PLAIN)

    assert found.verdict == "exact"
    assert found.generation_prompt == "<|im_start|>assistant\n"
    assert found.turn_ends == ("<|im_end|>",)
    assert found.takes == PLAIN_TAKES
    assert found.habits == PLAIN_HABITS
    assert found.warnings == ()
    assert set(found.refusals) - {"empty assistant turn"} == AGENTS | REASONING
    assert found.refusals["tools"].startswith("content_dropped: the chat template does not print the tool")
    assert trained(found, "two turns") == [["zephyrean<|im_end|>", "jackdawed<|im_end|>"]]


def test_a_template_that_shows_tools(doctor: Doctor) -> None:
    found = doctor(TOOLS_AND_CALLS)

    assert found.verdict == "exact"
    assert found.takes == {**PLAIN_TAKES, "tools": "taken", "tool calls": "taken"}
    assert set(found.refusals) - {"empty assistant turn"} == REASONING | {
        "reasoning before a call",
        "reasoning in tool rounds",
    }
    assert trained(found, "tool result") == [
        [
            '<call>{"name": "fathomer", "arguments": {"depthwise": "sixpenny"}}</call><|im_end|>',
            "zephyrean<|im_end|>",
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
    text = PLAIN.replace(TURN, "{% if m.role != 'system' %}" + TURN + "{% endif %}")
    found = doctor(text)

    assert found.verdict == "exact"
    assert found.takes == {**PLAIN_TAKES, "system": "dropped"}
    assert found.capabilities["system"].reason == "content_dropped"
    assert found.capabilities["system"].lost == ("oversighted",)
    counted = doctor(text, on_dropped="count").capabilities["system"]
    assert (counted.verdict, counted.detail) == ("dropped", "dropped: content")
    assert counted.lost == ("oversighted",)


def test_a_template_that_rewrites_history(doctor: Doctor) -> None:
    thought = "{% if m.role == 'assistant' and loop.last %}<think>\n{{ m.thinking }}\n</think>\n{% endif %}"
    found = doctor(PLAIN.replace("{{ m.content }}", thought + "{{ m.content }}"))
    capability = found.capabilities["reasoning in each turn"]

    assert found.verdict == "exact with split"
    assert "two turns, reasoning in each turn" in found.habits["rewrites history"]
    assert found.takes["reasoning"] == "taken"
    assert found.takes["reasoning in history"] == "dropped"
    assert trained(found, "reasoning in each turn") == [
        ["<think>\npondersome\n</think>\njackdawed<|im_end|>"],
        ["<think>\nmullingly\n</think>\nzephyrean<|im_end|>"],
    ]
    assert (capability.verdict, capability.lost) == ("split", ())
    assert capability.detail == "2 samples; history shows no earlier reasoning"
    at_inference, shown = both(capability)
    assert at_inference == "<think>\nmullingly\n</think>\nzephyrean<|im_end|>"
    assert shown.startswith("zephyrean<|im_end|>\n<|im_start|>user\nwombatish")


# ==== Prompts that history does not show ====

OPENS = PLAIN.replace("assistant\n{% endif %}", "assistant\n<think>\n{% endif %}")


def test_a_prompt_that_opens_a_block_of_reasoning(doctor: Doctor) -> None:
    found = doctor(OPENS)
    plain = found.capabilities["plain"]

    assert (found.verdict, found.reasoning.prompt) == ("open reasoning", "opens a block")
    assert (found.reasoning.opens, found.reasoning.closes) == (("<think>",), ("</think>",))
    assert (plain.verdict, plain.reason) == ("refused", "open_reasoning")
    assert both(plain) == ("<think>\n", "zephyrean<|im_end|>\n")
    assert {name: ends_of(sample) for name, sample in found.open_reasoning.items()} == {
        "compose": ("<think>\n", "\n</think>\n\nzephyrean<|im_end|>"),
        "as-rendered": ("<|im_start|>assistant\n", "zephyrean<|im_end|>"),
    }


@pytest.mark.parametrize(
    ("choice", "verdict"), [("compose", "composed"), ("as-rendered", "behind another prompt")]
)
def test_what_the_recipe_says_about_open_reasoning(doctor: Doctor, choice: str, verdict: str) -> None:
    found = doctor(OPENS, open_reasoning=choice)
    (sample,) = found.samples["plain"]

    assert found.verdict == found.capabilities["plain"].verdict == verdict
    assert found.open_reasoning[choice] == sample
    assert both(found.capabilities["plain"])[1] == "zephyrean<|im_end|>\n"
    assert found.as_dict()["capabilities"]["plain"]["verdict"] == verdict


def test_the_whole_text_by_the_recipe(doctor: Doctor) -> None:
    """What is trained as the whole text shows it is not called exact, and where inference shows another prompt,
    this is said."""
    assert doctor(PLAIN, history="as-rendered").verdict == "as rendered"
    assert doctor(OPENS, history="as-rendered").verdict == "behind another prompt"


def test_a_template_that_prints_the_name_as_the_header(doctor: Doctor) -> None:
    found = doctor(PLAIN.replace("{{ m.role }}", "{{ m.name or m.role }}"))
    names = found.capabilities["names"]

    assert found.verdict == "exact"
    assert (names.verdict, names.reason, names.lost) == ("refused", "prompt_mismatch", ())
    assert both(names) == (
        "assistant\n",
        "sparrowhawk\nzephyrean<|im_end|>\n",
    )


def test_a_template_that_prints_the_first_of_parallel_calls(doctor: Doctor) -> None:
    found = doctor(TOOLS_AND_CALLS.replace("m.tool_calls or []", "(m.tool_calls or [])[:1]"))

    assert found.capabilities["tool call"].verdict == "exact"
    assert found.capabilities["parallel calls"].reason == "content_dropped"
    assert found.capabilities["parallel calls"].lost == ("octopody",)


def test_a_template_that_prints_ids_instead_of_names(doctor: Doctor) -> None:
    found = doctor(
        TOOLS_AND_CALLS.replace("call.function | tojson", "call.id ~ (call.function.arguments | tojson)")
    )

    call = found.capabilities["tool call"]
    assert (call.verdict, call.detail) == ("exact", f"call ids such as {NAMED_IDS[0]}")
    assert trained(found, "tool call") == [
        [f'<call>{NAMED_IDS[0]}{{"depthwise": "sixpenny"}}</call><|im_end|>']
    ]


def test_a_token_that_lies_across_the_edge_of_a_turn(make_labeller: MakeLabeller) -> None:
    found = diagnose(make_labeller("qwen3", chat_template="chatml"))

    assert found.capabilities["plain"].detail == ""
    assert r"'\n\n'" in found.capabilities["text that starts with a newline"].detail


# ==== Arguments ====

CLOSES = "{{ '\\n</think>\\n\\n' if enable_thinking is defined and enable_thinking is false }}"
REASONED = "{% if m.role == 'assistant' %}{{ '<think>\\n' ~ (m.reasoning_content or '') ~ '\\n</think>\\n\\n' }}{% endif %}"
THINKS = OPENS.replace("<think>\n", "{{ '<think>\\n' }}" + CLOSES).replace(
    "{{ m.content }}", REASONED + "{{ m.content }}"
)


def test_what_auto_chooses(doctor: Doctor) -> None:
    found = doctor(THINKS + "{{ greeting }}")

    assert set(found.arguments) == {"enable_thinking", "greeting"}
    assert found.arguments["greeting"] is None
    assert found.arguments["enable_thinking"] == (True, False, {"plain": "exact", "reasoning": "exact"})
    chosen = doctor(THINKS, template_kwargs={"enable_thinking": "auto"})
    for name in ("plain", "reasoning"):
        assert chosen.capabilities[name].verdict == "exact"


def test_a_template_that_takes_parts(doctor: Doctor) -> None:
    found = doctor(PLAIN.replace("{{ m.content }}", "{% for p in m.content %}{{ p.text }}{% endfor %}"))

    assert found.parts == ("assistant", "developer", "system", "tool", "user")
    assert {found.capabilities[name].verdict for name in ("plain", "system", "content as parts")} == {"exact"}


# ==== Habits ====


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
    assert {"plain", "two turns", "tools", "reasoning"} <= set(found.refusals)
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
    assert trained(found, "two turns") == [[" zephyrean", " jackdawed"]]
    assert doctor(text, append_eos=True).warnings == ()
    ended = doctor(text.replace("m.content }}", "m.content }}{{ '</s>' if m.role == 'assistant' }}"))
    assert ended.warnings == ()
    assert ended.turn_ends == ("<|im_end|>", "</s>")
    assert trained(ended, "two turns") == [[" zephyrean</s>", " jackdawed</s>"]]


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
    assert by_tags.verdict == "generation tags"


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
    assert set(found.refusals) == set(NAMES)


@pytest.mark.parametrize("text", ["", "nothing of it", "{{ messages }}", "{{ messages[0].nothing.at.all }}"])
def test_texts_that_are_no_chat_templates(doctor: Doctor, text: str) -> None:
    found = doctor(text)

    assert found.verdict == "refused"
    json.dumps(found.as_dict())


# ==== Real templates ====


def test_qwen3(make_labeller: MakeLabeller) -> None:
    """Earlier reasoning is not in its history, and an empty block is before the last answer."""
    found = diagnose(make_labeller("qwen3"))
    verdicts = {name: each.verdict for name, each in found.capabilities.items()}

    assert found.verdict == "exact with split"
    assert found.generation_prompt == "<|im_start|>assistant\n"
    assert found.turn_ends == ("<|im_end|>",)
    assert found.takes == {
        **dict.fromkeys(KINDS, "taken"),
        "developer": "dropped",
        "reasoning in history": "dropped",
    }
    assert found.habits["rewrites history"].startswith("in conversations of kind two turns, ")
    assert found.warnings == ()
    assert set(found.refusals) - {"empty assistant turn"} == {"developer"}
    assert trained(found, "two turns") == [
        ["<think>\n\n</think>\n\njackdawed<|im_end|>"],
        ["<think>\n\n</think>\n\nzephyrean<|im_end|>"],
    ]
    exact = {"plain", "system", "reasoning", "reasoning within the text", "tools", "tool call", "names"}
    assert {verdicts[name] for name in exact} == {"exact"}
    assert {verdicts[name] for name in ("reasoning in each turn", "parallel calls", "tool rounds")} == {
        "split"
    }


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
    assert trained(found, "two turns") == [["zephyrean<|eot_id|>", "jackdawed<|eot_id|>"]]


# ==== The command ====


def test_the_command_prints_what_was_found(tmp_path: Path) -> None:
    done = premask("template", TOKENIZER)
    lines = [" ".join(line.split()) for line in done.out.splitlines()]

    assert (done.code, done.err) == (0, "")
    assert "\x1b" not in done.out
    assert max(map(len, done.out.splitlines())) < 1000  # not filled up to the width of a pipe
    assert lines[:3] == [
        "verdict: exact",
        r"generation prompt <|im_start|>assistant\n",
        "a turn ends with <|im_end|>",
    ]
    assert "system exact" in lines
    assert "trims content no" in lines
    assert "two turns; trained text is in [[ ]]:" in lines
    assert "[[zephyrean<|im_end|>]]" in lines
    assert any(line.startswith("tool call refused template_error") for line in lines)


def test_the_command_as_json(tmp_path: Path) -> None:
    done = premask("template", TOKENIZER, "--format", "json")
    found = json.loads(done.out)

    assert (done.code, done.err, done.out.count("\n")) == (0, "", 1)
    assert list(found) == [
        "verdict", "generation_prompt", "turn_ends", "takes", "habits", "warnings", "refusals", "samples", "parts",
        "arguments", "reasoning", "open_reasoning", "capabilities",
    ]  # fmt: skip
    assert tuple(found["capabilities"]) == NAMES
    assert list(found["capabilities"]["plain"]) == [
        "verdict", "reason", "detail", "lost", "message", "prompt", "shown", "same",
    ]  # fmt: skip
    assert (found["verdict"], found["turn_ends"]) == ("exact", ["<|im_end|>"])
    (sample,) = found["samples"]["two turns"]
    assert list(sample) == ["text", "turns"]
    assert [list(turn) for turn in sample["turns"]] == [["message", "start", "end"]] * 2


@pytest.mark.parametrize("form", ["json", "table"])
@pytest.mark.parametrize(
    ("text", "code"), [(PLAIN, 0), (OPENS, 1), (PLAIN.replace("in messages", "in messages | reverse"), 1)]
)
def test_the_exit_code_tells_the_verdict(tmp_path: Path, form: str, text: str, code: int) -> None:
    (tmp_path / "t.jinja").write_text(text)
    done = premask("template", TOKENIZER, "--chat-template", tmp_path / "t.jinja", "--format", form)

    assert (done.code, done.err) == (code, "")
    first = done.out.splitlines()[0].split(",")[0]
    assert ("refused" in first or "open reasoning" in first) == (code == 1)


def test_a_template_cannot_paint_the_terminal(tmp_path: Path) -> None:
    (tmp_path / "t.jinja").write_text("\x1b[2J[bold]" + PLAIN + "{{ raise_exception('\x1b[31m') if tools }}")
    done = premask("template", TOKENIZER, "--chat-template", tmp_path / "t.jinja")

    assert done.code == 0
    assert "\x1b" not in done.out
    assert r"\x1b[2J[bold]" in done.out
    assert r"\x1b[31m" in done.out


def test_both_texts_are_printed_where_inference_and_template_differ(tmp_path: Path) -> None:
    (tmp_path / "t.jinja").write_text(OPENS)
    done = premask("template", TOKENIZER, "--chat-template", tmp_path / "t.jinja", COLUMNS="100")
    lines = [line.rstrip() for line in done.out.splitlines()]
    at = lines.index(r"  at inference  ..._end|>\n<|im_start|>assistant\n<think>\n")

    assert lines[at + 1] == r"  template      ..._end|>\n<|im_start|>assistant\nzephyrean<|im_end|>\n"
    assert lines[at + 2].index("^") == lines[at].index("<think>")
    assert all(len(line) <= 100 for line in lines[at : at + 3])


@pytest.mark.parametrize(
    ("choice", "verdict"), [("compose", "composed"), ("as-rendered", "behind another prompt")]
)
def test_the_command_takes_the_settings_of_the_mask(tmp_path: Path, choice: str, verdict: str) -> None:
    (tmp_path / "t.jinja").write_text(OPENS)
    words = ["template", TOKENIZER, "--chat-template", tmp_path / "t.jinja", "--open-reasoning", choice]
    done = premask(*words)

    assert (done.code, done.out.splitlines()[0]) == (0, f"verdict: {verdict}")
