"""Chat templates, in the Jinja environment of transformers: plain, traced, or with tags traced.

    template = ChatTemplate(source, variables={"bos_token": "<s>", "eos_token": "</s>"})
    template.render([{"role": "user", "content": "Hi"}], add_generation_prompt=True)

Templates come with models from the Hub and are not trusted. They run in Jinja's sandbox, as in transformers.
Here, their output and their loops are limited, too. The plain environment equals that of
`transformers.utils.chat_template_utils`; tests over real templates check this. In the traced environment,
strings keep their origins (`traced.py`).

Cost: compiling takes about 10 ms, once.
"""

from __future__ import annotations

import datetime
import difflib
import gc
import json
import re
import sys
import types
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial, wraps
from pathlib import Path
from typing import Any, Literal, cast

import jinja2
import jinja2.ext
from jinja2 import nodes
from jinja2.compiler import CodeGenerator, Frame
from jinja2.filters import make_attrgetter
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment, SandboxedFormatter

from ..core.errors import RowError, TemplateError, one_line
from ..core.facts import recall
from ..core.limits import LimitError, in_watched_process
from ..core.records import GENERATED
from .traced import (
    TracedMarkup,
    TracedStr,
    add_markup,
    as_traced,
    brace_format,
    concat,
    is_markup,
    mark,
    percent_format,
    runs_of,
    text_of,
    traced_method,
)

MAX_RENDERED = 64 * 1024 * 1024
"""Characters that a template may print for one row."""

MAX_STEPS = 5_000_000
"""Loop iterations of a template in one render; this many take about a second."""

MAX_SOURCE = 1 << 20
"""Characters of a template's source; the largest in use have 50,000."""

MAX_BITS = 1 << 16
"""Bits of a whole number that a template computes."""

MAX_WIDTH = 1 << 16
"""Columns, and other numbers that a template gives to what fills up text."""


class ChatTemplate:
    """A compiled chat template, and the variables of all its renders.

    `source` is Jinja text, or a mapping of names to texts, as in some tokenizers (`default`, `tool_use`).
    Raises `TemplateError` with the line if it does not compile.
    """

    def __init__(
        self,
        source: str | Mapping[str, str],
        *,
        variables: Mapping[str, Any] | None = None,
        date: datetime.date = datetime.date(2025, 1, 1),
        name: str = "chat template",
    ) -> None:
        self.sources = _checked_sources(source, name)
        self.source = source
        self.date = date
        self.variables = dict(variables or {})
        self.name = name
        self._compiled = {"plain": compile_all(self.sources, PlainEnvironment(date), name)}

    def on(self, date: datetime.date) -> ChatTemplate:
        """Return the same template on another day."""
        return ChatTemplate(self.source, variables=self.variables, date=date, name=self.name)

    @property
    def has_generation_tags(self) -> bool:
        """Whether the template marks generated text with `{% generation %}`."""
        return any(re.search(r"\{%-?\s*generation\b", source) for source in self.sources.values())

    def source_for(self, tools: object) -> str:
        """Return the name of the source that renders a conversation with these tools; None if it has none."""
        return "tool_use" if tools is not None and "tool_use" in self.sources else "default"

    def variables_for(self, tools: Any, kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Return the variables of a render, besides the messages and whether a generation prompt is asked
        for."""
        return {"documents": None, **self.variables, **kwargs, "tools": tools}

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        add_generation_prompt: bool = False,
        kwargs: Mapping[str, Any] | None = None,
        mode: Literal["plain", "traced", "tagged"] = "plain",
    ) -> str:
        """Return the text of a conversation, as `apply_chat_template(..., tokenize=False)` does.

        Mode `traced` takes messages and tools of traced strings and returns traced text. Mode `tagged` marks
        the text inside `{% generation %}` tags. Raises `RowError` if the template raises, does something that
        the sandbox forbids, or prints too much.
        """
        compiled = self._compiled.get(mode) or self._compile(mode)
        which = self.source_for(tools)
        arguments = self.variables_for(tools, kwargs or {})
        arguments |= {"messages": messages, "add_generation_prompt": add_generation_prompt}
        compiled[which].environment.steps = 0  # type: ignore[attr-defined]
        try:
            return compiled[which].render(arguments)
        except Exception as error:  # noqa: BLE001  a template can raise anything; only its row is rejected
            refused = row_error(error)
        if refused.reason == "template_unsafe":
            gc.collect()  # the frames of the error hold all that the template has computed, in cycles
        raise refused

    def _compile(self, mode: str) -> dict[str, jinja2.Template]:
        """Compile the template for a mode, at its first render in it."""
        environment = TracedEnvironment(self.date) if mode == "traced" else TaggedEnvironment(self.date)
        return self._compiled.setdefault(mode, compile_all(self.sources, environment, self.name))


_BUILT_IN = Path(__file__).parent / "templates"


def built_in_templates() -> list[str]:
    """Return the names of the templates that come with the package."""
    return sorted(path.stem for path in _BUILT_IN.glob("*.jinja"))


def template_source(chosen: str) -> str:
    """Return the text of a chat template: a file, or a built-in one by its name.

    Raises `TemplateError` if it is neither, with the closest built-in name.
    """
    path = Path(chosen)
    if not path.is_file() and chosen in built_in_templates():
        path = _BUILT_IN / f"{chosen}.jinja"
    if path.exists() and not path.is_file():  # a pipe would be waited for, a device has no end
        raise TemplateError(f"chat template {chosen} is not a file; give a Jinja file, or a built-in name")
    try:
        if path.stat().st_size > 4 * MAX_SOURCE:
            raise TemplateError(f"chat template {chosen} has more than {MAX_SOURCE:,} characters")
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        near = difflib.get_close_matches(chosen, built_in_templates(), n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"built-in: {', '.join(built_in_templates())}"
        raise TemplateError(f"chat template {chosen} is neither a file nor a built-in one; {hint}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise TemplateError(f"chat template {chosen} cannot be read: {error}") from None


def _checked_sources(source: str | Mapping[str, str], name: str) -> dict[str, str]:
    """Return the sources by their names. They are given by strangers, so their types are checked, too."""
    sources = {"default": source} if isinstance(source, str) else source
    if not isinstance(sources, Mapping):
        raise TemplateError(f"{name} is {type(source).__name__}, not text; set chat_template to a file")
    for key, text in sources.items():
        if not (isinstance(key, str) and re.fullmatch(r"[\w.-]{1,64}", key) and key.strip(".")):
            raise TemplateError(f"{name}: {key!r:.80} is no name of a template; use letters, digits, _ and -")
        if not isinstance(text, str):
            raise TemplateError(f"{name}: template {key!r} is {type(text).__name__}, not text")
        if len(text) > MAX_SOURCE:
            raise TemplateError(f"{name} has {len(text):,} characters, more than {MAX_SOURCE:,}")
    if "default" not in sources:
        raise TemplateError(f"{name}: has several templates ({', '.join(sources)}) but none named 'default'")
    return dict(sources)


def compile_all(
    sources: Mapping[str, str], environment: jinja2.Environment, name: str
) -> dict[str, jinja2.Template]:
    """Return the compiled sources. Raises `TemplateError` if one does not compile, for any reason."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Python, about the code that Jinja makes of a template
            return {key: environment.from_string(text) for key, text in sources.items()}
    except jinja2.TemplateSyntaxError as error:
        what = one_line(ValueError(error.message), 300)
        raise TemplateError(f"{name}: syntax error in line {error.lineno}: {what}") from None
    except RecursionError:
        raise TemplateError(f"{name} is nested too deeply to compile") from None
    except Exception as error:  # noqa: BLE001  Jinja and Python refuse some templates with other errors
        what = error.msg if isinstance(error, SyntaxError) else one_line(error, 300)
        raise TemplateError(f"{name} does not compile: {what}") from None


def check_compiles(source: str | Mapping[str, str], date: datetime.date, name: str) -> None:
    """Compile a template in a watched process, if this has not been done before.

    Raises `TemplateError` if it does not compile, or takes too much time or memory.
    """
    sources = _checked_sources(source, name)
    about = [sources, sys.getrecursionlimit()]
    compiling = partial(_compiles, sources, date, name)
    try:
        recall("compiles", about, bool, partial(in_watched_process, compiling, "to compile it"))
    except LimitError as error:
        raise TemplateError(f"{name} cannot be used: {error}") from None


def _compiles(sources: Mapping[str, str], date: datetime.date, name: str) -> bool:
    for environment in (PlainEnvironment(date), TracedEnvironment(date)):
        compile_all(sources, environment, name)
    return True


def row_error(error: Exception) -> RowError:
    """Return the error of a render as that of its row, with the line of the template if known."""
    if isinstance(error, RowError):
        return error.with_traceback(None)
    if isinstance(error, MemoryError):
        return RowError("template_unsafe", f"the chat template takes too much memory{_line(error)}")
    said = " ".join(str(error).split())[:1000] or type(error).__name__  # data of the row, so not redacted
    if isinstance(error, jinja2.exceptions.SecurityError):
        return RowError("template_unsafe", f"the sandbox stopped the chat template{_line(error)}: {said}")
    if type(error) is jinja2.TemplateError:  # what raise_exception() raises
        return RowError("template_error", f"the chat template refuses the conversation{_line(error)}: {said}")
    what = said if said == type(error).__name__ else f"{type(error).__name__}: {said}"
    return RowError("template_error", f"the chat template failed{_line(error)}: {what}")


def _line(error: BaseException) -> str:
    line, frame = None, error.__traceback__
    while frame is not None:
        if frame.tb_frame.f_code.co_filename == "<template>":
            line = frame.tb_lineno
        frame = frame.tb_next
    return f" (template line {line})" if line else ""


# ==== Environments ====


class GenerationTag(jinja2.ext.Extension):
    """`{% generation %}...{% endgeneration %}`: printed as it is, in a scope of its own."""

    tags = {"generation"}  # noqa: RUF012  the attribute Jinja reads

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("_print"), [], [], body).set_lineno(line)

    def _print(self, caller: Callable[[], str]) -> str:
        return cast("PlainEnvironment", self.environment).generated(caller())


class PlainEnvironment(ImmutableSandboxedEnvironment):
    """The environment of transformers for chat templates, with a frozen date and with limits."""

    intercepted_binops = frozenset({"%", "+", "*", "**"})
    steps = 0  # loop iterations in the current render

    def __init__(self, date: datetime.date) -> None:
        self.code_generator_class = _CodeGenerator
        super().__init__(
            trim_blocks=True, lstrip_blocks=True, extensions=[GenerationTag, "jinja2.ext.loopcontrols"]
        )
        now = datetime.datetime.combine(date, datetime.time())
        self._safe: dict[tuple[type, str], bool] = {}
        for name in ("center", "batch", "slice", "truncate", "wordwrap", "round", "indent"):
            self.filters[name] = _with_widths(self.filters[name])
        self.filters["format"] = _with_bounds(self.filters["format"])
        self.filters["tojson"] = to_json
        self.globals["raise_exception"] = _raise_exception
        self.globals["strftime_now"] = now.strftime
        self.globals["dict"] = _Dict()
        self.globals["namespace"] = _Namespace
        self.globals["lipsum"] = self.filters["random"] = _refuse_chance

    def concat(self, parts: Iterable[str]) -> str:
        return "".join(_bounded(parts))

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        if is_too_large(operator, left, right):
            raise too_large()
        return super().call_binop(context, operator, left, right)

    def join_strings(self, values: Iterable[Any]) -> str:
        """The operator `~`."""
        return "".join(_bounded(map(str, values)))

    def call(self, context: Any, obj: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Count a call like a loop iteration: a recursive macro is a loop."""
        self.step()
        text = getattr(obj, "__self__", None)
        if isinstance(text, str):
            _check_call(obj, text, args, kwargs)
        return super().call(context, obj, *args, **kwargs)

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        """Return Jinja's answer from a cache; it depends on the type and the name only."""
        key = (type(obj), attr)
        if key not in self._safe:
            self._safe[key] = super().is_safe_attribute(obj, attr, value)
        return self._safe[key]

    def generated(self, text: str) -> str:
        """Return what is printed for the inside of `{% generation %}` tags."""
        return text

    def step(self) -> bool:
        """Count one iteration of a loop; return True."""
        self.steps += 1
        if self.steps > MAX_STEPS:
            raise RowError(
                "template_unsafe", f"the loops of the chat template take more than {MAX_STEPS} iterations"
            )
        return True

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        """Parse a template and make each of its loops count its iterations."""
        template = super()._parse(source, name, filename)
        for loop in template.find_all(nodes.For):
            call = nodes.EnvironmentAttribute("step()")  # compiled to `environment.step()`
            loop.body.insert(0, nodes.ExprStmt(call, lineno=loop.lineno))
            if loop.test is not None:  # it is asked of items, too, that it leaves out
                loop.test = nodes.And(call, loop.test, lineno=loop.lineno)
        template.set_environment(self)
        return template


class TracedEnvironment(PlainEnvironment):
    """The environment for traced strings: everything that joins, formats or computes text keeps origins."""

    def __init__(self, date: datetime.date) -> None:
        super().__init__(date)
        self.code_generator_class = TracedCodeGenerator
        self.filters = {name: _traced_filter(function) for name, function in self.filters.items()}
        self.filters |= {
            "join": _join,
            "indent": _indent,
            "replace": _replace,
            "format": _with_bounds(_format),
            "safe": _safe,
            "tojson": _traced_to_json,
        }

    def concat(self, parts: Iterable[str]) -> str:
        return concat(_bounded(parts))

    def join_strings(self, values: Iterable[Any]) -> str:
        """The operator `~`."""
        return concat(_bounded(map(text_of, values)))

    def text(self, value: Any) -> str:
        """Return what `{{ value }}` prints."""
        return text_of(value)

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        if is_too_large(operator, left, right):
            raise too_large()
        if operator == "%" and isinstance(left, str):
            return percent_format(left, right)
        if operator == "+" and isinstance(left, str) and isinstance(right, str):
            return add_markup(left, right) if is_markup(left) or is_markup(right) else left + right
        return super().call_binop(context, operator, left, right)

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        if super().wrap_str_format(value) is None:
            return None
        template, mapped = value.__self__, value.__name__ == "format_map"

        def formatted(*args: Any, **kwargs: Any) -> str:
            args, kwargs = ((), args[0]) if mapped else (args, kwargs)
            return brace_format(SandboxedFormatter(self), template, args, kwargs)

        return formatted

    def call(self, context: Any, obj: Any, /, *args: Any, **kwargs: Any) -> Any:
        if (
            isinstance(obj, types.BuiltinMethodType)
            and isinstance(obj.__self__, TracedStr)
            and obj.__name__ == "encode"
        ):
            raise RowError(
                "origin_lost", "the chat template turns text into bytes, which do not keep their origin"
            )
        if isinstance(obj, types.BuiltinMethodType) and type(obj.__self__) is str:
            args = tuple(list(arg) if isinstance(arg, Iterator) else arg for arg in args)
            obj = traced_method(obj, args)
        return super().call(context, obj, *args, **kwargs)


class TaggedEnvironment(TracedEnvironment):
    """The environment that only traces the inside of `{% generation %}` tags."""

    def generated(self, text: str) -> str:
        self.steps += 1  # a new number per stretch keeps adjacent stretches apart
        return TracedStr.of(text, GENERATED._replace(field=str(self.steps)))


class _CodeGenerator(CodeGenerator):
    def visit_Concat(self, node: nodes.Concat, frame: Frame) -> None:  # noqa: N802  Jinja's name
        self.write("environment.join_strings((")
        for child in node.nodes:
            self.visit(child, frame)
            self.write(", ")
        self.write("))")


class TracedCodeGenerator(_CodeGenerator):
    """Prints values with `environment.text` instead of `str`; templates are rendered without autoescape."""

    def _output_child_pre(self, *_: Any) -> None:
        self.write("environment.text(")


def is_too_large(operator: str, left: Any, right: Any) -> bool:
    """Whether the result of an operator has too many characters, items or bits."""
    if operator == "+":
        return _is_sized(left) and _is_sized(right) and len(left) + len(right) > MAX_RENDERED
    if operator == "%" and isinstance(left, str):
        return _fills_up(_percent_specs(left), right if isinstance(right, tuple) else (right,))
    if isinstance(left, int) and isinstance(right, int):
        bits = int(left).bit_length()
        return (bits * int(right) if operator == "**" else bits + int(right).bit_length()) > MAX_BITS
    sized, times = (left, right) if _is_sized(left) else (right, left)
    is_repeated = operator == "*" and _is_sized(sized) and isinstance(times, int)
    return is_repeated and len(sized) * times > MAX_RENDERED


def _fills_up(specs: Iterable[str], values: Iterable[Any]) -> bool:
    """Whether a format may fill up text to more than `MAX_WIDTH` columns: as its specifications say, or as a
    value says that one of them (`*`) refers to."""
    specs = list(specs)
    widths = [int(digits) for spec in specs for digits in re.findall(r"\d{1,20}", spec)]
    if any("*" in spec for spec in specs):
        widths += [value for value in values if isinstance(value, int)]
    return max(widths, default=0) > MAX_WIDTH


def _percent_specs(template: str) -> list[str]:
    return re.findall(r"%([^%a-zA-Z]*)", template)


def _brace_specs(template: str) -> list[str]:
    return [spec.replace("{", "*") for spec in re.findall(r":([^{}]*[{}])", template)]


def _check_width(*values: Any) -> None:
    """Raise the `RowError` for text that is filled up to too many columns."""
    if any(isinstance(value, int) and value > MAX_WIDTH for value in values):
        raise too_large()


def _check_call(method: Any, text: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
    """Raise the `RowError` for a method of a text that would make a text that is too large."""
    name = method.__name__
    if name in {"center", "ljust", "rjust", "zfill", "expandtabs"}:
        _check_width(*args, *kwargs.values())
    elif name in {"format", "format_map"} and _fills_up(_brace_specs(text), (*args, *kwargs.values())):
        raise too_large()
    elif name == "replace" and len(args) > 1 and all(isinstance(each, str) for each in args[:2]):
        old, new = args[:2]
        if len(text) * len(new) > MAX_RENDERED and text.count(old) * len(new) > MAX_RENDERED:
            raise too_large()


def _with_widths(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a filter that refuses to fill up text to too many columns."""

    @wraps(function)
    def checked(*args: Any, **kwargs: Any) -> Any:
        _check_width(*args[1:], *kwargs.values())
        return function(*args, **kwargs)

    return checked


def _with_bounds(do_format: Callable[..., str]) -> Callable[..., str]:
    """Return the filter `format`, or its traced twin, with the bounds of the operator `%`."""

    @wraps(do_format)
    def checked(value: Any, *args: Any, **kwargs: Any) -> str:
        if _fills_up(_percent_specs(str(value)), (*args, *kwargs.values())):
            raise too_large()
        return do_format(value, *args, **kwargs)

    return checked


def _is_sized(value: Any) -> bool:
    return isinstance(value, (str, list, tuple))


def too_large() -> RowError:
    """The error of a row for which a template computes too much."""
    return RowError("template_unsafe", "the chat template computes something too large")


def _bounded(parts: Iterable[str]) -> Iterable[str]:
    total = 0
    for part in parts:
        total += len(part)
        if total > MAX_RENDERED:
            raise RowError("template_unsafe", f"the chat template prints more than {MAX_RENDERED} characters")
        yield part


# ==== What templates can call ====


def to_json(
    value: Any,
    ensure_ascii: bool = False,  # noqa: FBT001, FBT002  the filter's signature in transformers
    indent: int | str | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,  # noqa: FBT001, FBT002
) -> str:
    """Return JSON as the `tojson` of chat templates does, without HTML escapes
    (`transformers.utils.chat_template_utils`)."""
    _check_width(indent)
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


def _raise_exception(message: str) -> None:
    raise jinja2.TemplateError(str(message))


def _refuse_chance(*_: Any, **__: Any) -> str:
    raise RowError("template_unstable", "the chat template prints something random")


class _Dict:
    """`dict(...)` without the attributes of the type, as in transformers."""

    def __call__(self, *args: Any, **kwargs: Any) -> dict[Any, Any]:
        return dict(*args, **kwargs)

    def fromkeys(self, *args: Any) -> dict[Any, Any]:
        return dict.fromkeys(*args)


class _Namespace(jinja2.utils.Namespace):
    """`namespace(...)` that refuses names with a leading underscore, as in transformers."""

    def __init__(*args: Any, **kwargs: Any) -> None:  # `self` may be a keyword of the template
        self, args = args[0], args[1:]
        values = dict(*args, **kwargs)
        for name in values:
            _check_name(name)
        jinja2.utils.Namespace.__init__(self, values)

    def __setitem__(self, name: str, value: Any) -> None:
        _check_name(name)
        super().__setitem__(name, value)


def _check_name(name: Any) -> None:
    if isinstance(name, str) and name.startswith("_"):
        raise jinja2.exceptions.SecurityError(f"a namespace cannot hold the underscored name {name!r}")


# ==== Filters that keep origins ====


def _traced_filter(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a filter whose text is marked with the origin of its arguments, if it has lost its own."""

    @wraps(function)
    def traced(*args: Any, **kwargs: Any) -> Any:
        result = function(*args, **kwargs)
        if isinstance(result, str) and not isinstance(result, TracedStr):
            return mark(result, *args, *kwargs.values())
        return result

    return traced


def _traced_to_json(value: Any, *args: Any, **kwargs: Any) -> str:
    return mark(to_json(value, *args, **kwargs), value)


@jinja2.pass_environment
def _join(environment: jinja2.Environment, value: Iterable[Any], d: str = "", attribute: Any = None) -> str:
    if attribute is not None:
        value = map(make_attrgetter(environment, attribute), value)
    return as_traced(d).join(map(text_of, value))


def _replace(value: Any, old: str, new: str, count: int | None = None) -> str:
    return as_traced(text_of(value)).replace(str(old), str(new), -1 if count is None else count)


def _safe(value: Any) -> str:
    text = text_of(value)
    return TracedMarkup.with_runs(text, runs_of(text))


def _indent(s: Any, width: int | str = 4, first: bool = False, blank: bool = False) -> str:  # noqa: FBT001, FBT002
    """Indent text; Jinja's own filter loses the origins of all lines but the first."""
    _check_width(width)
    indentation = width if isinstance(width, str) else " " * width
    lines = (text_of(s) + "\n").splitlines()
    rest = [indentation + line if line or blank else line for line in lines[1:]]
    return concat([indentation if first else "", as_traced("\n").join([lines[0], *rest])])


def _format(value: Any, *args: Any, **kwargs: Any) -> str:
    if args and kwargs:
        raise jinja2.exceptions.FilterArgumentError(
            "can't handle positional and keyword arguments at the same time"
        )
    return percent_format(text_of(value), kwargs or args)
