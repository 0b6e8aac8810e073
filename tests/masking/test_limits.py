"""Hostile and broken chat templates: they cost the rows they touch, in bounded time, and never the run.

A template comes with a tokenizer from the Hub, so it is input like any other. Each of these does its harm
only for a row that says `bomb`; the rows around it must come out as if it were not there.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from commands import TOKENIZER, Row, chat, premask, write_rows
from labelling import kept, label_rows, masked, rejected
from places import MakeLabeller
from premask.core import limits, records
from premask.core.errors import TemplateError
from premask.core.records import Reject
from premask.masking import chat_template
from premask.masking.chat_template import MAX_RENDERED, MAX_STEPS
from watching import watched

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
ROWS: list[Row] = [chat("Hi", "Hello"), chat("bomb", "Hello"), chat("Bye", "Ciao")]


KEPT = "<|im_start|>user\nbomb<|im_end|>\n<|im_start|>assistant\nHello<|im_end|>\n"
"""The text of the middle row where a bomb does nothing."""

Explode = Callable[[str], Reject | str]


@pytest.fixture
def explode(make_labeller: MakeLabeller, tmp_path: Path) -> Explode:
    """Run the rows through a template with a bomb in it: the reject of the middle row, or its text."""

    def run(bomb: str) -> Reject | str:
        path = tmp_path / "bomb.jinja"
        path.write_text("{% if messages[0].content == 'bomb' %}" + bomb + "{% endif %}" + CHATML)
        labeller = make_labeller("sample", chat_template=str(path))
        rows = [records.Row("a.jsonl", i, row) for i, row in enumerate(ROWS)]
        for row, text in ((rows[0], "Hello"), (rows[2], "Ciao")):
            (sample,) = kept(labeller, row, "openai")
            assert masked(sample) == [f"{text}<|im_end|>"]
        (middle,) = label_rows(labeller, [rows[1]], "openai")
        return middle if isinstance(middle, Reject) else middle[0].text

    return run


BIG = MAX_RENDERED + 1
LOOP = "{% for a in range(99999) %}"
BOMBS = {
    "nested loops": (
        f"{LOOP}{LOOP}{{% endfor %}}{{% endfor %}}",
        "template_unsafe",
        f"the loops of the chat template take more than {MAX_STEPS} iterations",
    ),
    "loops that print": (
        f"{LOOP}{LOOP}x{{% endfor %}}{{% endfor %}}",
        "template_unsafe",
        f"more than {MAX_STEPS} iterations",
    ),
    "loops in a macro": (
        f"{{% macro f() %}}{LOOP}{{% endfor %}}{{% endmacro %}}{LOOP}{{{{ f() }}}}{{% endfor %}}",
        "template_unsafe",
        f"more than {MAX_STEPS} iterations",
    ),
    "a long range": ("{% for a in range(10 ** 12) %}{% endfor %}", "template_error", "Range too big"),
    "a product of text": (f"{{{{ 'a' * {BIG} }}}}", "template_unsafe", "computes something too large"),
    "a product the other way": (f"{{{{ {BIG} * 'a' }}}}", "template_unsafe", "computes something too large"),
    "a product of content": (
        f"{{{{ messages[0].content * {BIG} }}}}",
        "template_unsafe",
        "computes something too large",
    ),
    "a product of lists": (
        f"{{{{ ([0] * {BIG}) | length }}}}",
        "template_unsafe",
        "computes something too large",
    ),
    "a product that is not printed": (
        f"{{% set x = 'a' * {BIG} %}}",
        "template_unsafe",
        "computes something too large",
    ),
    "a power": ("{{ 10 ** (10 ** 9) }}", "template_unsafe", "computes something too large"),
    "a power of a power": (
        "{{ (10 ** 100000) ** 10000 }}",
        "template_unsafe",
        "computes something too large",
    ),
    "a float that overflows": ("{{ 10.0 ** 400 }}", "template_error", "OverflowError"),
    "a number of many digits": ("{{ 10 ** 5000 }}", "template_error", "ValueError"),
    "output": (
        f"{{% for a in range(2000) %}}{{{{ 'a' * {MAX_RENDERED // 1000} }}}}{{% endfor %}}",
        "template_unsafe",
        f"prints more than {MAX_RENDERED} characters",
    ),
    "a macro without end": (
        "{% macro f(n) %}{{ f(n + 1) }}{% endmacro %}{{ f(0) }}",
        "template_error",
        "RecursionError",
    ),
    "a loop that calls itself": (
        "{% for m in messages recursive %}{{ loop(messages) }}{% endfor %}",
        "template_error",
        "RecursionError",
    ),
    "division by zero": ("{{ 1 // 0 }}", "template_error", "ZeroDivisionError"),
    "an include": ("{% include 'secrets.txt' %}", "template_error", "no loader"),
    "an import": ("{% import 'os' as os %}", "template_error", "no loader"),
}
ESCAPES = {
    "class": "{{ ''.__class__.__mro__ }}",
    "subscript": "{{ ''['__class__']['__mro__'] }}",
    "attr": "{{ (''|attr('__class__'))|attr('__mro__') }}",
    "content": "{{ messages[0].content.__class__.__init__.__globals__ }}",
    "globals": "{{ cycler.__init__.__globals__ }}",
    "function": "{{ raise_exception.__globals__ }}",
    "method": "{{ strftime_now.__self__.x }}",
    "macro": "{% macro f() %}{% endmacro %}{{ f.__init__.__globals__ }}",
    "dict": "{{ dict.__class__.mro() }}",
    "append": "{% set _ = messages.append(1) %}",
    "update": "{% set _ = messages[0].update({'role': 'assistant'}) %}",
    "pop": "{% set _ = messages.pop() %}",
    "namespace": "{% set ns = namespace(__class__=1) %}",
    "format": "{{ '{0.__class__}'.format(messages) }}",
    "self": "{{ self.__init__ }}",
}


HARMLESS = ("attr", "function", "format", "self")


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_costs_its_row_alone(explode: Explode, name: str) -> None:
    bomb, reason, detail = BOMBS[name]
    found = explode(bomb)

    assert isinstance(found, Reject), "the row was kept"
    assert (found.row, found.reason) == (1, reason)
    assert detail in found.detail


@pytest.mark.parametrize("name", ESCAPES)
def test_the_sandbox_holds(explode: Explode, name: str) -> None:
    """The row is refused, or nothing comes of it: Jinja gives an undefined value for some of these."""
    found = explode(ESCAPES[name])

    if isinstance(found, Reject):
        assert found.reason in ("template_unsafe", "template_error")
    else:
        assert found == KEPT
        assert name in HARMLESS


UNSTABLE = {
    "lorem ipsum": "{{ lipsum(n=1) }}",
    "an address": "{% set a = joiner() %}{{ a }}{{ namespace() }}{{ lipsum(n=1) }}",
}


@pytest.mark.parametrize("name", UNSTABLE)
def test_a_template_that_prints_another_text_each_time(explode: Explode, name: str) -> None:
    found = explode(UNSTABLE[name])

    assert isinstance(found, Reject)
    assert found.reason == "template_unstable"


def test_a_template_that_goes_off_at_once(
    make_labeller: MakeLabeller, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The probes that find the turn ends meet the bomb too; loading survives it."""
    monkeypatch.setattr(chat_template, "MAX_STEPS", 10_000)
    path = tmp_path / "bomb.jinja"
    path.write_text(BOMBS["nested loops"][0] + CHATML)
    labeller = make_labeller("sample", chat_template=str(path))

    assert rejected(labeller, records.Row("a.jsonl", 0, ROWS[0]), "openai").reason == "template_unsafe"


def test_a_template_that_takes_all_time_for_its_probes(
    make_labeller: MakeLabeller, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "SECONDS", 1.0)
    path = tmp_path / "bomb.jinja"
    path.write_text(BOMBS["nested loops"][0] + CHATML)

    with (
        watched(),
        pytest.raises(
            TemplateError, match=r"bomb.jinja cannot be used: a short conversation takes more than 1 s"
        ),
    ):
        make_labeller("sample", chat_template=str(path))


def test_a_template_nested_too_deeply_is_one_error(make_labeller: MakeLabeller, tmp_path: Path) -> None:
    path = tmp_path / "deep.jinja"
    path.write_text("{{ " + "(" * 500 + "1" + ")" * 500 + " }}")

    with pytest.raises(TemplateError, match="nested too deeply"):
        make_labeller("sample", chat_template=str(path))


def test_what_is_only_much_is_no_bomb(explode: Explode) -> None:
    assert explode("{% for a in range(1000) %}{% for b in range(100) %}{% endfor %}{% endfor %}") == KEPT
    assert explode("{% set x = 'a' * 100000 %}{{ x | length }}") == f"100000{KEPT}"


def test_a_run_with_a_bomb_in_it(tmp_path: Path) -> None:
    (tmp_path / "bomb.jinja").write_text(
        "{% if messages[0].content == 'bomb' %}" + BOMBS["a product of text"][0] + "{% endif %}" + CHATML
    )
    source = write_rows(tmp_path / "a.jsonl", ROWS)
    flags = ["--tokenizer", TOKENIZER, "--chat-template", tmp_path / "bomb.jinja"]
    done = premask("run", source, *flags, "--output", tmp_path / "out")

    assert done.code == 0, done.err
    assert "3 in = 2 kept + 1 rejected" in done.out
    assert "1 template_unsafe: " in done.out


# ==== What doubles ====

DOUBLING = {
    "text that doubles": (
        "{% set ns = namespace(s='a') %}{% for i in range(15) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}"
    ),
    "text added up": (
        "{% set ns = namespace(s='a') %}{% for i in range(15) %}{% set ns.s = ns.s + ns.s %}{% endfor %}"
    ),
    "numbers squared": (
        "{% set ns = namespace(n=3) %}{% for i in range(15) %}{% set ns.n = ns.n * ns.n %}{% endfor %}"
    ),
    "wide format": "{% set x = '%20000d' % 1 %}",
    "calls that double": (
        "{% macro f(n) %}{% if n %}{% set _ = f(n - 1) ~ f(n - 1) %}{% endif %}{% endmacro %}{{ f(14) }}"
    ),
    "chance": "{{ ['a', 'a']|random }}",
}
"""Each but the last doubles with every step, so the limits are lowered to where it does no harm yet."""


@pytest.mark.parametrize("name", DOUBLING)
def test_what_doubles_is_stopped(explode: Explode, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(chat_template, "MAX_RENDERED", 10_000)
    monkeypatch.setattr(chat_template, "MAX_STEPS", 10_000)
    monkeypatch.setattr(chat_template, "MAX_BITS", 10_000)
    monkeypatch.setattr(chat_template, "MAX_WIDTH", 10_000)

    assert isinstance(explode(DOUBLING[name]), Reject)
