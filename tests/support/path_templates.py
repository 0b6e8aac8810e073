"""Templates that look at more than their messages: at places, at messages beside the current one, at what loops
found before. Each line of `TURNS` is the body of a loop over messages, `AROUND` are whole templates.
"""

from __future__ import annotations

HEAD = "<|im_start|>{{ m.role }}\n"
END = "{{ m.content }}<|im_end|>\n"
PROMPT = "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"


def _loop(body: str, before: str = "", over: str = "messages", behind: str = PROMPT) -> str:
    return f"{before}{{% for m in {over} %}}{body}{{% endfor %}}{behind}"


def _said(inside: str) -> str:
    return HEAD + inside + END


_NS = "{% set ns = namespace(a=0, b='', c=none) %}"
_LAST_USER = (
    "{% set ns = namespace(last=-1) %}{% for m in messages %}{% if m.role == 'user' %}"
    "{% set ns.last = loop.index0 %}{% endif %}{% endfor %}"
)
_FIRST_TOOL = (
    "{% set ns = namespace(first=-1) %}{% for m in messages %}{% if m.role == 'tool' and ns.first < 0 %}"
    "{% set ns.first = loop.index0 %}{% endif %}{% endfor %}"
)
_BREAK = (
    "{% set ns = namespace(at=-1) %}{% for m in messages %}{% if m.role == 'assistant' %}"
    "{% set ns.at = loop.index0 %}{% break %}{% endif %}{% endfor %}"
)
_BACKWARDS = (
    "{% set ns = namespace(open=true, last=messages|length - 1) %}{% for m in messages[::-1] %}"
    "{% set index = (messages|length - 1) - loop.index0 %}{% if ns.open and m.role == 'user' and not "
    "(m.content.startswith('<tool_response>')) %}{% set ns.open = false %}{% set ns.last = index %}"
    "{% endif %}{% endfor %}"
)

TURNS: dict[str, str] = {
    "index": _loop(_said("{{ loop.index }}.")),
    "index0 times two": _loop(_said("{{ loop.index0 * 2 }}.")),
    "parity": _loop(_said("{{ 'even ' if loop.index0 % 2 == 0 else 'odd ' }}")),
    "thirds": _loop(_said("{{ (loop.index + 1) % 3 }}")),
    "halves": _loop(_said("{{ loop.index0 // 2 }}")),
    "revindex": _loop(_said("{{ loop.revindex }}.")),
    "near the end": _loop(_said("{% if loop.revindex < 4 %}late {% endif %}")),
    "next but one to the end": _loop(_said("{% if loop.revindex == 2 %}late {% endif %}")),
    "length": _loop(_said("{{ messages|length }}")),
    "length compared": _loop(_said("{% if messages|length > 3 %}long {% endif %}")),
    "loop length": _loop(_said("{% if loop.length == 4 %}four {% endif %}")),
    "first": _loop(_said("{% if loop.first %}first {% endif %}")),
    "third": _loop(_said("{% if loop.index0 == 2 %}third {% endif %}")),
    "before the third": _loop(_said("{% if loop.index0 < 2 %}early {% else %}late {% endif %}")),
    "last": _loop(HEAD + "{% if not loop.last %}more {% endif %}" + END),
    "last message": _loop(_said("{% if messages[-1].role == 'user' %}asked {% endif %}")),
    "last content": _loop(_said("{% if m.role == 'user' %}{{ messages[-1].content }}{% endif %}")),
    "two behind": _loop(
        _said("{% if loop.index0 + 2 < messages|length %}{{ messages[loop.index0 + 2].role }} {% endif %}")
    ),
    "next role": _loop(
        _said("{% if not loop.last and messages[loop.index0 + 1].role == 'tool' %}next {% endif %}")
    ),
    "next content": _loop(
        _said("{% if not loop.last and 'a' in messages[loop.index0 + 1].content %}next {% endif %}")
    ),
    "next item": _loop(_said("{% if loop.nextitem is defined %}{{ loop.nextitem.role }} {% endif %}")),
    "previous role": _loop(
        _said("{% if loop.index0 > 0 and messages[loop.index0 - 1].role == m.role %}again {% endif %}")
    ),
    "previous content": _loop(
        HEAD
        + "{% if m.role == 'assistant' and loop.index0 > 0 %}[{{ messages[loop.index0 - 1].content }}]{% endif %}"
        + END
    ),
    "previous content asked": _loop(
        _said("{% if loop.index0 > 0 and 'a' in messages[loop.index0 - 1].content %}a {% endif %}")
    ),
    "previous item": _loop(
        _said("{% if loop.previtem is defined and loop.previtem.content.strip() %}said {% endif %}")
    ),
    "previous but one": _loop(_said("{{ messages[loop.index0 - 2].role }} ")),
    "same as before": _loop(
        _said("{% if loop.index0 > 0 and messages[loop.index0 - 1].content == m.content %}same {% endif %}")
    ),
    "message 0 asked": _loop(_said("{% if 'x' in messages[0].content %}x {% endif %}")),
    "message 0 printed": _loop(_said("{% if m.role == 'user' %}({{ messages[0].content }}){% endif %}")),
    "message 1 printed": _loop(_said("{% if messages[1] is defined %}({{ messages[1].role }}){% endif %}")),
    "message 1 asked": _loop(_said("{% if loop.index0 > 1 and 'x' in messages[1].content %}x {% endif %}")),
    "counter": _loop(_said("{% set ns.a = ns.a + 1 %}{{ ns.a }}."), _NS),
    "counter of users": _loop(
        "{% if m.role == 'user' %}{% set ns.a = ns.a + 1 %}{% endif %}" + _said("{{ ns.a }}."), _NS
    ),
    "parity of users": _loop(
        "{% if m.role == 'user' %}{% set ns.a = (ns.a + 1) % 2 %}{% endif %}" + _said("{{ ns.a }}."), _NS
    ),
    "place kept": _loop(
        "{% if m.role == 'user' %}{% set ns.a = loop.index0 %}{% endif %}"
        + _said("{% if loop.index0 > ns.a + 1 %}late {% endif %}"),
        _NS,
    ),
    "previous kept": _loop(
        _said("{% if m.role != 'user' %}{{ ns.b }}{% endif %}") + "{% set ns.b = m.content %}", _NS
    ),
    "previous kept and asked": _loop(
        _said("{% if 'a' in ns.b %}a {% endif %}") + "{% set ns.b = m.content %}", _NS
    ),
    "previous kept and compared": _loop(
        _said("{% if ns.b == m.content %}same {% endif %}") + "{% set ns.b = m.content %}", _NS
    ),
    "first user kept": _loop(
        "{% if ns.c is none and m.role == 'user' %}{% set ns.c = m.content %}{% endif %}"
        + _said("{% if ns.c and m.role == 'assistant' %}{{ ns.c }}|{% endif %}"),
        _NS,
    ),
    "first user kept, asked": _loop(
        "{% if ns.c is none and m.role == 'user' %}{% set ns.c = m.content %}{% endif %}"
        + _said("{% if ns.c and 'x' in ns.c %}x {% endif %}"),
        _NS,
    ),
    "all kept": _loop(
        "{% set ns.b = ns.b + m.content %}" + _said("{% if ns.b|length > 9 %}long {% endif %}"), _NS
    ),
    "system kept, printed with the next user": _loop(
        "{% if m.role == 'system' %}{% set ns.b = m.content + '\n\n' %}{% else %}"
        + _said("{{ ns.b }}")
        + "{% set ns.b = '' %}{% endif %}",
        _NS,
    ),
    "message kept": _loop(
        _said("{% if ns.c and ns.c.role == 'user' %}{{ ns.c.content|length > 3 }} {% endif %}")
        + "{% set ns.c = m %}",
        _NS,
    ),
    "two kept": _loop(
        _said("{% if ns.c %}{{ ns.c }}{% endif %}") + "{% set ns.c = ns.b %}{% set ns.b = m.role %}", _NS
    ),
    "macro over the place": _loop(
        _said("{{ at() }}"), "{% set ns = namespace(a=0) %}{% macro at() %}{{ ns.a }}{% endmacro %}"
    ).replace("{{ at() }}", "{% set ns.a = ns.a + 1 %}{{ at() }}"),
    "macro over a variable": _loop(
        _said("{{ say(m) }}"),
        "{% set word = messages[0].content %}{% macro say(m) %}{% if m.content == word %}w{% endif %}{% endmacro %}",
    ),
    "macro that prints": _loop(
        "{{ say(m, loop.first) }}",
        "{% macro say(m, is_first) %}" + HEAD + "{{ 'first ' if is_first }}" + END + "{% endmacro %}",
    ),
    "number of system messages": _loop(
        _said("{% if n %}told {% endif %}"),
        "{% set n = messages | selectattr('role', 'equalto', 'system') | list | length %}",
    ),
    "number of system messages, printed": _loop(
        HEAD + END, "{{ messages | selectattr('role', 'equalto', 'system') | list | length }} "
    ),
    "last user, found again in the loop": _loop(
        _said("{% if loop.index0 > ns.last %}new {% endif %}")
        + "{% if m.role == 'user' %}{% set ns.last = loop.index0 - 1 %}{% endif %}",
        _LAST_USER,
    ),
    "last user": _loop(_said("{% if loop.index0 > ns.last %}new {% endif %}"), _LAST_USER),
    "last user, equal": _loop(_said("{% if loop.index0 == ns.last %}asked {% endif %}"), _LAST_USER),
    "last user, less one": _loop(_said("{% if loop.index0 >= ns.last - 1 %}new {% endif %}"), _LAST_USER),
    "last user, by index": _loop(_said("{% if loop.index > ns.last %}new {% endif %}"), _LAST_USER),
    "last user, printed": _loop(_said("{{ ns.last }} "), _LAST_USER),
    "last user, its content": _loop(
        _said("{% if ns.last >= 0 and 'x' in messages[ns.last].content %}x {% endif %}"), _LAST_USER
    ),
    "last user, if any": _loop(_said("{% if ns.last > -1 %}any {% endif %}"), _LAST_USER),
    "last user, only of assistants": _loop(
        HEAD
        + "{% if m.role == 'assistant' and m.reasoning_content and loop.index0 > ns.last %}"
        + "<think>\n{{ m.reasoning_content }}\n</think>\n\n{% endif %}"
        + END,
        _LAST_USER,
    ),
    "first tool": _loop(
        _said("{% if ns.first >= 0 and loop.index0 > ns.first %}late {% endif %}"), _FIRST_TOOL
    ),
    "first assistant": _loop(_said("{% if loop.index0 <= ns.at %}early {% endif %}"), _BREAK),
    "backwards": _loop(_said("{% if loop.index0 > ns.last %}new {% endif %}"), _BACKWARDS),
    "backwards, last or": _loop(
        _said("{% if loop.last or (not loop.last and loop.index0 > ns.last) %}new {% endif %}"), _BACKWARDS
    ),
    "two scans": _loop(
        _said("{% if loop.index0 > ns.last %}new {% endif %}{% if loop.index0 < ns2.at %}early {% endif %}"),
        _LAST_USER + _BREAK.replace("ns", "ns2").replace("ns2amespace", "namespace"),
    ),
    "scan for any tool": _loop(
        _said("{% if ns.any %}tools {% endif %}"),
        "{% set ns = namespace(any=false) %}{% for m in messages %}{% if m.role == 'tool' %}"
        "{% set ns.any = true %}{% endif %}{% endfor %}",
    ),
    "scan for a text": _loop(
        _said("{% if ns.any %}x {% endif %}"),
        "{% set ns = namespace(any=false) %}{% for m in messages %}{% if 'x' in m.content %}"
        "{% set ns.any = true %}{% endif %}{% endfor %}",
    ),
    "scan that keeps a text": _loop(
        _said("{% if m.role == 'assistant' %}{{ ns.b }}{% endif %}"),
        _NS
        + "{% for m in messages %}{% if m.role == 'user' %}{% set ns.b = m.content %}{% endif %}{% endfor %}",
    ),
    "scan that counts": _loop(
        _said("{% if ns.a > 1 %}many {% endif %}"),
        _NS
        + "{% for m in messages %}{% if m.role == 'user' %}{% set ns.a = ns.a + 1 %}{% endif %}{% endfor %}",
    ),
    "scan that raises": _loop(
        _said(""),
        "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
        "{{ raise_exception('alternate') }}{% endif %}{% endfor %}",
    ),
    "scan by the next": _loop(
        _said("{% if loop.index0 > ns.a %}late {% endif %}"),
        _NS + "{% for m in messages %}{% if not loop.last and messages[loop.index0 + 1].role == 'tool' %}"
        "{% set ns.a = loop.index0 %}{% endif %}{% endfor %}",
    ),
    "scan of a number and a flag": _loop(
        _said("{% if ns.b == 'on' and loop.index0 >= ns.a %}on {% endif %}"),
        _NS
        + "{% for m in messages %}{% if m.role == 'tool' %}{% set ns.b = 'on' %}{% set ns.a = loop.index %}"
        "{% elif m.role == 'user' %}{% set ns.b = 'off' %}{% endif %}{% endfor %}",
    ),
    "alternate roles": _loop(
        "{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('alternate') }}{% endif %}"
        + _said("")
    ),
    "alternate roles behind a system": _loop(
        "{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('alternate') }}{% endif %}"
        + HEAD
        + "{% if loop.first and system %}{{ system }}\n{% endif %}"
        + END,
        "{% if messages[0].role == 'system' %}{% set system = messages[0].content %}{% set rest = messages[1:] %}"
        "{% else %}{% set system = '' %}{% set rest = messages %}{% endif %}",
        "rest",
    ),
    "no user": _loop(
        _said(""),
        "{% if messages[0].role not in ('user', 'system') %}{{ raise_exception('user first') }}{% endif %}",
    ),
    "must end on a user": _loop(
        _said(""),
        behind="{% if messages[-1].role == 'system' %}{{ raise_exception('no') }}{% endif %}" + PROMPT,
    ),
    "system before the loop": _loop(
        _said(""),
        "{% if messages[0].role == 'system' %}<s>{{ messages[0].content }}</s>{% set rest = messages[1:] %}"
        "{% else %}{% set rest = messages %}{% endif %}",
        "rest",
    ),
    "system skipped in the loop": _loop(
        "{% if m.role != 'system' %}" + _said("") + "{% endif %}",
        "{% if messages[0].role == 'system' %}<s>{{ messages[0].content }}</s>{% endif %}",
    ),
    "system in the last user turn": _loop(
        "{% if m.role == 'user' %}{% if loop.index0 == ns.last and messages[0].role == 'system' %}"
        "[INST]{{ messages[0].content }}\n\n{{ m.content }}[/INST]{% else %}[INST]{{ m.content }}[/INST]{% endif %}"
        "{% elif m.role == 'assistant' %}{{ m.content }}</s>{% elif m.role == 'tool' %}[T]{{ m.content }}[/T]"
        "{% endif %}",
        _LAST_USER,
        behind="",
    ),
    "tools in the last user turn": _loop(
        "{% if m.role == 'user' %}{% if tools and loop.index0 == ns.last %}[TOOLS]{{ tools|tojson }}[/TOOLS]{% endif %}"
        "[INST]{{ m.content }}[/INST]{% elif m.role == 'assistant' %}{{ m.content }}</s>"
        "{% elif m.role == 'tool' %}[T]{{ m.content }}[/T]{% else %}<s>{{ m.content }}{% endif %}",
        _LAST_USER,
        behind="",
    ),
    "tools late": _loop(_said("{% if loop.index0 == 1 and tools %}{{ tools|tojson }}{% endif %}")),
    "tools one by one": _loop(
        HEAD
        + "{% for c in m.tool_calls or [] %}<tool_call>{{ c.function.name }}{{ c.function.arguments|tojson }}"
        + "</tool_call>{% endfor %}{{ m.content or '' }}<|im_end|>\n",
        "{% if tools %}<s>{% for t in tools %}{{ t|tojson }}\n{% endfor %}</s>{% endif %}",
    ),
    "tools at once": _loop(_said(""), "{% if tools %}<s>{{ tools|tojson }}</s>{% endif %}"),
    "calls at once": _loop(HEAD + "{% if m.tool_calls %}{{ m.tool_calls|tojson }}{% endif %}" + END),
    "a call counter": _loop(
        HEAD
        + "{% for c in m.tool_calls or [] %}{{ loop.index0 }}:{{ c.function.name }}{{ c.function.arguments|tojson }}"
        + "{% if c.id %}{{ c.id }}{% endif %}{% set ns.a = ns.a + 1 %}{% endfor %}{{ m.content or '' }}<|im_end|>\n"
        + "{% if ns.a > 1 %}many {% endif %}",
        _NS,
    ),
    "tool names": _loop(
        HEAD
        + "{% if m.name %}{{ m.name }}: {% endif %}{% if m.tool_call_id %}{{ m.tool_call_id }} {% endif %}"
        + END
    ),
    "tool results joined": _loop(
        "{% if m.role == 'tool' %}{% if loop.first or messages[loop.index0 - 1].role != 'tool' %}<|im_start|>user"
        "{% endif %}\n<r>{{ m.content }}</r>{% if loop.last or messages[loop.index0 + 1].role != 'tool' %}<|im_end|>\n"
        "{% endif %}{% else %}" + _said("") + "{% endif %}"
    ),
    "printed twice": _loop(HEAD + "{{ m.content }}\n" + END),
    "user printed twice": _loop(HEAD + "{% if m.role == 'user' %}{{ m.content }}\n{% endif %}" + END),
    "user again before the answer": _loop(
        HEAD
        + "{% if m.role == 'assistant' and loop.index0 %}{{ messages[loop.index0 - 1].content }} -> {% endif %}"
        + END
    ),
    "empty ones are skipped": _loop("{% if m.content %}" + _said("") + "{% endif %}"),
    "blank ones are skipped": _loop("{% if m.content and m.content.strip() %}" + _said("") + "{% endif %}"),
    "roles as openers": _loop(
        "{% if m.content %}<_{{ m.role }}>{{ m.content }}{% endif %}",
        behind="{% if add_generation_prompt %}<_assistant>{% endif %}",
    ),
    "no header": _loop("{{ m.content }}\n", behind=""),
    "no prompt": _loop(_said(""), behind=""),
    "the third, behind": _loop(_said(""), behind="{% if messages[2] %}three{% endif %}" + PROMPT),
    "the third, before": _loop(_said(""), "{% if messages[2] %}three{% endif %}"),
    "the second, before": _loop(
        _said(""), "{% if messages[1].role == 'user' %}{{ messages[1].content }}{% endif %}"
    ),
    "no end": _loop(
        "{{ m.role }}: {{ m.content }}\n", behind="{% if add_generation_prompt %}assistant:{% endif %}"
    ),
    "nothing of users": _loop("{% if m.role != 'user' %}" + _said("") + "{% endif %}"),
    "trimmed": _loop(HEAD + "{{ m.content|trim }}<|im_end|>\n"),
    "cut at a mark": _loop(
        HEAD
        + "{% if m.role == 'assistant' and '</think>' in m.content %}{{ m.content.split('</think>')[-1] }}"
        + "<|im_end|>\n{% else %}"
        + END
        + "{% endif %}"
    ),
    "an open block": _loop(
        HEAD
        + "{% if m.role == 'assistant' %}<think>\n{{ m.reasoning_content or '' }}\n</think>\n\n{% endif %}"
        + END,
        behind="{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}",
    ),
    "a block in the last turn": _loop(
        HEAD
        + "{% if m.role == 'assistant' and loop.last %}<think>\n{{ m.reasoning_content or '' }}\n</think>\n\n"
        + "{% endif %}"
        + END
    ),
    "the prompt depends on the last": _loop(
        _said(""),
        behind="{% if add_generation_prompt and messages[-1].role != 'assistant' %}<|im_start|>assistant\n"
        "{% if 'x' in messages[-1].content %}x{% endif %}{% endif %}",
    ),
    "the prompt depends on a kept text": _loop(
        _said("") + "{% if m.role == 'user' %}{% set ns.b = m.content %}{% endif %}",
        _NS,
        behind="{% if add_generation_prompt %}<|im_start|>assistant\n{% if 'x' in ns.b %}<x>{% endif %}{% endif %}",
    ),
    "a tail": _loop(
        _said(""), behind="{% if not add_generation_prompt %}</s>{% else %}<|im_start|>assistant\n{% endif %}"
    ),
    "leaves early": _loop("{% if m.content == 'x' %}{% break %}{% endif %}" + _said("")),
    "goes on early": _loop("{% if m.content == 'x' %}{% continue %}{% endif %}" + _said("")),
    "two loops": _loop(_said(""), "{% for m in messages %}{{ m.role[0] }}{% endfor %}"),
    "loop over some": _loop(_said(""), over="messages if m.content"),
    "loop over selected": _loop(_said(""), over="messages|rejectattr('role', 'equalto', 'system')"),
    "set in the loop": _loop("{% set word = m.content %}" + _said("{% if word %}w {% endif %}")),
    "set before, changed in the loop": _loop(
        _said("{{ word }}") + "{% set word = 'b' %}", "{% set word = 'a' %}"
    ),
    "by role": _loop(
        "{% if m.role == 'system' %}<s>{{ m.content }}</s>{% elif m.role == 'user' %}U: {{ m.content }}\n"
        "{% else %}A: {{ m.content }}</s>\n{% endif %}",
        behind="{% if add_generation_prompt %}A:{% endif %}",
    ),
}
"""Name -> template."""
