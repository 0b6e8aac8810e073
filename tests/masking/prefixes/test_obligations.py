"""What must hold so that one run observes exactly what each version observes, one test (or more) for each.

 1  only the messages and the generation prompt differ between versions
 2  nothing gets at a facet unseen
 3  the same answers lead to the same run
 4  the state between two units is complete
 5  merged states differ in plain values alone
 6  tracing changes no text
 7  limits hold for each version
 8  a window proves what the whole texts prove
 9  a run never refuses: it lets a plain render word the error
10  JSON is that of the filter `tojson`
"""

from __future__ import annotations

import datetime
import itertools
import operator
from typing import Any

import pytest
from conversation_kinds import KINDS
from prefix_checks import (
    SOME_KINDS,
    all_versions,
    ask,
    chat,
    compare,
    conversation_of,
    followed,
    reasons_of,
    turns,
)
from prefix_templates import REFUSED, source_of
from premask.core.errors import RowError
from premask.core.records import TOOLS, Conversation
from premask.masking import chat_template
from premask.masking.chat_template import ChatTemplate, PlainEnvironment
from premask.masking.prefixes import environment as environments
from premask.masking.prefixes import run as runs
from premask.masking.prefixes.facets import Affine, Choice
from premask.masking.prefixes.renders import PrefixRenders, PrefixTemplate
from premask.masking.prefixes.traced_environment import TracedPrefixEnvironment
from premask.masking.prefixes.versions import Version
from premask.masking.prefixes.views import STAND_INS
from premask.masking.renders import Renders, TracedWindow
from premask.masking.traced import TracedStr, runs_of

LOOP, END = "{% for message in messages %}", "{% endfor %}"
CHATML = (
    f"{LOOP}<|im_start|>{{{{ message.role }}}}\n{{{{ message.content }}}}<|im_end|>\n{END}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
DATE, DAY = datetime.date(2025, 1, 1), datetime.date(2024, 2, 3)


@pytest.fixture
def _no_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "UNITS_AT_LEAST", 100_000)


def same(source: str, conversation: Conversation, **variables: Any) -> bool:
    """Whether a template is followed, and prints in every version what it prints by itself."""
    template = PrefixTemplate(ChatTemplate(source, variables=variables))
    assert compare(template, conversation) == []
    return set(template.reasons) <= {"an error in a version", "another version"}


# ==== 1. Only the messages and the generation prompt differ ====


def test_1_all_else_is_the_same_in_all_versions() -> None:
    source = (
        f"{{{{ bos_token }}}}{{{{ flag }}}}{{{{ tools|tojson }}}}{{{{ documents }}}}{CHATML}{{{{ flag }}}}"
    )
    template = PrefixTemplate(ChatTemplate(source, variables={"bos_token": "<s>"}))
    conversation = conversation_of("tool rounds, two questions")
    plain, own = (
        Renders(conversation, template.template, {"flag": "F"}),
        PrefixRenders(conversation, template, {"flag": "F"}),
    )

    for version in all_versions(conversation):
        assert ask(own, version, traced=True) == ask(plain, version, traced=True)
    assert (len("F"), TOOLS) in runs_of(own.full())
    assert set(template.reasons) <= {"another version"}


# ==== 2. Nothing gets at a facet unseen ====


def test_2_no_code_in_c_reads_a_facet() -> None:
    for kind in STAND_INS:
        assert not issubclass(kind, (str, int, float, list, tuple, dict, bytes)), kind


def test_2_every_filter_and_test_is_wrapped() -> None:
    own, plain = TracedPrefixEnvironment(DATE), PlainEnvironment(DATE)

    for mine, known in ((own.filters, plain.filters), (own.tests, plain.tests)):
        assert mine.keys() == known.keys()
        for name, function in mine.items():
            assert hasattr(function, "__wrapped__"), name
            assert function is not known[name], name


VALUES = {
    "the length": "messages|length",
    "the length less one": "(messages|length - 1)",
    "the last role": "messages[-1].role",
    "the last text": "messages[-1].content",
    "the last message": "messages[-1]",
    "what the last message lacks": "messages[-1].nothing",
    "calls of the last message": "messages[-1].tool_calls",
    "the generation prompt": "add_generation_prompt",
    "the messages": "messages",
    "some of the messages": "messages[1:]",
    "users": "(messages|selectattr('role', 'equalto', 'user')|list)",
}
"""Expressions that are facets or views."""

ARGUMENTS = {
    **dict.fromkeys(("batch", "slice", "round", "indent", "truncate", "center"), "3"),
    **dict.fromkeys(("attr", "groupby", "selectattr", "rejectattr"), "'role'"),
    **dict.fromkeys(("select", "reject", "map"), "'string'"),
    **dict.fromkeys(("divisibleby", "gt", "ge", "lt", "le", "greaterthan", "lessthan"), "3"),
    **dict.fromkeys((">", ">=", "<", "<="), "3"),
    **dict.fromkeys(("eq", "ne", "equalto", "==", "!=", "sameas"), "'user'"),
    "in": "['user', 3, true]",
    "replace": "'a', 'b'",
    "format": "1",
    "filter": "",
    "test": "",
}


ITERATORS = {
    "batch",
    "slice",
    "map",
    "select",
    "reject",
    "selectattr",
    "rejectattr",
    "items",
    "reverse",
    "unique",
}
"""Filters of which the result prints its address."""


@pytest.mark.usefixtures("_no_budget")
@pytest.mark.parametrize("name", sorted(set(PlainEnvironment(DATE).filters) - {"random"}))
def test_2_each_filter_sees_what_each_version_sees(name: str) -> None:
    argument = f"({ARGUMENTS[name]})" if name in ARGUMENTS else ""
    called = f"{name}{argument}" + ("|list" if name in ITERATORS else "")
    for value in VALUES.values():
        template = PrefixTemplate(
            ChatTemplate(f"{{{{ {value}|{called} }}}}{LOOP}{{{{ ({value}|{called})|string|length }}}}{END}")
        )

        assert compare(template, conversation_of("parallel calls with text")) == [], value


@pytest.mark.usefixtures("_no_budget")
@pytest.mark.parametrize("name", sorted(each for each in PlainEnvironment(DATE).tests if each.isalpha()))
def test_2_each_test_sees_what_each_version_sees(name: str) -> None:
    argument = f"({ARGUMENTS[name]})" if name in ARGUMENTS else ""
    for value in VALUES.values():
        source = f"{{{{ {value} is {name}{argument} }}}}{LOOP}{{{{ {value} is not {name}{argument} }}}}{END}"
        template = PrefixTemplate(ChatTemplate(source))

        assert compare(template, conversation_of("parallel calls with text")) == [], value


OPERATORS = (
    "+",
    "-",
    "*",
    "/",
    "//",
    "%",
    "**",
    "~",
    "==",
    "!=",
    "<",
    "<=",
    ">",
    ">=",
    "in",
    "not in",
    "and",
    "or",
)
OTHERS = ("3", "'user'", "messages|length", "loop.index0", "[3, 'user']")
FEW = ("messages|length", "messages[-1].role", "messages[-1]", "add_generation_prompt", "messages[1:]")
"""Facets and views of each kind."""


@pytest.mark.usefixtures("_no_budget")
@pytest.mark.parametrize("sign", OPERATORS)
def test_2_each_operator_sees_what_each_version_sees(sign: str) -> None:
    for value, other in itertools.product(FEW, OTHERS):
        for expression in (f"{value} {sign} {other}", f"{other} {sign} {value}"):
            template = PrefixTemplate(ChatTemplate(f"{LOOP}{{{{ {expression} }}}}{END}{{{{ {value} }}}}"))

            assert compare(template, conversation_of("two turns")) == [], expression


@pytest.mark.usefixtures("_no_budget")
@pytest.mark.parametrize(
    "expression",
    [
        *(
            "-VALUE",
            "+VALUE",
            "not VALUE",
            "VALUE[0]",
            "VALUE[-1]",
            "VALUE[1:]",
            "VALUE['role']",
            "VALUE.role",
        ),
        *(
            "VALUE.upper()",
            "VALUE.split('e')",
            "VALUE.items()",
            "VALUE()",
            "[VALUE]",
            "(VALUE, 1)",
            "{'a': VALUE}",
        ),
        *("'abc'[VALUE]", "'abc'[:VALUE]", "messages[VALUE]", "messages[:VALUE]", "messages[VALUE:]"),
        *("range(VALUE)|list", "range(1, VALUE)|list", "range(VALUE, -1, -1)|list", "dict(a=VALUE)"),
        *(
            "namespace(a=VALUE).a",
            "'%s' % VALUE",
            "'{}'.format(VALUE)",
            "', '.join(VALUE)",
            "VALUE is in [VALUE]",
        ),
        *(
            "loop.cycle(VALUE, 2)",
            "1 if VALUE else 2",
            "VALUE|default('x')",
            "'x'|default(VALUE)",
            "f(VALUE)",
        ),
        *("[VALUE, 3]|max", "VALUE.role.upper()", "'user'.startswith(VALUE)", "VALUE.content.find('e')"),
    ],
)
def test_2_each_way_to_read_a_value_sees_what_each_version_sees(expression: str) -> None:
    macro = "{% macro f(x) %}{{ x }}{{ x is string }}{% endmacro %}"
    for value in FEW:
        own = expression.replace("VALUE", f"({value})")
        template = PrefixTemplate(ChatTemplate(f"{macro}{LOOP}{{{{ {own} }}}}{END}"))
        different = compare(template, conversation_of("two turns"))

        assert [each for each in different if " at 0x" not in str(each)] == [], own


# ==== 3. The same answers lead to the same run ====


def test_3_two_runs_are_the_same() -> None:
    conversation = conversation_of("tool loop with reasoning")

    assert followed(CHATML, conversation) == followed(CHATML, conversation)


@pytest.mark.parametrize("chance", ["[1, 2]|random", "lipsum()"])
def test_3_chance_is_refused(chance: str) -> None:
    template = PrefixTemplate(ChatTemplate(f"{LOOP}{{{{ {chance} }}}}{END}"))

    with pytest.raises(RowError, match="random"):
        PrefixRenders(turns(2), template).full()


def test_3_the_date_is_that_of_the_template() -> None:
    source = f"{{{{ strftime_now('%d %b') }}}}{LOOP}{{{{ message.content }}}}{END}"
    template = PrefixTemplate(ChatTemplate(source + f"{LOOP}{{{{ strftime_now('%d') }}}}{END}", date=DAY))

    assert PrefixRenders(turns(1), template).full().startswith("03 Feb")
    assert template.reasons == {}


# ==== 4. The state is complete ====


@pytest.mark.parametrize("name", REFUSED)
def test_4_what_would_be_state_beside_the_state_is_not_followed(name: str) -> None:
    reason, short = REFUSED[name]
    found = reasons_of(source_of(short), conversation_of("tool rounds, two questions"))

    assert [each for each in found if each.startswith(reason)]


def test_4_namespaces_of_versions_are_apart() -> None:
    source = (
        "{% set ns = namespace(x=0) %}{% if messages|length > 4 %}{% set ns.x = 100 %}{% endif %}"
        f"{LOOP}{{% set ns.x = ns.x + 1 %}}{{% if loop.last %}}{{% set ns.x = ns.x + 10 %}}{{% endif %}}{END}"
        "{{ ns.x }}"
    )

    assert same(source, turns(4))
    assert followed(source, turns(4))[-1] == "118"


def test_4_namespaces_by_version_are_not_mixed_up() -> None:
    source = (
        "{% if add_generation_prompt %}{% set a = namespace(x=0) %}{% endif %}{% set b = namespace(x=5) %}"
        f"{LOOP}{{% set b.x = b.x + 1 %}}{END}{{{{ a.x if a is defined }}}},{{{{ b.x }}}}"
    )

    assert same(source, turns(3))


def test_4_variables_at_the_top_are_those_of_their_version() -> None:
    source = (
        "{% if messages|length > 3 %}{% set content = 'long' %}{% endif %}"
        f"{LOOP}{{% if loop.index0 == 1 %}}{{% set content = 'set' %}}{{% endif %}}{{{{ content }}}}{END}"
        "{% if add_generation_prompt %}{% set content = 'asked' %}{% endif %}"
        f"{LOOP}{{{{ content }}}}{END}"
    )

    assert same(source, turns(3))


# ==== 5. Merged states differ in plain values alone ====


def test_5_states_that_differ_in_plain_values_become_one() -> None:
    scan = (
        f"{{% set ns = namespace(i=-1) %}}{LOOP}{{% if message.role == 'user' %}}"
        f"{{% set ns.i = loop.index0 %}}{{% endif %}}{END}{LOOP}{{% if loop.index0 > ns.i %}}+{{% endif %}}.{END}"
    )
    few, many = (PrefixRenders(turns(n), PrefixTemplate(ChatTemplate(scan))).run for n in (10, 20))

    assert few is not None
    assert many is not None
    assert many.units_run < 2.2 * few.units_run
    assert same(scan, turns(5))


@pytest.mark.usefixtures("_no_budget")
def test_5_states_that_differ_in_texts_stay_apart() -> None:
    scan = f"{{% set ns = namespace(t='') %}}{LOOP}{{% set ns.t = message.content %}}{END}{LOOP}{{{{ ns.t }}}}{END}"

    assert same(scan, chat(("user", "a"), ("assistant", "b"), ("user", "b"), ("assistant", "c")))


def test_5_values_of_another_type_are_not_one() -> None:
    source = (
        "{% set ns = namespace(v=1) %}{% if add_generation_prompt %}{% set ns.v = true %}{% endif %}"
        f"{LOOP}{{{{ message.role }}}}{END}{{{{ ns.v }}}}"
    )

    assert same(source, turns(2))


# ==== 6. Tracing changes no text ====


def test_6_a_run_that_prints_another_text_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    def printed(self: Any, value: Any) -> Any:
        return "other" if value == "say 1" else value

    monkeypatch.setattr(TracedPrefixEnvironment, "text", printed)
    template = PrefixTemplate(ChatTemplate(CHATML))

    assert compare(template, turns(2)) == []
    assert template.reasons["another text than a plain render"] == 1


# ==== 7. Limits hold for each version ====

STEPS = f"{LOOP}{{% for i in range(10) %}}{{% endfor %}}{{{{ message.content }}}}{END}"


def steps_of(conversation: Conversation) -> int:
    """The iterations of a plain render."""
    environment = PlainEnvironment(DATE)
    template = environment.from_string(STEPS)
    template.render(messages=[{"content": each.content} for each in conversation.messages])
    return environment.steps


def test_7_iterations_are_summed_along_the_path_of_a_version(monkeypatch: pytest.MonkeyPatch) -> None:
    conversation = turns(5)
    most = steps_of(conversation)
    monkeypatch.setattr(chat_template, "MAX_STEPS", most)
    assert len(followed(STEPS, conversation)) == 15

    monkeypatch.setattr(chat_template, "MAX_STEPS", most - 1)
    renders = PrefixRenders(conversation, PrefixTemplate(ChatTemplate(STEPS)))
    with pytest.raises(RowError, match=f"more than {chat_template.MAX_STEPS} iterations"):
        renders.full()
    assert ask(renders, Version(9, prompt=False))[0] == "ok"


def test_7_iterations_before_and_after_a_loop_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat_template, "MAX_STEPS", 1000)
    source = "{% for i in range(300) %}{% endfor %}" * 2

    for each in (
        f"{source}{LOOP}{END}{source}",
        f"{LOOP}{END}{source}{source}",
        f"{source}{source}{LOOP}{END}",
    ):
        with pytest.raises(RowError, match="iterations"):
            PrefixRenders(turns(1), PrefixTemplate(ChatTemplate(each))).full()
    assert len(followed(f"{source}{LOOP}{END}", turns(1))) == 3


def test_7_characters_are_summed_along_the_path_of_a_version(monkeypatch: pytest.MonkeyPatch) -> None:
    conversation = turns(5)
    longest = len(followed(CHATML, conversation)[-1])
    monkeypatch.setattr(runs, "MAX_RENDERED", longest)
    assert len(followed(CHATML, conversation)) == 15

    monkeypatch.setattr(runs, "MAX_RENDERED", longest - 1)
    assert reasons_of(CHATML, conversation) == {environments.TOO_MUCH: 1}


def test_7_a_unit_that_prints_too_much_is_stopped_on_the_way(monkeypatch: pytest.MonkeyPatch) -> None:
    source = f"{LOOP}{{% for i in range(5000) %}}{{{{ 'x' * 100 }}}}{{% endfor %}}{END}"
    monkeypatch.setattr(environments, "MAX_RENDERED", 100_000)

    assert reasons_of(source, turns(1)) == {environments.TOO_MUCH: 1}


def test_7_a_run_of_too_many_units_is_stopped() -> None:
    source = f"{LOOP}{{{{ messages|length }}}}{{{{ message.content }}}}{END}"

    assert reasons_of(source, turns(100)) == {"budget": 1}
    assert reasons_of(CHATML, turns(100)) == {}


# ==== 8. Windows ====


@pytest.mark.parametrize("kind", SOME_KINDS)
def test_8_the_texts_of_a_window_are_those_of_the_whole_from_its_base_on(kind: str) -> None:
    conversation = conversation_of(kind)
    renders, plain = (
        PrefixRenders(conversation, PrefixTemplate(ChatTemplate(CHATML))),
        Renders(conversation, ChatTemplate(CHATML)),
    )
    for index, message in enumerate(conversation.messages):
        if message.role != "assistant":
            continue
        own, other = renders.window(index), plain.window(index)
        assert own.prompt() == other.prompt()[own.base :]
        assert own.through() == other.through()[own.base :]
        assert own.before() == other.before()[own.base :]
        assert other.whole.text.startswith(own.whole.text, own.base)
        shown = plain.whole.span(index) is not None
        assert isinstance(own, TracedWindow) is (index > 0 and shown)
        assert len({each[: own.base] for each in (other.prompt(), other.through(), other.whole.text)}) == 1


def test_8_windows_are_as_long_as_their_turns() -> None:
    conversation = turns(100)
    renders = PrefixRenders(conversation, PrefixTemplate(ChatTemplate(CHATML)))
    windows = [renders.window(index) for index in range(1, 200, 2)]

    assert sum(len(window.whole) for window in windows) < 12 * len(renders.full())
    assert max(len(window.whole) for window in windows) < 600


def test_8_a_window_shows_the_text_before_the_prompt_and_all_of_its_message() -> None:
    conversation = conversation_of("tool rounds, two questions")
    renders = PrefixRenders(conversation, PrefixTemplate(ChatTemplate(CHATML)))
    for index in (4, 8):
        window = renders.window(index)
        first, last = renders.whole.span(index) or (0, 0)
        at, after = window.prompt_traced().content_before(len(window.prompt()))

        assert window.whole.span(index) == (first - window.base, last - window.base)
        assert (at > 0, after) == (True, index - 1)


def test_8_the_window_of_a_message_that_is_printed_before_its_prompt_is_complete() -> None:
    source = f"{{% if messages[1] %}}{{{{ messages[1].content }}}}{{% endif %}}{CHATML}"
    renders = PrefixRenders(turns(10), PrefixTemplate(ChatTemplate(source)))

    assert renders.window(1).base == 0
    assert renders.window(19).base > 0


# ==== 9. A run never refuses ====


def test_9_a_plain_render_words_the_error_of_a_version() -> None:
    source = (
        "{% if messages|length == 3 and not add_generation_prompt %}\n{{ raise_exception('three') }}{% endif %}"
        + CHATML
    )
    conversation = turns(3)
    template = PrefixTemplate(ChatTemplate(source))
    renders, plain = PrefixRenders(conversation, template), Renders(conversation, ChatTemplate(source))
    version = Version(3, prompt=False)

    refused = ask(renders, version)

    assert refused == ask(plain, version)
    assert "template line 2" in refused[2]
    assert template.reasons == {"an error in a version": 1}
    assert ask(renders, Version(3, prompt=True))[0] == "ok"


def test_9_an_error_in_the_whole_conversation_is_worded_by_a_plain_render() -> None:
    source = f"{LOOP}{{% if loop.index == 4 %}}{{{{ message.nothing.more }}}}{{% endif %}}{END}"
    template = PrefixTemplate(ChatTemplate(source))

    with pytest.raises(RowError, match="UndefinedError"):
        PrefixRenders(turns(2), template).full()
    assert template.reasons == {"an error in the whole conversation": 1}


# ==== 10. JSON ====


@pytest.mark.parametrize("arguments", ["", "(indent=2)", "(sort_keys=true)", "(ensure_ascii=true)", "(true)"])
@pytest.mark.parametrize("kind", ["call with nested arguments", "parallel calls with text", "tools"])
def test_10_json_is_that_of_the_filter(arguments: str, kind: str) -> None:
    source = (
        f"{{{{ tools|tojson{arguments} }}}}{LOOP}{{% for call in message.tool_calls or [] %}}"
        f"{{{{ call|tojson{arguments} }}}}{{{{ call.function.arguments|tojson{arguments} }}}}"
        f"{{{{ call.function.arguments|tojson{arguments} }}}}{{% endfor %}}{{{{ message|tojson{arguments} }}}}{END}"
    )

    assert KINDS[kind].tools
    assert same(source, conversation_of(kind))


def test_10_a_value_of_the_template_is_not_remembered() -> None:
    source = f"{LOOP}{{{{ [loop.index]|tojson }}}}{{{{ {{'a': message.role}}|tojson }}}}{END}"

    assert same(source, turns(4))


# ==== Facets ====


def test_the_operators_of_facets_are_those_of_their_values() -> None:
    for number in (1, 2, 3):
        versions = environments.Versions([Version(number, prompt=False)])
        length = Affine(versions, 1, 0)
        picked = Choice(versions, [(1, number)])
        for facet in (length, picked):
            for name in (
                "add",
                "sub",
                "mul",
                "mod",
                "floordiv",
                "truediv",
                "pow",
                "lt",
                "le",
                "gt",
                "ge",
                "eq",
                "ne",
            ):
                compute = getattr(operator, name)
                assert compute(facet, 2) == compute(number, 2), name
                assert compute(2, facet) == compute(2, number), name
            assert (str(facet), repr(facet), format(facet, "03"), hash(facet)) == (
                *(str(number), repr(number), format(number, "03"), hash(number)),
            )
            assert (int(facet), float(facet), abs(facet), -facet, +facet, [0, 1, 2, 3][facet]) == (
                *(number, float(number), number, -number, number, number),
            )


def test_a_choice_of_texts_keeps_their_origins() -> None:
    source = f"{LOOP}{END}{{{{ messages[-1].content ~ '!' }}}}{{{{ messages[-1].content|upper }}}}"
    (*_, text) = followed(source, turns(1))

    assert isinstance(text, TracedStr)
    assert [origin.label for _, origin in runs_of(text)] == ["assistant:1", "template", "assistant:1"]
