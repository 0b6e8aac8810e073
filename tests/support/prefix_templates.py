"""Chat templates that try to print another text when all prefixes are rendered in one run.

`<each>` and `</each>` stand for a loop over messages. `TEMPLATES` can be followed; of `REFUSED`, each does
something that a run must not follow, and the reason that it gives.
"""

from __future__ import annotations

from collections.abc import Mapping

LOOP, END = "{% for message in messages %}", "{% endfor %}"


def source_of(short: str) -> str:
    """A template, with its loops written out."""
    return short.replace("<each>", LOOP).replace("</each>", END)


TEMPLATES: Mapping[str, str] = {
    "len in text": "<each>{{ messages|length }}:{{ message.content }}</each>",
    "shadowed prompt": "{% set add_generation_prompt = add_generation_prompt or false %}<each>{{ message.content }}{% if loop.last and add_generation_prompt %}P{% endif %}</each>",
    "prompt in body": "<each>{% if add_generation_prompt %}A{% else %}B{% endif %}{{ message.content }}</each>",
    "prompt eq": "{% if add_generation_prompt == true %}T{% endif %}{% if add_generation_prompt is true %}t{% endif %}{% if add_generation_prompt is sameas true %}s{% endif %}{{ add_generation_prompt }}{{ add_generation_prompt|string }}{{ add_generation_prompt|int }}{{ [add_generation_prompt] }}<each></each>",
    "prompt and": "<each>{{ message.content if add_generation_prompt and loop.index > 1 else 'x' }}</each>",
    "last message": "{% set last = messages[-1] %}{{ last.role }}<each>{% if message == last %}L{% endif %}{{ message.content }}</each>",
    "last slice": "<each>{% if loop.index0 >= messages|length - 2 %}!{% endif %}{{ message.content }}</each>{{ messages[-1].content }}{{ messages[-2:]|map(attribute='role')|join(',') }}",
    "reversed print": "{% for message in messages[::-1] %}{{ loop.index0 }}{{ loop.first }}{{ loop.last }}{{ message.role }}</each><each></each>",
    "reverse filter": "{% for message in messages|reverse %}{{ message.role[0] }}</each><each>{{ message.content }}</each>",
    "counters": "{% set ns = namespace(u=0, a=0, last='') %}<each>{% if message.role == 'user' %}{% set ns.u = ns.u + 1 %}{% endif %}{% set ns.last = message.role ~ ns.last %}{{ ns.u }}{{ ns.last|length }}{{ message.content }}</each>{{ ns.u }}{{ ns.last }}",
    "prescan count": "{% set ns = namespace(n=0) %}<each>{% set ns.n = ns.n + 1 %}</each><each>{{ loop.index }}/{{ ns.n }} {{ message.content }}</each>",
    "prescan last user": "{% set ns = namespace(i=-1) %}<each>{% if message.role == 'user' %}{% set ns.i = loop.index0 %}{% endif %}</each><each>{% if loop.index0 > ns.i %}+{% elif loop.index0 == ns.i %}={% else %}-{% endif %}{{ message.content }}</each>",
    "prescan text": "{% set ns = namespace(t='') %}<each>{% set ns.t = message.content %}</each><each>{% if message.content == ns.t %}*{% endif %}{{ message.content }}</each>{{ ns.t }}",
    "prescan arithmetic": "{% set ns = namespace(i=0) %}<each>{% set ns.i = loop.index0 %}</each><each>{{ (ns.i - loop.index0) % 3 }}{{ ns.i // 2 }}{{ ns.i * 2 - 1 }}{{ -ns.i }}{{ ns.i ** 2 }}</each>",
    "selectattr": "{% set users = messages|selectattr('role', 'equalto', 'user')|list %}{{ users|length }}<each>{% if message == users[-1] %}U{% endif %}{{ message.content }}</each>{% for u in users %}{{ u.content }}</each>",
    "rejectattr loop": "{% for message in messages|rejectattr('role', 'equalto', 'system')|list %}{{ loop.index }}{{ loop.last }}{{ message.content }}</each><each></each>",
    "map join": "{{ messages|map(attribute='role')|join(',') }}|{{ messages|map(attribute='content')|list|length }}<each></each>",
    "groupby": "{% for role, group in messages|groupby('role') %}{{ role }}{{ group|length }}</each><each></each>",
    "loop filter": "{% for message in messages if message.role != 'system' %}{{ loop.index }}{{ loop.last }}{{ message.content }}</each><each></each>",
    "break": "<each>{% if loop.index > 3 %}{% break %}{% endif %}{{ message.content }}</each>end",
    "continue": "<each>{% if message.role == 'user' %}{% continue %}{% endif %}{{ message.content }}{% if loop.last %}!{% endif %}</each>",
    "nested": "<each>{% for m in messages[loop.index:] %}{% if m.role == 'user' %}u{% endif %}</each>{{ message.content }}</each>",
    "nested back": "<each>{% for m in messages[:loop.index0] %}{{ m.role[0] }}</each>{{ message.content }}</each>",
    "nextitem": "<each>{% if loop.nextitem is defined and loop.nextitem.role == 'user' %}>{% endif %}{% if loop.previtem is defined %}{{ loop.previtem.role }}{% endif %}{{ message.content }}</each>",
    "index ahead": "<each>{% if messages[loop.index0 + 2] is defined %}{{ messages[loop.index0 + 2].role }}{% endif %}{{ message.content }}</each>",
    "cycle": "<each>{{ loop.cycle('a', 'b', 'c') }}{{ message.content }}</each>",
    "macro": "{% macro f(m) %}{{ m.content }}{{ messages|length }}{% endmacro %}<each>{{ f(message) }}</each>",
    "call block": "{% macro w() %}[{{ caller() }}]{% endmacro %}<each>{% call w() %}{{ message.content }}{{ loop.last }}{% endcall %}</each>",
    "with": "{% with n = messages|length %}<each>{{ n }}{{ message.content }}</each>{% endwith %}",
    "set in if": "{% if messages|length > 4 %}{% set long = true %}{% else %}{% set long = false %}{% endif %}<each>{{ message.content }}{% if long %}~{% endif %}</each>",
    "slice rebinding": "{% if messages[0].role == 'system' %}{% set rest = messages[1:] %}{% set sys = messages[0].content %}{% else %}{% set rest = messages %}{% endif %}{% for m in rest %}{% if loop.first and sys is defined %}{{ sys }}{% endif %}{% if loop.last %}${% endif %}{{ m.content }}</each><each></each>",
    "drop last": "{% for m in messages[:-1] %}{{ m.content }}{% if loop.last %}${% endif %}</each>{{ messages[-1].role }}<each></each>",
    "drop last two": "{% for m in messages[:-2] %}{{ m.content }}{{ loop.length }}</each>.{% for m in messages[-2:] %}{{ m.role }}</each><each></each>",
    "middle": "{% for m in messages[1:3] %}{{ m.content }}{{ loop.last }}</each><each></each>",
    "step two": "{% for m in messages[::2] %}{{ m.content }}{{ loop.last }}</each><each></each>",
    "range": "{% for i in range(messages|length) %}{{ i }}{{ messages[i].content }}{{ loop.last }}</each><each></each>",
    "range from": "{% set s = 1 if messages[0].role == 'system' else 0 %}{% for i in range(s, messages|length) %}{{ i }}{{ messages[i].content }}{{ loop.last }}{% if i == messages|length - 1 %}${% endif %}{% if i != s and messages[i - 1].role == messages[i].role %}={% endif %}</each><each></each>",
    "range from three": "{% for i in range(3, messages|length - 1) %}{{ i }}{{ messages[i].content }}{{ loop.index }}</each><each></each>",
    "range pairs": "{% for i in range(0, messages|length, 2) %}{{ messages[i].content }}</each><each></each>",
    "range back": "{% for i in range(messages|length - 1, -1, -1) %}{{ messages[i].role[0] }}</each><each></each>",
    "forward reversed": "{% set ns = namespace(i=-1) %}<each>{% set index = (messages|length - 1) - loop.index0 %}{% if messages[index].role == 'user' and ns.i < 0 %}{% set ns.i = index %}{% endif %}</each><each>{{ loop.index0 > ns.i }}{{ message.content }}</each>",
    "in list": "{{ messages[0] in messages }}{{ 'user' in messages|map(attribute='role') }}{% if messages %}y{% endif %}{{ messages is sequence }}{{ messages is iterable }}{{ messages is string }}{{ messages is mapping }}{{ messages is defined }}{{ messages is none }}<each></each>",
    "first last": "{{ (messages|first).role }}{{ (messages|last).role }}{{ messages|last|length }}<each></each>",
    "plus": "{% set all = [{'role': 'x', 'content': 'y'}] + messages %}{% for m in all %}{{ m.content }}{{ loop.last }}</each><each></each>",
    "tojson messages": "{{ messages|tojson }}<each></each>",
    "sort": "{% for m in messages|sort(attribute='role') %}{{ m.role }}</each><each></each>",
    "batch": "{% for b in messages|batch(2) %}{{ b|length }}{% for m in b %}{{ m.content }}</each></each><each></each>",
    "raise at user": "<each>{% if loop.last and message.role == 'user' and not add_generation_prompt %}{{ raise_exception('no') }}{% endif %}{{ message.content }}</each>",
    "raise odd": "{% if messages|length % 2 == 1 %}{{ raise_exception('odd') }}{% endif %}<each>{{ message.content }}</each>",
    "alternation": "<each>{% if (message.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('alternate') }}{% endif %}{{ message.content }}</each>",
    "undefined name": "<each>{{ nothing }}{{ message.nothing }}{{ nothing is defined }}</each>",
    "resolve in body": "<each>{% if loop.index0 == 1 %}{% set content = 'set' %}{% endif %}{{ content }}</each>",
    "outer then inner set": "{% set content = 'outer' %}<each>{{ content }}{% set content = message.content %}{{ content }}</each>{{ content }}",
    "namespace of list": "{% set ns = namespace(l=[]) %}<each>{% set ns.l = ns.l + [message.role] %}{{ ns.l|length }}</each>{{ ns.l|join(',') }}",
    "namespace keeps message": "{% set ns = namespace(p=none) %}<each>{% if ns.p and ns.p.role == message.role %}={% endif %}{% set ns.p = message %}{{ message.content }}</each>{{ ns.p.role }}",
    "two namespace": "{% set a = namespace(x=0) %}{% set b = namespace(y=a) %}<each>{% set a.x = a.x + 1 %}{{ b.y.x }}</each>{{ b.y.x }}",
    "namespace in body": "<each>{% set ns = namespace(k=loop.index) %}{% set ns.k = ns.k + 1 %}{{ ns.k }}{{ message.content }}</each>",
    "length test": "<each>{% if loop.index == loop.length %}E{% endif %}{{ loop.revindex }}{{ loop.revindex0 }}{{ message.content }}</each>",
    "depth": "<each>{{ loop.depth }}{{ loop.depth0 }}</each>",
    "recursive": "{% for m in messages recursive %}{{ m.role }}</each><each></each>",
    "dict of facets": "{% set d = {'n': messages|length, 'a': add_generation_prompt} %}{{ d.n }}{{ d }}{{ d|tojson }}<each></each>",
    "facet as key": "{% set d = {3: 'three', 5: 'five'} %}{{ d[messages|length] }}{{ ['a','b','c','d','e','f','g','h','i'][messages|length] }}<each></each>",
    "format": "{{ '%d-%s' % (messages|length, messages|length) }}{{ '{}'.format(messages|length) }}{{ messages|length ~ 'x' }}<each></each>",
    "abs min max": "{{ (messages|length)|abs }}{{ [messages|length, 3]|max }}{{ (messages|length)|string }}{{ (messages|length) is odd }}{{ (messages|length) is divisibleby 3 }}{{ (messages|length) in [3, 5] }}<each></each>",
    "chained": "<each>{% if 0 < loop.index < messages|length %}c{% endif %}{{ message.content }}</each>",
    "unpack": "{% for k, v in messages[0]|items %}{{ k }}={{ v }}</each>{% for k in message %}</each><each>{% for k, v in message.items() %}{{ k }}</each></each>",
    "loop var outside": "<each>{% set x = loop %}{{ x.last }}</each>",
    "strip prompt": "<each>{{ message.content }}</each>{{- '\n<a>' if add_generation_prompt -}}",
    "generation": "<each>{% generation %}{{ message.content }}{{ loop.last }}{% endgeneration %}</each>",
    "last role": "{% if messages[-1]['role'] == 'user' %}Q{% elif messages[-1].role != 'tool' %}A{% endif %}<each>{{ message.content }}</each>{% if messages[-1].content.endswith('?') %}?{% endif %}{{ messages[-1].content|upper }}",
    "list of choice": "{{ [messages[-1].role] }}{{ {'a': messages|length} }}{{ (messages[-1].role, 1) }}<each></each>",
    "last of iterator": "{{ (messages|selectattr('role', 'equalto', 'user')|last).content }}<each></each>",
    "length of iterator": "{{ messages|selectattr('role', 'equalto', 'user')|length }}<each></each>",
    "namespace before split": "{% set ns = namespace(x=0) %}{% if messages|length > 4 %}{% set y = 1 %}{% endif %}<each>{% set ns.x = ns.x + 1 %}{% if loop.last %}{% set ns.x = ns.x + 10 %}{% endif %}{{ ns.x }}</each>{{ ns.x }}{{ y }}",
    "two namespace by version": "{% if add_generation_prompt %}{% set a = namespace(x=0) %}{% endif %}{% set b = namespace(x=5) %}<each>{% set b.x = b.x + 1 %}{{ b.x }}</each>{{ a.x }}{{ b.x }}",
    "split kwargs": "<each>{{ message.content.split(' ', maxsplit=1)|length }}{{ message.content.split(sep='e')|length }}</each>",
    "varargs": "{% macro f() %}{{ varargs }}{{ kwargs }}{% endmacro %}{{ f(messages|length, a=messages[-1].role) }}<each></each>",
    "dict call": "{% set d = dict(a=messages|length) %}<each>{{ d }}</each>",
    "index from length": "<each>{% set m = messages[messages|length - 1 - loop.index0] %}{{ m.role }}{{ m.content }}</each>{{ messages[messages|length - 1].role }}",
    "index beyond": "{{ messages[messages|length] }}{{ messages[messages|length + 1] is defined }}{{ messages[1 - messages|length].role }}{{ messages[messages|length - 3].role }}<each></each>",
    "tool calls of last": "{% for c in messages[-1].tool_calls or [] %}{{ c.function.name }}{{ loop.last }}</each><each></each>",
    "chars of last": "{% for c in messages[-1].content %}{{ c }}{% if loop.index > 3 %}{% break %}{% endif %}</each><each></each>",
    "include": "<each>{% include 'x' %}</each>",
    "import": "{% import 'x' as x %}<each></each>",
    "recursive call": "{% for m in messages recursive %}{{ m.role }}{% if m.tool_calls %}{{ loop(m.tool_calls) }}{% endif %}</each><each></each>",
    "string of choice": "<each>{{ messages[-1].role ~ loop.index }}{{ messages[-1].role + 'x' }}{{ 'x' + messages[-1].role }}{{ messages[-1].role * 2 }}</each>",
    "prompt arithmetic": "{{ add_generation_prompt + 1 }}{{ 1 if add_generation_prompt == 1 }}{{ add_generation_prompt in [true] }}{{ [1,2][add_generation_prompt] }}<each></each>",
    "choice in string": "<each>{{ messages[-1].role in 'assistant user' }}{{ 'use' in messages[-1].role }}</each>",
    "reversed of slice": "{% for m in messages[1:][::-1] %}{{ loop.index }}{{ m.role }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.previtem.role if loop.previtem is defined }}{{ loop.nextitem.role if loop.nextitem is defined }}{{ loop.length }}</each><each></each>",
    "break back": "{% set ns = namespace(i=0) %}{% for m in messages|reverse %}{% if m.role == 'user' %}{% set ns.i = loop.index %}{% break %}{% endif %}</each>{{ ns.i }}<each>{{ loop.index == ns.i }}{{ loop.length - ns.i }}{{ message.content }}</each>",
    "range back loop": "{% for i in range(messages|length - 1, -1, -1) %}{{ i }}{{ messages[i].role[0] }}{{ loop.last }}{% if messages[i].role == 'user' %}{% break %}{% endif %}</each><each></each>",
    "range empty": "{% for i in range(messages|length - 4) %}{{ i }}</each>|{% for i in range(5, messages|length) %}{{ i }}{{ messages[i].role }}</each>|{% for i in range(messages|length - 8, -1, -1) %}{{ i }}</each><each></each>",
    "for else inner": "<each>{% for c in message.tool_calls or [] %}{{ c.id }}{% else %}-</each></each>",
    "filter in loop": "<each>{% for m in messages|selectattr('role', 'equalto', 'user') %}{{ m.content[:2] }}</each>{{ (messages|map(attribute='role')|list)[loop.index0] }}</each>",
    "sort unique": "{{ messages|map(attribute='role')|unique|join(',') }}{{ messages|map(attribute='role')|sort|join }}{{ messages|groupby('role')|length }}<each></each>",
    "undefined call": "<each>{% if loop.last %}{{ message.nothing.more }}{% endif %}</each>",
    "choice missing attr": "{{ messages[-1].tool_calls[0].function.name if messages[-1].tool_calls }}{{ messages[-1].name|default('none') }}{{ messages[-1].reasoning_content|default('-', true) }}<each></each>",
    "default of length": "{{ messages|length|default(3) }}{{ nothing|default(messages|length) }}{{ messages|default([]) |length }}<each></each>",
    "escape": "<each>{{ message.content|e }}{{ message.content|escape|length }}</each>",
    "negative zero": "{{ messages[-0].role }}{{ messages[0:0] }}{{ messages[:0] }}{{ messages[1:1]|length }}<each></each>",
    "is in": "<each>{{ message.role is in ['user'] }}{{ loop.index is eq(messages|length) }}{{ loop.index is lt(messages|length) }}{{ message is sameas messages[-1] }}</each>",
    "boolean ops": "<each>{{ (loop.last and message.content) or loop.index }}{{ not loop.last }}{{ loop.last == false }}</each>",
    "conditional set in loop": "<each>{% if loop.first %}{% set x = message.role %}{% endif %}{{ x }}</each>",
    "set shadow": "{% set messages = messages[1:] %}<each>{{ loop.index }}{{ message.content }}</each>{{ messages|length }}",
    "loop var as messages": "{% for messages in messages %}{{ messages.content }}</each>{{ messages|length }}<each></each>",
    "nested split names": "<each>{% set x = loop.index %}{% for c in message.tool_calls or [] %}{{ x }}{{ loop.index }}</each></each><each>{% set x = 'b' %}{{ x }}</each>",
    "chained loops": "{% set ns = namespace(found=false, last='') %}<each>{% if message.role == 'user' and not ns.found %}{% set ns.found = true %}{% set ns.last = message.content %}{% endif %}</each><each>{{ ns.last == message.content }}</each>{% if ns.found %}<each>{{ message.role }}</each>{% else %}none{% endif %}",
    "loop in branch": "{% if messages[0].role == 'system' %}<each>{{ message.role }}</each>{% elif messages|length > 3 %}<each>{{ message.content }}</each>{% else %}short{% endif %}tail{{ messages|length }}",
    "with loop": "{% with %}{% set n = messages|length %}<each>{{ n }}</each>{% endwith %}",
    "filtered loop else": "{% for m in messages if m.role == 'tool' %}{{ m.content }}{% else %}no tools</each><each></each>",
    "scoped": "{% set x = 1 %}<each>{% set x = x + 1 %}{{ x }}</each>{{ x }}",
    "macro calls macro": "{% macro a(m) %}{{ b(m) }}{% endmacro %}{% macro b(m) %}{{ m.role }}{{ messages[-1].role }}{% endmacro %}<each>{{ a(message) }}</each>",
    "format method": "<each>{{ '{} of {}'.format(loop.index, messages|length) }}{{ '%s' % messages[-1].role }}</each>",
    "sum": "{{ messages|map(attribute='content')|map('length')|sum }}<each></each>",
    "steps": "<each>{% for i in range(loop.index) %}{{ i }}</each></each>",
    "tojson of message": "<each>{{ message|tojson }}{{ message.tool_calls|tojson if message.tool_calls }}{{ message.tool_calls|tojson(indent=1) if message.tool_calls }}</each>",
    "key loop": "<each>{% for k in message %}{{ k }}</each>{{ message|length }}{{ 'role' in message }}{{ message.keys()|list }}</each>",
}
"""Each of these can be followed for all versions at once."""

REFUSED: Mapping[str, tuple[str, str]] = {
    "select generator": (
        "a Once that is kept",
        "{% set g = messages|selectattr('role', 'equalto', 'user') %}<each>{% for u in g %}{{ u.content }}</each>{{ message.role }}</each>",
    ),
    "else": (
        "unsplit: a loop that changes",
        "{% for message in messages[1:] %}{{ message.content }}{% else %}none</each><each></each>",
    ),
    "changed": (
        "loop.changed",
        "<each>{% if loop.changed(message.role) %}C{% endif %}{{ message.content }}</each>",
    ),
    "cycler": (
        "a Cycler that is kept",
        "{% set c = cycler('a', 'b') %}<each>{{ c.next() }}{{ message.content }}</each>",
    ),
    "joiner": (
        "a Joiner that is kept",
        "{% set j = joiner('|') %}<each>{{ j() }}{{ message.content }}</each>",
    ),
    "macro late": (
        "unsplit: a macro that reads",
        "{% macro f() %}{{ x }}{% endmacro %}{% set x = 'one' %}<each>{{ f() }}</each>{% set x = 'two' %}{{ f() }}",
    ),
    "macro in namespace": (
        "a Macro that is kept",
        "{% set ns = namespace(f=none) %}<each>{% macro g() %}{{ message.role }}{% endmacro %}{% set ns.f = g %}</each>{{ ns.f() }}",
    ),
    "set block": (
        "unsplit: a block around",
        "{% set body %}<each>{{ message.content }}{{ loop.last }}</each>{% endset %}<{{ body }}>",
    ),
    "filter block": (
        "unsplit: a block around",
        "{% filter upper %}<each>{{ message.content }}</each>{% endfilter %}",
    ),
    "print messages": ("the messages or `loop` as an argument", "{{ messages }}<each></each>"),
    "iterator kept": (
        "a generator that is kept",
        "{% set g = [1,2,3]|map('string') %}<each>{% for x in g %}{{ x }}</each>{{ message.content }}</each>",
    ),
    "iterator kept in macro": (
        "a generator that is kept",
        "{% set g = [1,2,3]|map('string') %}{% macro f() %}{% for x in g %}{{ x }}</each>{% endmacro %}<each>{{ f() }}{{ message.content }}</each>",
    ),
    "iterator read twice": (
        "an iterator that is read twice",
        "{% set g = messages|selectattr('role', 'equalto', 'user') %}{{ g|list|length }}{{ g|list|length }}<each></each>",
    ),
    "iterator looped twice": (
        "a Once that is kept",
        "{% set g = messages|selectattr('role', 'equalto', 'user') %}{% for m in g %}{{ m.role }}</each>{% for m in g %}{{ m.content }}</each><each></each>",
    ),
    "reversed kept": (
        "a Once that is kept",
        "{% set g = messages|reverse %}{% for m in g %}{{ m.role }}</each>{% for m in g %}{{ m.content }}</each><each></each>",
    ),
    "loop printed": ("the messages or `loop` as an argument", "<each>{{ loop }}</each>"),
    "loop kept": (
        "a Loop that is kept",
        "{% set ns = namespace(l=none) %}<each>{% if not ns.l %}{% set ns.l = loop %}{% endif %}{{ ns.l.index }}</each>",
    ),
    "loop item": (
        "attribute nothing",
        "<each>{{ loop['index'] }}{{ loop['last'] }}{{ loop.nothing }}{{ loop['_place'] }}</each>",
    ),
    "changed over list": (
        "loop.changed",
        "{% set l = [{'role': 'x'}] + messages %}{% for m in l %}{% if loop.changed(m.role) %}C{% endif %}</each><each></each>",
    ),
    "namespace in body kept": (
        "a _Namespace that is kept",
        "{% set ns = namespace(x=none) %}<each>{% set own = namespace(v=loop.index) %}{% if not ns.x %}{% set ns.x = own %}{% endif %}{{ ns.x.v }}</each>",
    ),
    "macro branch": (
        "unsplit: a macro that reads",
        "{% if messages|length > 2 %}{% macro f() %}{{ x }}{% endmacro %}<each></each>{% endif %}{% set x = 2 %}{{ f() if f is defined }}",
    ),
    "list of iterators": (
        "a generator that is kept",
        "{% set l = [[1],[2]]|map('select')|list %}<each>{% for g in l %}{% for x in g %}{{ x }}</each></each></each>",
    ),
    "autoescape": (
        "unsplit: autoescape",
        "{% autoescape true %}<each>{{ message.content }}</each>{% endautoescape %}",
    ),
    "block": ("unsplit: blocks", "<each>{{ message.content }}</each>{% block b %}x{% endblock %}"),
    "slices": (
        "the messages or `loop` as an argument",
        "{% for m in messages[1:][:-1] %}{{ m.content }}</each>|{% for m in messages[-3:] %}{{ m.role }}</each>|{% for m in messages[:2] %}{{ m.role }}</each>|{% for m in messages[2:messages|length-1] %}{{ m.role }}</each>|{{ messages[5:] }}<each></each>",
    ),
    "caller over messages": (
        "unsplit: no loop over messages",
        "{% macro each() %}<each>{{ caller(message) }}</each>{% endmacro %}{% call(m) each() %}{{ m.role }}{% endcall %}",
    ),
}
"""What is not followed: the reason, and the template."""
