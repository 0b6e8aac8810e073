"""Symbolic renders: whenever the questions of one have the same answers for other texts, putting those
texts into its parts gives what the template prints for them. Whatever the template tries."""

from __future__ import annotations

from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from premask.core.errors import RowError
from premask.masking.chat_template import ChatTemplate
from premask.masking.symbolic import Answers, JsonSlot, Op, Part, Questions, SymbolicTemplate, Unplannable

ROLES = ["user", "assistant", "user"]
TEXT = st.text(alphabet=st.sampled_from("ab <>\n\t12é\u2028"), max_size=6) | st.sampled_from(
    ["<think>", "</think>", "<think>a</think>b", "a\nb", " a ", "abc", "", "1", "messages", "strip", "a,b"]
)


def template(body: str) -> ChatTemplate:
    return ChatTemplate("{% for m in messages %}" + body + "{% endfor %}")


class Rendered(NamedTuple):
    """What a template prints, and what it asked."""

    parts: tuple[Part, ...]
    answers: Answers


def render(chat_template: ChatTemplate, roles: list[str], texts: list[str]) -> Rendered:
    questions = Questions(texts)
    messages = [{"role": role, "content": questions.text(slot)} for slot, role in enumerate(roles)]
    parts = SymbolicTemplate(chat_template).render(messages, questions=questions)
    return Rendered(parts, questions.answers)


def filled(rendered: Rendered, texts: list[str]) -> str:
    return "".join(part.value(texts) if isinstance(part, Op) else part for part in rendered.parts)


def applies(rendered: Rendered, texts: list[str]) -> bool:
    return all(question.value(texts) == answer for question, answer in rendered.answers.items())


def plain(chat_template: ChatTemplate, texts: list[str]) -> str:
    messages = [{"role": role, "content": text} for role, text in zip(ROLES, texts, strict=True)]
    return chat_template.render(messages)


FOLLOWED = [
    "[{{ m.role }}]{{ m.content }}",
    "{{ m.content | trim }}|",
    "{{ m['content'].strip() + '\n' }}",
    "{{ (m.content ~ ' end').rstrip() }}|",
    "{{ ('<' + m.content + ' ').strip() }}",
    "{{ m.content.lstrip('\n').rstrip() }}.",
    "{% if '</think>' in m.content %}{{ m.content.split('</think>')[-1].lstrip('\n') }}{% else %}{{ m.content }}{% endif %}",
    "{% if m.content.startswith('<think>') and not m.content.endswith('b') %}T{% endif %}{{ m.content }}",
    "{% if m.content %}{{ m.content }}{% else %}empty{% endif %}",
    "{% if m.content == 'a' %}A{% elif m.content != 'b' %}-{% endif %}{{ m.content }}",
    "{% set x %}<{{ m.content }}>{% endset %}{{ x }}",
    "{% macro say(t) %}[{{ t }}]{% endmacro %}{{ say(m.content) }}",
    "{% set ns = namespace(t='') %}{% set ns.t = ns.t + m.content %}{{ ns.t }}",
    "{{ [m.role, m.content] | join(': ') }}",
    "{{ ', '.join([m.content, 'x']) }}",
    "{{ m.content[1:] }}{{ m.content[:2] }}",
    "{{ m.content.partition('>')[2] }}",
    "{{ m.content.removeprefix('a').removesuffix('b') }}",
    "{{ m.content.replace('zzz', '') }}",
    "{% if m.content is string and m.content is defined and m.content is not none %}{{ m.content }}{% endif %}",
    "{{ m.content | default('x') }}{{ m.missing | default('y') }}",
    "{% if m.content | length > 3 %}long{% endif %}{{ m.content }}",
    "{% if m.content in ['a', 'abc'] %}listed{% endif %}{{ m.content }}",
    "{% if loop.first or loop.previtem.content == 'a' %}{{ m.content }}{% endif %}",
    "{{ (messages | selectattr('role', 'equalto', 'user') | list | first).content }}",
    "{% generation %}{{ m.content }}{% endgeneration %}",
    "{% if messages[0].content is iterable and messages[0].content is not mapping %}{{ m.content }}{% endif %}",
    "{% for part in m.content.split('\n') %}{{ part }}/{% endfor %}",
]
"""Bodies of a template that have a symbolic render for at least some texts."""

SNEAKY = [
    "{% if m.content in 'abc messages' %}A{% endif %}",
    "{% if m.content not in 'abc' %}A{% endif %}",
    "{{ m.content | upper }}",
    "{{ m.content.title() }}",
    "{{ '%s!' | format(m.content) }}",
    "{{ '%s!' % m.content }}",
    "{{ '{}!'.format(m.content) }}",
    "{{ {'a': 1, 'abc': 2}[m.content] }}",
    "{{ {'a': 1, 'abc': 2}.get(m.content, 0) }}",
    "{{ ['x', 'y'][m.content] }}",
    "{% for c in m.content %}{{ c }}.{% endfor %}",
    "{{ m.content | tojson }}",
    "{{ m | tojson }}",
    "{{ messages | tojson }}",
    "{{ messages }}",
    "{{ m.content | list }}",
    "{{ m.content | first }}",
    "{% if m.content < 'b' %}A{% endif %}",
    "{% if 'b' > m.content %}A{% endif %}",
    "{{ m.content | int + 1 }}",
    "{{ m.content | float }}",
    "{{ m.content[0] }}",
    "{{ m.content * 2 }}",
    "{% if loop.changed(m.content) %}A{% endif %}",
    "{{ messages | map(attribute='content') | join('|') }}",
    "{{ messages | map(attribute='content') | map('upper') | join('|') }}",
    "{{ (messages | sort(attribute='content') | first).role }}",
    "{{ (messages | string) | length }}",
    "{{ messages | selectattr('content', 'equalto', 'a') | list | length }}",
    "{{ messages | selectattr('content', 'in', 'abc') | list | length }}",
    "{{ messages | groupby('content') | length }}",
    "{{ messages | unique(attribute='content') | list | length }}",
    "{% if 'abc'.startswith(m.content) %}A{% endif %}",
    "{{ 'a-b'.replace('-', m.content) }}",
    "{{ m.content.replace('a', 'b') }}",
    "{{ m.content.encode() }}",
    "{{ m.content.center(9) }}",
    "{% if m.content is in ['a'] %}A{% endif %}",
    "{% if m.content is lower %}A{% endif %}",
    "{% if m.content is eq 'a' %}A{% endif %}",
    "{% if messages[0].content == messages[2].content %}A{% endif %}",
    "{{ m.content | replace('a', '') }}",
    "{{ m.content | indent(2) }}",
    "{{ m.content | e }}",
    "{{ m.content | safe }}",
    "{{ m.content | wordcount }}",
    "{{ m.content | reverse }}",
    "{{ m.content.count('a') }}",
    "{{ m.content.find('a') }}",
    "{{ m.content.index('a') }}",
    "{{ m.content.isdigit() }}",
    "{{ m.content.join(['x', 'y']) }}",
    "{{ m.content.split()[0] }}",
    "{{ m.content.splitlines() | length }}",
    "{{ namespace(**{m.content: 1}) }}",
    "{{ range(m.content | length) | list }}",
    "{% if 'a' in m.content and 'a' in messages[0].content %}A{% endif %}",
    "{% if 'a' in m.content in 'x' %}A{% endif %}",
    "{{ (m.content, 1) }}",
    "{{ [m.content] | string }}",
    "{{ m.items() | list | length }}{{ m.values() | list }}",
    "{{ '' ~ m.content.rsplit('a', 1)[0] }}",
    "{{ m.content | attr('upper')() }}",
    "{{ lipsum() if m.content else '' }}",
    "{{ raise_exception(m.content) }}",
    "{% if m.content %}{{ raise_exception('no') }}{% endif %}",
    "{{ m.content | truncate(2) }}",
    "{{ m.content.format(a=1) }}",
    "{{ m.content % () }}",
    "{{ dict(a=m.content) }}",
    "{{ m.content | batch(2) | list }}",
    "{{ 'x' if m.content is sameas 'a' else 'y' }}",
    "{{ m.content.zfill(4) }}{{ m.content.ljust(3) }}",
    "{{ m[m.content] }}",
    "{{ messages | sum(attribute='content', start='') }}",
    "{{ (messages | max(attribute='content')).role }}",
    "{{ m.content is iterable }}{{ m.content is sequence }}{{ m.content is number }}",
]
"""Bodies that look at a text in ways that are easily overlooked."""


@pytest.mark.parametrize("body", FOLLOWED + SNEAKY)
@settings(max_examples=60, deadline=None)
@given(st.tuples(TEXT, TEXT, TEXT), st.tuples(TEXT, TEXT, TEXT))
def test_a_render_holds_for_all_texts_with_the_same_answers(
    body: str, one: tuple[str, ...], other: tuple[str, ...]
) -> None:
    chat_template = template(body)
    for texts in (list(one), list(other)):
        try:
            rendered = render(chat_template, ROLES, texts)
        except (RowError, Unplannable):
            continue
        for others in (list(one), list(other)):
            if applies(rendered, others):
                assert filled(rendered, others) == plain(chat_template, others)


@pytest.mark.parametrize("body", FOLLOWED)
def test_what_templates_commonly_do_is_followed(body: str) -> None:
    rendered = render(template(body), ROLES, ["Hi", "Hello you", "What?"])
    assert filled(rendered, ["Hi", "Hello you", "What?"]) == plain(
        template(body), ["Hi", "Hello you", "What?"]
    )


@pytest.mark.parametrize(
    "body", ["{{ m.content | upper }}", "{% if m.content in 'abc' %}A{% endif %}", "{{ messages | tojson }}"]
)
def test_what_cannot_be_followed_is_refused(body: str) -> None:
    with pytest.raises(Unplannable):
        render(template(body), ROLES, ["a", "b", "c"])


def test_the_parts_and_the_questions_of_a_render() -> None:
    body = "<{{ m.role }}>{% if 'x' in m.content %}X{% endif %}{{ m.content.strip() }}"
    rendered = render(template(body), ["user"], [" a"])
    text = Op("text", (0,))
    stripped = Op("call", (text, "strip"))
    assert rendered.parts[0] == "<user>"
    assert rendered.parts[1] in (stripped, Op("call", (text, "strip", None)))
    assert rendered.answers[Op("in", ("x", text))] is False
    assert rendered.answers[Op("bool", (rendered.parts[1],))] is True


def test_an_empty_text_leaves_no_part() -> None:
    rendered = render(template("<{{ m.content }}>"), ["user"], [""])
    assert rendered.parts == ("<>",)
    assert rendered.answers == {Op("bool", (Op("text", (0,)),)): False}


def test_a_template_that_raises_has_no_render() -> None:
    with pytest.raises(RowError):
        render(template("{{ raise_exception('no') }}"), ["user"], ["a"])
    with pytest.raises(RowError):
        plain(template("{{ raise_exception('no') }}"), ["a", "b", "c"])


@pytest.mark.parametrize(
    "grow",
    ["ns.x ~ ns.x", "ns.x + ns.x", "[ns.x, ns.x] | join", "''.join([ns.x, ns.x])", "ns.x.strip().strip()"],
)
@pytest.mark.parametrize("text", ["", "a", "a" * 1000])
@pytest.mark.parametrize("start", ["m.content", "'x' * 9"])
def test_a_template_that_explodes_has_no_render(grow: str, text: str, start: str) -> None:
    body = f"{{% set ns = namespace(x={start}) %}}{{% for i in range(60) %}}{{% set ns.x = {grow} %}}{{% endfor %}}{{{{ ns.x }}}}"
    try:
        rendered = render(template(body), ["user"], [text])
    except (RowError, Unplannable):
        return
    assert len(rendered.parts) <= 1  # stripping makes nothing grow


def test_a_template_that_nests_without_end_has_no_render() -> None:
    body = "{% set ns = namespace(x=m.content) %}{% for i in range(9999) %}{% set ns.x = ns.x.strip() %}{% endfor %}{{ ns.x }}"
    with pytest.raises((RowError, Unplannable)):
        render(template(body), ["user"], ["a"])


@pytest.mark.parametrize("arguments", ['{"": 1}', '{"": [null, true]}'])
def test_json_that_may_have_no_text_to_trace_is_refused(arguments: str) -> None:
    """Tracing marks the JSON of an object by the texts in it; here it has none, and the template wrote it."""
    questions = Questions([arguments, '{"a": 1}'])
    calls = [JsonSlot(questions.text(slot)) for slot in (0, 1)]
    symbolic = SymbolicTemplate(ChatTemplate("{{ messages[0].call | tojson }}"))

    assert symbolic.render([{"call": calls[1]}], questions=questions) == (Op("text", (1,)),)
    with pytest.raises(Unplannable):
        symbolic.render([{"call": calls[0]}], questions=questions)
