"""Chat templates that want all time and memory there is, through the labeller and batches of a run.

    PYTHONPATH=pipeline python tests/support/template_bombs.py --seconds 20 --memory 2048

Each bomb is tried in three places: in every render; only for rows of more messages than the probes of a template
have; and in the code that follows one row and not the other. Each try is a process of its own, which holds its
limits as the command does. What comes of it is one of

    refused     the template is refused in one line, before any row
    rejected    the rows that set it off are rejected, all others are kept
    harmless    nothing of it happens
    ended       a limit ended the process: a run continues without the row
    stopped     many rows in succession reached a limit, which ends the run in one line

Anything else is a failure: an error that is not ours, a process that does not end or takes too much memory.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import select
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from memory import resident_mb
from premask import labeller
from premask.core import limits
from premask.core.errors import PremaskError
from premask.core.recipe import Recipe
from premask.core.records import Slice
from premask.fast.plain_batches import read_batches
from premask.labeller import Labeller
from premask.masking import chat_template
from premask.running import batches
from premask.running.batches import BatchLabeller
from premask.tokens.tokenizer import LoadedTokenizer, load_tokenizer

SAMPLE = Path(__file__).resolve().parents[2] / "pipeline" / "premask" / "sample" / "tokenizer"

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

_L = "{% for a in range(99999) %}"
_END = "{% endfor %}"
_DOUBLED = (
    "{% set ns = namespace(x=['ab']) %}{% for a in range(40) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}"
)
_OTHER = "{% set no = namespace(x=['ab']) %}{% for a in range(40) %}{% set no.x = [no.x, no.x] %}{% endfor %}"
_DEEP = "{% set ns = namespace(x=['ab']) %}{% for a in range(99999) %}{% set ns.x = [ns.x] %}{% endfor %}"
_TUPLES = (
    "{% set ns = namespace(x=('ab',)) %}{% for a in range(60) %}{% set ns.x = (ns.x, ns.x) %}{% endfor %}"
)
_DEEP_TUPLE = (
    "{% set ns = namespace(x=('ab',)) %}{% for a in range(99999) %}{% set ns.x = (ns.x,) %}{% endfor %}"
)
_GROWN = "{% set ns = namespace(x='ab') %}{% for a in range(60) %}{% set ns.x = ns.x OP ns.x %}{% endfor %}"

BODIES: dict[str, str] = {
    # loops
    "loops": _L * 3 + _END * 3,
    "loops that print": _L * 3 + "x" + _END * 3,
    "a filter that drops all": _L.replace(" %}", " if false %}") + _END,
    "filters in a loop": _L + _L.replace(" %}", " if a > 100000 %}") + _END * 2,
    "filters in filters": _L + _L.replace(" %}", " if b is defined %}") + _L + _END * 3,
    "a macro in loops": "{% macro f() %}" + _L + _END + "{% endmacro %}" + _L + "{{ f() }}" + _END,
    "a macro without end": "{% macro f(n) %}{{ f(n + 1) }}{% endmacro %}{{ f(0) }}",
    "macros that call twice": "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}",
    "a loop that calls itself": "{% for m in messages recursive %}{{ loop(messages) }}{% endfor %}",
    "a recursive loop over a range": "{% for a in range(99) recursive %}{{ loop(range(99)) }}{% endfor %}",
    "caller": "{% macro f() %}{{ caller() }}{{ caller() }}{% endmacro %}{% call f() %}{% call f() %}"
    + _L * 2
    + _END * 2
    + "{% endcall %}{% endcall %}",
    "lists of ranges": _L + "{% set x = range(99999) | list %}" + _END,
    "sums of ranges": _L + "{% set x = range(99999) | sum %}" + _END,
    "select": _L + "{% set x = range(99999) | select('odd') | list | length %}" + _END,
    "map": _L + "{% set x = range(99999) | map('string') | join %}" + _END,
    "reject attr": _L + "{% set x = range(99999) | rejectattr('y') | list %}" + _END,
    "sort": _L + "{% set x = range(99999) | sort(reverse=true) %}" + _END,
    "unique": _L + "{% set x = range(99999) | unique | list %}" + _END,
    "groupby": _L + "{% set x = range(99999) | groupby('real') %}" + _END,
    "slice": "{% for a in [1] | slice(10 ** 9) %}{% endfor %}",
    "batch": "{{ [1] | batch(10 ** 9, 'x') | list }}",
    "cycler": "{% set c = cycler(1, 2) %}" + _L * 2 + "{% set x = c.next() %}" + _END * 2,
    "joiner": "{% set j = joiner(',') %}" + _L * 2 + "{{ j() }}" + _END * 2,
    "a block": "{% block b %}" + _L * 2 + _END * 2 + "{% endblock %}",
    "reverse": _L + "{% for b in range(99999) | reverse %}{% endfor %}" + _END,
    "items": _L
    + "{% for k, v in {'a': range(99999)}.items() %}{% for w in v %}{% endfor %}{% endfor %}"
    + _END,
    # text
    "center": "{{ 'a'.center(10 ** 9) }}",
    "ljust": "{{ 'a'.ljust(10 ** 10) }}",
    "rjust": "{{ 'a'.rjust(999999999) }}",
    "zfill": "{{ '1'.zfill(10 ** 9) }}",
    "expandtabs": "{{ ('\t' * 1000).expandtabs(10 ** 8) }}",
    "the filter center": "{{ 'a' | center(10 ** 9) }}",
    "indent": "{{ ('a\n' * 1000) | indent(10 ** 8) }}",
    "indent with text": "{{ ('a\n' * 100000) | indent('b' * 100000) }}",
    "tojson indent": "{{ [[1]] | tojson(indent=10 ** 9) }}",
    "tojson indent text": "{{ (range(9999) | list) | tojson(indent='b' * 1000000) }}",
    "tojson separators": "{{ (range(9999) | list) | tojson(separators=('b' * 1000000, ':')) }}",
    "percent by value": "{{ '%*d' % (10 ** 9, 1) }}",
    "percent": "{{ '%999999999d' % 1 }}",
    "percent precision": "{{ '%.999999999f' % 1.0 }}",
    "percent s": "{{ '%999999999s' % 'a' }}",
    "the filter format": "{{ '%999999999d' | format(1) }}",
    "the filter format by value": "{{ '%*d' | format(999999999, 1) }}",
    "percent many": "{{ ('%s' * 100000) % ((('a' * 10000),) * 100000) }}",
    "brace": "{{ '{:999999999}'.format(1) }}",
    "brace by value": "{{ '{:{}}'.format(1, 999999999) }}",
    "brace many": "{{ ('{0}' * 100000).format('a' * 10000) }}",
    "format_map": "{{ '{x:999999999}'.format_map({'x': 1}) }}",
    "replace": "{{ ('a' * 100000).replace('a', 'b' * 100000) }}",
    "replace nothing": "{{ ('a' * 1000000).replace('', 'b' * 1000) }}",
    "the filter replace": "{{ ('a' * 100000) | replace('a', 'b' * 100000) }}",
    "join": "{{ ('a' * 100000).join(range(99999) | map('string')) }}",
    "the filter join": "{{ range(99999) | join('a' * 100000) }}",
    "times": "{{ 'a' * 10 ** 10 }}",
    "times times": "{{ ('a' * 60000000) * 60000000 }}",
    "plus": _GROWN.replace("OP", "+") + "{{ ns.x }}",
    "tilde": _GROWN.replace("OP", "~") + "{{ ns.x }}",
    "many large texts": "{% set ns = namespace(x=[]) %}"
    + _L
    + "{% set ns.x = ns.x + ['a' * 60000000 ~ a] %}"
    + _END,
    "splits": _L + "{% set x = ('a ' * 10000000).split() %}" + _END,
    "list of text": "{% set ns = namespace(x=[]) %}"
    + _L
    + "{% set ns.x = ns.x + [('a' * 9000000) | list] %}"
    + _END,
    "wordwrap": "{{ ('a' * 3000000) | wordwrap(1) }}",
    "urlize": "{{ ('www.a.b,' * 300000) | urlize }}",
    "striptags": "{{ ('<' * 3000000) | striptags }}",
    "wordcount": _L + "{{ ('a ' * 3000000) | wordcount }}" + _END,
    "title": _L + "{{ ('a ' * 3000000) | title | length }}" + _END,
    "escape": _L + "{{ ('&' * 10000000) | escape | length }}" + _END,
    "urlencode": _L + "{{ ('ä' * 3000000) | urlencode | length }}" + _END,
    "xmlattr": "{{ {'a': '&' * 60000000} | xmlattr }}",
    "pprint": _DOUBLED + "{{ ns.x | pprint }}",
    "truncate": "{{ ('a' * 60000000) | truncate(10 ** 9) }}",
    "encode": _L + "{% set x = ('a' * 60000000).encode('utf-16') %}" + _END,
    "translate": "{{ ('a' * 60000).translate({97: 'b' * 60000}) }}",
    "casefold": _L + "{% set x = ('ß' * 30000000).casefold() %}" + _END,
    "partition": _L + "{% set x = ('ab' * 30000000).partition('ba') %}" + _END,
    "find": _L + "{% set x = ('a' * 3000000).find('a' * 1000000 + 'b') %}" + _END,
    "in": _L + "{% set x = ('a' * 1000000 + 'b') in ('a' * 3000000) %}" + _END,
    "count": _L + "{% set x = ('a' * 60000000).count('a') %}" + _END,
    "strftime": "{{ strftime_now('%999999999d') }}",
    "strftime long": "{{ strftime_now('%Y' * 10000000) }}",
    "printed": _L + "{{ 'a' * 60000 }}" + _END,
    "a set block": "{% set x %}" + _L + "{{ 'a' * 60000 }}" + _END + "{% endset %}",
    "a filter block": "{% filter upper %}" + _L + "{{ 'a' * 60000 }}" + _END + "{% endfilter %}",
    "a generation block": "{% generation %}" + _L + "{{ 'a' * 60000 }}" + _END + "{% endgeneration %}",
    # numbers
    "power": "{{ 10 ** 10 ** 9 }}",
    "power of powers": _L.replace("99999", "60") + "{% set x = (7 ** 9999) ** 6 %}" + _END,
    "squares": "{% set ns = namespace(x=3) %}{% for a in range(99) %}{% set ns.x = ns.x * ns.x %}{% endfor %}",
    "sums": "{% set ns = namespace(x=3) %}" + _L + "{% set ns.x = ns.x + ns.x %}" + _END,
    "digits": "{{ 10 ** 4999 }}",
    "a float": "{{ 10.0 ** 400 }}",
    "a negative power": "{{ 3 ** -100000 }}",
    "int of text": "{{ ('9' * 60000000) | int }}",
    "int of base": "{{ ('z' * 60000) | int(0, 36) | string }}",
    "float of text": "{{ ('9' * 60000000) | float }}",
    "round": "{{ 1.5 | round(10 ** 9) }}",
    "modulo": "{{ (7 ** 9999) % 3 }}",
    "filesizeformat": "{{ (10 ** 4000) | filesizeformat }}",
    # lists and dicts
    "nested lists printed": _DOUBLED + "{{ ns.x }}",
    "nested lists joined": _DOUBLED + "{{ ns.x ~ '' }}",
    "nested lists as JSON": _DOUBLED + "{{ ns.x | tojson }}",
    "nested lists as text": _DOUBLED + "{% set x = ns.x | string %}",
    "nested lists in a format": _DOUBLED + "{{ '%s' % ns.x }}",
    "nested lists in braces": _DOUBLED + "{{ '{}'.format(ns.x) }}",
    "nested lists compared": _DOUBLED + _OTHER + "{{ ns.x == no.x }}",
    "nested lists sorted": _DOUBLED + _OTHER + "{{ [ns.x, no.x] | sort | length }}",
    "nested lists sought": _DOUBLED + _OTHER + "{{ ns.x in [no.x] }}",
    "nested tuples hashed": _TUPLES + "{% set x = {ns.x: 1} %}",
    "nested tuples unique": _TUPLES + "{% set x = [ns.x] | unique | list %}",
    "deep lists printed": _DEEP + "{{ ns.x }}",
    "deep lists as JSON": _DEEP + "{{ ns.x | tojson }}",
    "deep lists compared": _DEEP
    + "{% set no = namespace(x=['ab']) %}{% for a in range(99999) %}{% set no.x = [no.x] %}{% endfor %}{{ ns.x == no.x }}",
    "deep tuples hashed": _DEEP_TUPLE + "{% set x = {ns.x: 1} %}",
    "a list in itself": "{% set ns = namespace(x=[]) %}{% set ns.x = [ns] %}{{ ns.x | tojson }}",
    "list times": "{{ ([0] * 10 ** 10) | length }}",
    "list times times": "{% set ns = namespace(x=[0]) %}" + _L + "{% set ns.x = ns.x * 2 %}" + _END,
    "lists plus": "{% set ns = namespace(x=[0]) %}" + _L + "{% set ns.x = ns.x + ns.x %}" + _END,
    "lists kept": "{% set ns = namespace(x=[]) %}"
    + _L
    + "{% set ns.x = [ns.x, range(99999) | list] %}"
    + _END,
    "dicts kept": "{% set ns = namespace(x={}) %}"
    + _L
    + "{% set ns.x = dict(ns.x, a=range(99999) | list) %}"
    + _END,
    "fromkeys": "{% set ns = namespace(x=[]) %}"
    + _L
    + "{% set ns.x = [ns.x, dict.fromkeys(range(99999))] %}"
    + _END,
    "dictsort": _L + "{% set x = dict.fromkeys(range(99999)) | dictsort %}" + _END,
    "a sum of lists": "{{ (([range(999) | list]) * 9999) | sum(start=[]) | length }}",
    "first of many": _L + "{% set x = range(99999) | list | last %}" + _END,
    "max": _L + "{% set x = range(99999) | max %}" + _END,
    # content
    "content times": "{% set ns = namespace(x=messages[0].content) %}{% for a in range(60) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}{{ ns.x }}",
    "content in loops": _L
    + "{% for m in messages %}{% set x = m.content | upper | list | join %}{% endfor %}"
    + _END,
    "content replaced": "{{ messages[0].content.replace('', 'a' * 60000000) }}",
    "messages kept": "{% set ns = namespace(x=messages) %}" + _L + "{% set ns.x = ns.x + messages %}" + _END,
    # escapes and odd things
    "a class": "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "an include": "{% include '/etc/passwd' %}",
    "an import": "{% import 'os' as os %}{{ os }}",
    "an extends": "{% extends 'a' %}",
    "lipsum": "{{ lipsum(n=100000) }}",
    "random": "{{ range(9) | random }}",
    "raise": "{{ raise_exception('a' * 60000000) }}",
    "a division by zero": "{{ 1 // 0 }}",
    "half a surrogate pair": "{{ '%c' % 55296 }}",
    "half a surrogate pair in content": "{{ messages[0].content ~ '%c' % 56320 }}",
    "undefined": "{{ a.b.c }}",
    "a call of nothing": "{{ a() }}",
}
"""What a bomb does, by its name."""

SOURCES: dict[str, str] = {
    "break outside of a loop": "{% break %}",
    "continue outside of a loop": "{% continue %}",
    "30 loops": "{% for a in messages %}" * 30 + "x" + _END * 30,
    "200 loops": "{% for a in messages %}" * 200 + "x" + _END * 200,
    "150 ifs": "{% if messages %}" * 150 + "x" + "{% endif %}" * 150,
    "2,000 ifs": "{% if messages %}" * 2000 + "x" + "{% endif %}" * 2000,
    "many elifs": "{% if a %}" + "{% elif b %}" * 5000 + "{% endif %}",
    "a number of 5,005 digits": "{{ " + "9" * 5005 + " }}",
    "a float of 5,005 digits": "{{ " + "9" * 5005 + ".0 }}",
    "parentheses": "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
    "brackets": "{{ " + "[" * 90 + "]" * 90 + " }}",
    "braces": "{{ " + "{1:" * 500 + "1" + "}" * 500 + " }}",
    "nots": "{{ " + "not " * 5000 + "1 }}",
    "signs": "{{ " + "-" * 5000 + "1 }}",
    "a long sum": "{{ " + "1+" * 20000 + "1 }}",
    "a long concatenation": "{{ " + "a~" * 20000 + "a }}",
    "a long comparison": "{{ " + "1 < " * 5000 + "1 }}",
    "a long or": "{{ " + "a or " * 5000 + "a }}",
    "many filters": "{{ a" + "|upper" * 3000 + " }}",
    "many attributes": "{{ a" + ".b" * 5000 + " }}",
    "many calls": "{{ a" + "()" * 3000 + " }}",
    "many macros": "".join(f"{{% macro f{i}() %}}{{% endmacro %}}" for i in range(3000)),
    "many names": "".join(f"{{% set a{i} = {i} %}}" for i in range(20000)),
    "many blocks": "".join(f"{{% block b{i} %}}{{% endblock %}}" for i in range(3000)),
    "nested blocks": "".join(f"{{% block b{i} %}}" for i in range(300)) + "{% endblock %}" * 300,
    "folded product": "{{ 'a' * 1000000000000 }}",
    "folded power": "{{ 10 ** 1000000000 }}",
    "folded center": "{{ 'a' | center(1000000000) }}",
    "folded format": "{{ '%999999999d' | format(1) }}",
    "folded range": "{{ [1, 2] | batch(999999999, 'x') | list }}",
    "folded tojson": "{{ [[1]] | tojson(indent=999999999) }}",
    "folded list": "{{ ([0] * 999999999) }}",
    "a large source": "a" * (1 << 21),
    "a source of comments": "{# a #}" * 200000,
    "a comment without end": "{#" * 100000,
    "a block without end": "{% if " * 10000,
    "a string without end": "{{ '" + "a" * 100000,
    "a raw block without end": "{% raw %}" * 20000,
    "whitespace control": "{%- if a -%}  {%- endif -%}  " * 20000,
    "line statements": "# for a in b\n" * 20000,
    "an unknown tag": "{% frobnicate %}",
    "an unknown filter": "{{ a | frobnicate }}",
    "an unknown test": "{{ a is frobnicate }}",
    "NUL": "a\0{{ '\0' }}",
    "surrogates in text": "{{ '\\ud800' }}",
    "names of Python": "{% set None = 1 %}{% set self = 2 %}{% set l_0_a = 3 %}{{ context }}{{ environment }}",
    "autoescape": "{% autoescape true %}{{ '<' }}{% endautoescape %}",
    "a set of many": "{% set " + ",".join(f"a{i}" for i in range(3000)) + " = range(3000) %}",
    "calls with stars": "{{ dict(*[1], **{'a': 1}) }}{{ namespace(**{'__class__': 1}) }}",
    "do": "{% do messages.append(1) %}",
    "a slice": "{{ messages[::0] }}",
    "huge slices": "{{ ('a' * 100)[-10 ** 999:10 ** 999] }}",
}
"""Whole sources that are odd to compile, by name; what the template of a chat prints follows."""

CONDITIONS = {
    "always": "true",
    "many messages": "messages | length > 4",
    "a word": "messages[0].content == 'bomb'",
}


class Tried(NamedTuple):
    """What came of a bomb: one of the words above, or what went wrong; and what it took, besides the memory of the
    process that it is tried in."""

    outcome: str
    detail: str
    seconds: float
    megabytes: int


def bombs() -> Iterator[tuple[str, str]]:
    """Yield all bombs: a name and the source of a template."""
    for name, body in BODIES.items():
        for where, condition in CONDITIONS.items():
            yield f"{name}: {where}", f"{{% if {condition} %}}{body}{{% endif %}}{CHATML}"
    yield from ((name, source + CHATML) for name, source in SOURCES.items())


def rows() -> list[dict[str, object]]:
    """The rows that each template gets: those that set a bomb off, and others before and behind them."""

    def chat(first: str, turns: int) -> dict[str, object]:
        turn = [{"role": "user", "content": first}, {"role": "assistant", "content": "Yes."}]
        return {"messages": turn * turns}

    plain = [chat(f"Hello {i}", 1) for i in range(4)]
    return [*plain, chat("bomb", 1), chat("Hi", 3), *plain]


# ==== One try ====


def attempt(source: str, tokenizer: LoadedTokenizer, folder: Path, most_s: float) -> Tried:
    """Try a template in another process; end it after `most_s` seconds."""
    (folder / "bomb.jinja").write_text(source, encoding="utf-8", errors="surrogatepass")
    (folder / "rows.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows()), encoding="utf-8")
    reading, writing = os.pipe()
    begin, before = time.monotonic(), resident_mb()
    child = os.fork()
    if not child:
        os.close(reading)
        try:
            with os.fdopen(writing, "w") as pipe:
                pipe.write(json.dumps(_in_child(tokenizer, folder)))
        finally:
            os._exit(0)
    os.close(writing)
    ready, _, _ = select.select([reading], [], [], most_s)
    if not ready:
        os.kill(child, signal.SIGKILL)
    with os.fdopen(reading) as pipe:
        text = pipe.read()
    _, status, usage = os.wait4(child, 0)
    seconds, megabytes = time.monotonic() - begin, (usage.ru_maxrss >> 10) - before
    if not ready:
        return Tried("hangs", "", seconds, megabytes)
    if text:
        return Tried(*json.loads(text), seconds, megabytes)
    number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    known = number in (signal.SIGVTALRM, signal.SIGSEGV)
    return Tried(
        "ended" if known else "crashes", signal.Signals(number).name if number else "", seconds, megabytes
    )


def _in_child(tokenizer: LoadedTokenizer, folder: Path) -> tuple[str, str]:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    limits.hold_limits()
    recipe = Recipe(sources=["-"], tokenizer="-", output="-", chat_template=str(folder / "bomb.jinja"))
    try:
        ready = BatchLabeller(Labeller(recipe, tokenizer))
    except PremaskError as error:
        return _one_line("refused", str(error))
    try:
        return _labelled(ready, folder)
    except PremaskError as error:
        return _one_line("stopped", str(error))
    except BaseException:  # noqa: BLE001  anything else is a failure
        return "traceback", traceback.format_exc()[-600:]


def _labelled(ready: BatchLabeller, folder: Path) -> tuple[str, str]:
    piece = Slice(str(folder / "rows.jsonl"), "jsonl", None, 0, None, None, None)
    reasons: Counter[str] = Counter()
    for batch in read_batches(piece, "openai"):
        for part in ready.parts(batch, "openai"):
            reasons.update(line.reason for line in part.rejects)
            for line in part.rejects:
                if "\n" in line.detail or len(line.detail) > 1000:
                    return "not one line", line.detail[:200]
    return ("rejected" if reasons else "harmless"), json.dumps(reasons)


def _one_line(outcome: str, text: str) -> tuple[str, str]:
    return ("not one line", text[:300]) if "\n" in text or len(text) > 1000 else (outcome, text)


def shorten(seconds: float, megabytes: int, steps: int = chat_template.MAX_STEPS) -> None:
    """Set the limits of all tries."""
    limits.SECONDS = labeller.SECONDS = batches.FILL_SECONDS = seconds
    limits.GRACE_S = seconds / 2
    limits.MEMORY = megabytes << 20
    chat_template.MAX_STEPS = steps


EXPECTED = {"refused", "rejected", "harmless", "ended", "stopped"}


def main() -> None:
    """Try all bombs, and print what came of them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=limits.SECONDS, help="limit of CPU time for a row")
    parser.add_argument("--memory", type=int, default=limits.MEMORY >> 20, help="limit of memory in MB")
    parser.add_argument("--steps", type=int, default=chat_template.MAX_STEPS, help="iterations of loops")
    parser.add_argument("--only", default="", help="bombs with this in their name")
    parser.add_argument("--tokenizer", default=str(SAMPLE))
    chosen = parser.parse_args()
    shorten(chosen.seconds, chosen.memory, chosen.steps)
    tokenizer, found = load_tokenizer(chosen.tokenizer), dict[str, Tried]()
    with tempfile.TemporaryDirectory() as folder:
        for name, source in bombs():
            if chosen.only in name:
                tried = attempt(source, tokenizer, Path(folder), 40 * chosen.seconds + 100)
                found[name] = tried
                print(
                    f"{tried.outcome:10} {tried.seconds:6.1f} s {tried.megabytes:6} MB  {name}: {tried.detail[:160]}"
                )
    sys.stdout.flush()
    print(f"{len(found)} bombs: {dict(Counter(each.outcome for each in found.values()))}")
    print(
        f"longest {max(each.seconds for each in found.values()):.1f} s, most {max(each.megabytes for each in found.values())} MB"
    )
    failed = [name for name, each in found.items() if each.outcome not in EXPECTED]
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
