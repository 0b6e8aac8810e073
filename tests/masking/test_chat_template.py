"""Chat templates: what transformers renders, once plain and once traced, and templates that mean harm."""

from __future__ import annotations

import datetime
import json
import pickle
from typing import Any

import pytest
from conversation_kinds import CHATS, Chat
from inference import frozen_date, render
from places import SHARED
from premask.core import records
from premask.core.errors import RowError, TemplateError
from premask.core.records import MIXED, TEMPLATE, Message, Origin
from premask.masking import chat_template
from premask.masking.chat_template import ChatTemplate
from premask.masking.renders import template_message
from premask.masking.traced import runs_of, trace

TEMPLATES = SHARED / "corpus" / "templates"
FILES = (
    [entry["file"] for entry in json.loads((TEMPLATES / "index.shared.json").read_text())]
    if TEMPLATES.is_dir()
    else []
)

VARIABLES = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}


def messages_of(chat: Chat) -> list[dict[str, Any]]:
    """Messages as the pipeline hands them to templates, reasoning under both its names."""
    messages = []
    for message in chat.messages:
        fields = {key: value for key, value in message.items() if value is not None and key != "train"}
        if "reasoning_content" in fields:
            fields["thinking"] = fields["reasoning_content"]
        messages.append(fields)
    return messages


def traced_of(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {k: v if k == "role" else trace(v, Origin(i, m["role"], k)) for k, v in m.items()}
        for i, m in enumerate(messages)
    ]


# ==== Real templates ====

_PARITY = [kind for kind in CHATS if kind not in ("ends on a user", "one turn untrained")]


def rendered(template: ChatTemplate, chat: Chat, *, prompt: bool, traced: bool = False) -> str | None:
    messages, tools = messages_of(chat), chat.tools and list(chat.tools)
    if traced:
        messages, tools = traced_of(messages), trace(tools, records.TOOLS)
    try:
        return template.render(
            messages, tools=tools, add_generation_prompt=prompt, mode="traced" if traced else "plain"
        )
    except RowError as error:
        return None if error.reason in ("template_error", "template_unsafe") else str(error)


@pytest.mark.skipif(not FILES, reason=f"the template corpus {TEMPLATES} is not here")
@pytest.mark.parametrize("file", FILES or [None])
def test_renders_are_those_of_transformers(file: Any) -> None:
    """Plain and traced, with and without generation prompt; where one of the three raises, all do."""
    source = (TEMPLATES / file).read_bytes().decode()
    try:
        template = ChatTemplate(source, variables=VARIABLES)
    except TemplateError:
        assert all(render(source, VARIABLES, chat.messages, chat.tools) is None for chat in CHATS.values())
        return
    with frozen_date():
        for kind in _PARITY:
            for prompt in (False, True):
                chat = CHATS[kind]
                plain = rendered(template, chat, prompt=prompt)
                traced = rendered(template, chat, prompt=prompt, traced=True)

                assert plain == render(source, VARIABLES, chat.messages, chat.tools, prompt=prompt), kind
                assert traced == plain, kind
                if traced is not None:
                    assert sum(length for length, _ in runs_of(traced)) == len(traced)


# ==== Constructs, one by one ====

MESSAGES: list[dict[str, Any]] = [
    {"role": "system", "content": "Be <b>brief</b> & kind."},
    {"role": "user", "content": "  eins\n\nzwei\n drei ", "name": "Ann"},
    {
        "role": "assistant",
        "content": "So, yes, so.",
        "tool_calls": [
            {"function": {"name": "f", "arguments": {"b": "é\"'<", "a": {"z": [1, None, True], "y": "2"}}}},
            {"function": {"name": "g", "arguments": {}}},
        ],
    },
]
TOOLS: list[dict[str, Any]] = [
    {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "required": ["a"]}}}
]

SNIPPETS = {
    "concat": "{{ messages[0].role ~ ': ' ~ messages[0].content ~ 3 ~ none ~ ['x', messages[0].content] }}",
    "plus": "{{ '<' + messages[0].content + '>' }}{{ messages[1].content + messages[2].content }}",
    "plus in a loop": "{% set ns = namespace(t='') %}{% for m in messages %}{% set ns.t = ns.t + m.content %}{% endfor %}{{ ns.t }}",
    "times": "{{ messages[2].content * 2 }}{{ '-' * 3 }}{{ 2 * messages[0].role }}",
    "percent": "{{ '%s|%5s|%-20s|%r|%%|%03d' % (messages[0].role, 'a', messages[2].content, messages[1].content, 7) }}",
    "percent by name": "{{ '%(role)s says %(content)s' % messages[2] }}",
    "percent from content": "{{ messages[2].content % () }}",
    "filter format": "{{ '%s-%s' | format(messages[0].role, messages[2].content) }}{{ '%(a)s' | format(a=messages[1].content) }}",
    "str.format": "{{ '{0}|{x}|{0!r:>30}'.format(messages[2].content, x=messages[0].role) }}{{ '{a}'.format_map({'a': messages[1].content}) }}",
    "slices": "{{ messages[1].content[2:5] }}|{{ messages[1].content[::-1] }}|{{ messages[1].content[-3] }}|{{ messages[1:][0].content }}",
    "strip": "{{ messages[1].content.strip() }}|{{ messages[1].content | trim }}|{{ messages[2].content.strip('So.') }}|{{ messages[1].content.rstrip() }}|{{ messages[2].content | trim('S') }}",
    "split": "{% for p in messages[2].content.split(',') %}{{ p | trim }};{% endfor %}{{ messages[1].content.split() | join('_') }}{{ messages[2].content.split('so')[-1].lstrip('.') }}",
    "rsplit and lines": "{{ messages[2].content.rsplit(',', 1)[1] }}{% for l in messages[1].content.splitlines() %}>{{ l }}{% endfor %}{{ messages[2].content.partition(',')[2] }}",
    "replace": "{{ messages[2].content.replace('so', messages[0].role) }}{{ messages[2].content | replace('yes', 'no', 1) }}{{ 'a-b' | replace('-', messages[2].content) }}{{ 'a-b'.replace('-', messages[2].content) }}",
    "case": "{{ messages[0].content | upper }}{{ messages[2].content | capitalize }}{{ messages[2].content | title }}{{ messages[0].content.lower().swapcase() }}",
    "tests on strings": "{% if messages[2].content.startswith('So') and 'yes' in messages[2].content and messages[2].content is string %}{{ messages[2].content | length }}{% endif %}",
    "join": "{{ messages | map(attribute='content') | join('; ') }}|{{ messages | join(', ', attribute='role') }}|{{ messages | join(messages[2].content, attribute='content') }}|{{ ', '.join([messages[2].content, 'x']) }}|{{ [1, messages[0].content] | join }}",
    "map and select": "{{ messages | selectattr('role', 'equalto', 'user') | map(attribute='content') | first }}{{ messages | rejectattr('name', 'defined') | map(attribute='content') | list | last }}{{ messages | map(attribute='content') | map('upper') | join }}",
    "printed list": "{{ messages | map(attribute='content') | list }}{{ messages[1] }}{{ [messages[0].content] + ['x'] }}{{ messages[2].tool_calls }}{{ messages[0].keys() }}{{ messages[0].values() }}",
    "tojson": "{{ messages[2].tool_calls | tojson }}{{ messages[0].content | tojson }}{{ tools | tojson(indent=2) }}{{ messages[2].tool_calls[0].function.arguments | tojson(sort_keys=true, separators=(',', ':')) }}{{ messages[1].content | tojson(ensure_ascii=true) }}",
    "indent": "{{ messages[1].content | indent(4) }}|{{ messages[1].content | indent(2, true, true) }}|{{ messages[1].content | indent('> ', first=true) }}|{{ '' | indent }}",
    "wrap": "{{ messages[2].content | wordwrap(5) }}{{ messages[2].content | truncate(8, true) }}{{ messages[2].content | center(30) }}{{ messages[2].content.ljust(20, '.') }}{{ '7'.zfill(3) }}",
    "safe": "{{ '<i>' | safe + messages[0].content }}{{ (messages[0].content | safe) + messages[1].content }}{{ messages[0].content | safe }}{{ messages[0].content | e }}{{ (messages[0].content | e) + '<' }}{{ messages[0].content | striptags }}",
    "dictsort and items": "{% for k, v in messages[2].tool_calls[0].function.arguments | dictsort %}{{ k }}={{ v }};{% endfor %}{% for k, v in messages[1] | items %}{{ k }}:{{ v }}{% endfor %}{% for k, v in messages[1].items() %}{{ k }}{{ v }}{% endfor %}",
    "macro": "{% macro say(m, end='!') %}[{{ m.content }}{{ end }}{{ caller() if caller else '' }}]{% endmacro %}{% for m in messages %}{{ say(m) }}{% endfor %}{{ say(messages[0], end=messages[2].content) | upper }}",
    "call block": "{% macro box(t) %}<{{ t }}>{{ caller(t) }}</>{% endmacro %}{% call(t) box(messages[1].content) %}{{ t | trim }}{{ messages[2].content }}{% endcall %}",
    "recursive macro": "{% macro walk(v) %}{% if v is mapping %}{% for k in v %}{{ k }}({{ walk(v[k]) }}){% endfor %}{% else %}{{ v }}{% endif %}{% endmacro %}{{ walk(messages[2].tool_calls[0].function.arguments) }}",
    "set block": "{% set text %}<{{ messages[2].content }}>{% endset %}{{ text }}{{ text | length }}{% set up | upper %}{{ messages[1].content }}{% endset %}{{ up }}",
    "filter block": "{% filter replace('o', '0') | upper %}so {{ messages[2].content }}{% endfilter %}",
    "namespace": "{% set ns = namespace(seen=false, texts=[]) %}{% for m in messages %}{% set ns.texts = ns.texts + [m.content] %}{% set ns.seen = true %}{% endfor %}{{ ns.texts | join('+') if ns.seen }}",
    "loop controls": "{% for m in messages %}{% if m.role == 'user' %}{% continue %}{% endif %}{{ loop.index0 }}{{ m.content }}{% if loop.last %}{% break %}{% endif %}{% else %}none{% endfor %}",
    "loop variables": "{% for m in messages if m.role != 'system' %}{{ loop.length }}{{ loop.cycle('a', 'b') }}{{ loop.previtem.content if loop.previtem is defined }}{{ loop.nextitem.role if loop.nextitem is defined }}{{ loop.changed(m.role) }}{% endfor %}",
    "recursive loop": "{% for k, v in messages[2].tool_calls[0].function.arguments.items() recursive %}{{ k }}{% if v is mapping %}<{{ loop(v.items()) }}>{% else %}={{ v }}{% endif %}{% endfor %}",
    "generation": "{% for m in messages %}{% generation %}{% set t = m.content %}{{ t }}{% endgeneration %}{{ t }}|{% endfor %}",
    "conditional expression": "{{ messages[1].name if messages[1].name is defined else 'nobody' }}{{ messages[0].name | default('anon') }}{{ messages[0].nothing or messages[2].content }}",
    "chained filters": "{{ messages | map(attribute='content') | map('trim') | select | reject('equalto', 'x') | unique | sort | reverse | join('/') }}",
    "groupby and batch": "{% for role, group in messages | groupby('role') %}{{ role }}{{ group | map(attribute='content') | list | length }}{% endfor %}{% for pair in messages | batch(2) %}{{ pair[0].content }}{% endfor %}",
    "numbers": "{{ 7 // 2 }}{{ 2 ** 5 }}{{ 7 % 3 }}{{ -3 | abs }}{{ 2.5 | round }}{{ '42' | int + 1 }}{{ [1, 2] | sum }}",
    "dict": "{{ dict(a=messages[0].content).a }}{{ dict.fromkeys(['k'], messages[2].content) }}",
    "with and include of names": "{% with a = messages[1].content %}{{ a }}{% endwith %}{{ a }}{% set x, y = messages[0].role, messages[2].content %}{{ y ~ x }}",
    "whitespace control": "  {%- for m in messages -%}  {{ m.content }}  {%- endfor %}\n  {% if true %}\n    x\n  {% endif %}\n{# note #}\n{% raw %}{{ raw }}{% endraw %}",
    "iterated string": "{% for c in messages[0].role %}{{ c }}.{% endfor %}{{ messages[0].role | list }}{{ messages[2].content | first }}{{ messages[2].content | last }}",
    "date": "{{ strftime_now('%d %b %Y %H:%M') }}",
    "variables": "{{ bos_token }}{{ eos_token }}{{ add_generation_prompt }}{{ documents }}{{ undefined_name }}{{ tools | length }}",
    "computed text": "{{ messages[0].content | urlencode }}{{ messages[1].content | wordcount }}{{ messages[2].content | string }}{{ messages[2].content | pprint }}{{ messages[1].content.expandtabs(2) }}{{ messages[2].content.title() }}",
}


@pytest.mark.parametrize("name", SNIPPETS)
def test_constructs_print_what_transformers_prints(name: Any) -> None:
    source = SNIPPETS[name]
    template = ChatTemplate(source, variables=VARIABLES)
    with frozen_date():
        expected = render(source, VARIABLES, MESSAGES, TOOLS)

    assert expected is not None

    plain = template.render(MESSAGES, tools=TOOLS)
    traced = template.render(traced_of(MESSAGES), tools=trace(TOOLS, records.TOOLS), mode="traced")

    assert plain == expected
    assert traced == expected


@pytest.mark.parametrize("name", SNIPPETS)
def test_constructs_never_pass_off_a_message_s_text_as_the_template_s(name: Any) -> None:
    """Every word of the messages (but numbers, lengths and the like, which are no text) has an origin of its
    message, or of several; the template may have it only where it says so itself."""
    source = SNIPPETS[name]
    words = {0: ["brief", "kind"], 1: ["eins", "zwei", "drei", "Ann"], 2: ["yes"]}
    text = ChatTemplate(source, variables=VARIABLES).render(
        traced_of(MESSAGES), tools=trace(TOOLS, records.TOOLS), mode="traced"
    )
    written = [origin for length, origin in runs_of(text) for _ in range(length)]
    lower = text.lower()
    for message, own in words.items():
        for word in own:
            at = lower.find(word.lower())
            while at >= 0:
                assert {o.message for o in written[at : at + len(word)]} <= {message, MIXED.message}, (
                    word,
                    at,
                )
                at = lower.find(word.lower(), at + 1)


def runs(source: str, messages: list[dict[str, Any]] | None = None) -> list[tuple[str, str]]:
    text = ChatTemplate(source).render(traced_of(MESSAGES if messages is None else messages), mode="traced")
    found, at = [], 0
    for length, origin in runs_of(text):
        found.append((str(text[at : at + length]), origin.label))
        at += length
    return found


def test_origins_of_a_chat() -> None:
    source = "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] | trim }}</>{% endfor %}"

    assert runs(source, [{"role": "user", "content": " hi "}, {"role": "assistant", "content": "yes"}]) == [
        ("<user>", "template"),
        ("hi", "user:0"),
        ("</><assistant>", "template"),
        ("yes", "assistant:1"),
        ("</>", "template"),
    ]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("{{ '%s!' % messages[2].content }}", [("So, yes, so.", "assistant:2"), ("!", "template")]),
        ("{{ messages[2].content | indent(1) }}", [("So, yes, so.", "assistant:2")]),
        (
            "{{ messages[1].content.strip() | indent(1) }}",
            [
                ("eins", "user:1"),
                ("\n\n ", "template"),
                ("zwei", "user:1"),
                ("\n ", "template"),
                (" drei", "user:1"),
            ],
        ),
        ("{{ [messages[2].content] }}", [("['So, yes, so.']", "assistant:2")]),
        ("{{ 'x' ~ [messages[2].content] }}", [("x", "template"), ("['So, yes, so.']", "assistant:2")]),
        ("{{ [messages[1].name, messages[2].content] }}", [("['Ann', 'So, yes, so.']", "mixed")]),
        ("{{ {'a': messages[1].name}.values() }}", [("dict_values(['Ann'])", "user:1")]),
        ("{{ messages[1].name | tojson }}", [('"Ann"', "user:1")]),
        (
            "{{ (messages[1].name ~ messages[2].content) | urlencode }}",
            [("AnnSo%2C%20yes%2C%20so.", "mixed")],
        ),
        ("{{ messages[1].name | upper ~ messages[1].role }}", [("ANN", "user:1"), ("user", "template")]),
    ],
)
def test_origins_of_constructs(source: Any, expected: Any) -> None:
    assert runs(source) == expected


def test_tags_mark_what_is_generated() -> None:
    source = "{% for m in messages %}<{% generation %}{{ m.content | trim }}!{% endgeneration %}>{% endfor %}"
    template = ChatTemplate(source)
    text = template.render([{"role": "user", "content": "a"}], mode="tagged")

    assert template.has_generation_tags
    assert not ChatTemplate("{{ messages }}").has_generation_tags
    assert [(length, origin.role) for length, origin in runs_of(text)] == [
        (1, "template"),
        (2, "generated"),
        (1, "template"),
    ]


# ==== Arguments ====


def test_the_date_is_that_of_the_recipe() -> None:
    template = ChatTemplate("{{ strftime_now('%Y-%m-%d') }}", date=datetime.date(2024, 2, 29))

    assert template.render([]) == "2024-02-29"
    assert ChatTemplate("{{ strftime_now('%Y') }}").render([]) == "2025"


def test_arguments_of_the_row_and_the_tokenizer_s_variables() -> None:
    template = ChatTemplate(
        "{{ bos_token }}{{ enable_thinking }}{{ add_generation_prompt }}{{ tools }}", variables=VARIABLES
    )

    assert template.render([], kwargs={"enable_thinking": False}) == "<s>FalseFalseNone"
    assert template.render([], kwargs={"bos_token": "<b>"}, add_generation_prompt=True) == "<b>TrueNone"
    assert template.render([], kwargs={"messages": "x", "tools": "y"}) == "<s>FalseNone"


def test_a_tokenizer_with_several_templates() -> None:
    template = ChatTemplate({"default": "plain", "tool_use": "with {{ tools | length }} tools"})

    assert template.render([]) == "plain"
    assert template.render([], tools=TOOLS) == "with 1 tools"
    with pytest.raises(TemplateError, match="none named 'default'"):
        ChatTemplate({"rag": "x"})


def test_template_messages_have_no_key_without_a_value() -> None:
    assert template_message(Message("assistant", None, tool_calls=({"type": "function"},))) == {
        "role": "assistant",
        "tool_calls": [{"type": "function"}],
    }


# ==== Templates that fail ====


def error_of(source: str, messages: list[dict[str, Any]] = MESSAGES, *, mode: Any = "plain") -> RowError:
    if mode == "traced":
        messages = traced_of(messages)
    with pytest.raises(RowError) as caught:
        ChatTemplate(source).render(messages, mode=mode)
    return caught.value


@pytest.mark.parametrize("mode", ["plain", "traced"])
@pytest.mark.parametrize(
    "source",
    [
        "{{ messages.append(1) }}",
        "{{ messages[0].update({'role': 'x'}) }}",
        "{{ messages.__class__.__mro__ }}",
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ ''['__class__'] }}{{ (''|attr('__class__')).x }}",
        "{{ {}.__init__.__globals__ }}",
        "{{ messages[0].content.__class__.__mro__ }}",
        "{{ messages[0].content._runs }}{{ messages[0].content._runs[0] }}",
        "{{ '{0.__class__.__mro__}'.format(messages) }}",
        "{{ '{0.__class__}'.format_map({'0': messages}) }}",
        "{{ '%s' | format | attr('__globals__') }}{{ ('x' | attr('format')).__self__.__class__.y }}",
        "{{ messages[0].content.format.__globals__ }}{{ (messages[0].content.format)('').x.y }}",
        "{{ namespace(__class__=1) }}",
        "{% set ns = namespace() %}{% set ns._x = 1 %}",
        "{{ namespace({'_x': 1}) }}",
        "{{ namespace.__init__.__globals__.os }}",
        "{{ raise_exception.__globals__['jinja2'] }}",
        "{{ strftime_now.__self__.__class__.x }}",
        "{{ dict.__call__.__func__.__globals__ }}",
        "{{ cycler.__init__.__globals__.os }}",
        "{{ self.__init__.__globals__ }}{{ self._TemplateReference__context.environment }}",
        "{{ lipsum.__globals__['os'].popen('id') }}",
        "{{ joiner.__init__.__globals__.os.system('id') }}",
        "{% macro m() %}{% endmacro %}{{ m.__call__.__func__.__globals__ }}",
        "{{ loop.__init__ }}{% for m in messages %}{{ loop._iterable.__class__.x }}{% endfor %}",
        "{% include 'x' %}",
        "{% import 'os' as os %}",
        "{% extends 'x' %}",
    ],
)
def test_escapes_are_stopped(source: Any, mode: Any) -> None:
    error = error_of(source, mode=mode)

    assert error.reason in ("template_unsafe", "template_error")
    assert "chat template" in error.detail


def test_messages_cannot_be_changed() -> None:
    before = pickle.dumps(MESSAGES)
    error = error_of("{{ messages[0].pop('role') }}")

    assert error.reason == "template_unsafe"
    assert "(template line 1)" in error.detail
    assert pickle.dumps(MESSAGES) == before


@pytest.mark.parametrize("mode", ["plain", "traced"])
@pytest.mark.parametrize(
    "source",
    [
        "{% set s = 'x' * 1000000 %}{% for i in range(100) %}{{ s }}{% endfor %}",
        "{% for i in range(99999) %}{% for j in range(99999) %}{% for k in range(99999) %}x{% endfor %}{% endfor %}{% endfor %}",
        "{% set t %}{% for i in range(99999) %}{% for j in range(99999) %}x{% endfor %}{% endfor %}{% endset %}",
        "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
        "{{ 'x' * 10000000000 }}",
        "{{ 10000000000 * 'x' }}",
        "{{ [1] * 10000000000 }}",
        "{{ 9 ** (9 ** 9) }}",
        "{{ messages[0].content * 10000000000 }}",
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
        "{{ range(10000000000) | list }}",
    ],
)
def test_templates_that_run_away_are_stopped(source: Any, mode: Any) -> None:
    error = error_of(source, mode=mode)

    assert error.reason in ("template_unsafe", "template_error")


def test_a_template_may_print_up_to_the_limit(monkeypatch: Any) -> None:
    monkeypatch.setattr(chat_template, "MAX_RENDERED", 10)

    assert ChatTemplate("{% for m in messages %}xxxxx{% endfor %}").render([{}, {}]) == "x" * 10

    error = error_of("{% for m in messages %}xxxxx{% endfor %}")

    assert error.reason == "template_unsafe"
    assert error.detail == "the chat template prints more than 10 characters"


def test_loops_are_counted_anew_in_each_render(monkeypatch: Any) -> None:
    monkeypatch.setattr(chat_template, "MAX_STEPS", 3)
    template = ChatTemplate("{% for m in messages %}x{% endfor %}")

    assert [template.render(MESSAGES) for _ in range(3)] == ["xxx"] * 3
    with pytest.raises(RowError, match="more than 3 iterations"):
        template.render([*MESSAGES, {}])


@pytest.mark.parametrize(
    ("source", "detail"),
    [
        (
            "a\n{{ raise_exception('No system role!') }}",
            "the chat template refuses the conversation (template line 2): No system role!",
        ),
        (
            "{{ messages[9].content }}",
            "the chat template failed (template line 1): UndefinedError: list object has no element 9",
        ),
        (
            "\n\n{{ 1 / 0 }}",
            "the chat template failed (template line 3): ZeroDivisionError: division by zero",
        ),
        (
            "{{ 'a' + 1 }}",
            'the chat template failed (template line 1): TypeError: can only concatenate str (not "int") to str',
        ),
        (
            "{{ raise_exception(messages[1].name) }}",
            "the chat template refuses the conversation (template line 1): Ann",
        ),
    ],
)
def test_a_template_that_raises_costs_its_row(source: Any, detail: Any) -> None:
    error = error_of(source)

    assert (error.reason, error.detail) == ("template_error", detail)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("{% for m in messages %}\n{{ m.content }}", "syntax error in line"),
        ("one\ntwo {{ 'x' }\nthree", "tpl: syntax error in line 2: unexpected '}'"),
        ("{% unknown %}", "syntax error in line 1: Encountered unknown tag 'unknown'."),
        ("{% generation %}x", "syntax error in line 1"),
        ("{{ 'x' | no_such_filter }}", "syntax error in line 1: No filter named 'no_such_filter'"),
        ("{{ " + "(" * 5000 + ")" * 5000 + " }}", "tpl is nested too deeply to compile"),
    ],
)
def test_a_template_that_does_not_compile_ends_the_run(source: Any, message: Any) -> None:
    with pytest.raises(TemplateError) as caught:
        ChatTemplate(source, name="tpl")

    assert message in str(caught.value)
    assert TEMPLATE.label == "template"
