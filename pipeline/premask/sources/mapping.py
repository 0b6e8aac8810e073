"""The recipe's `map`: a function of the user that makes rows of rows, before a dialect reads them.

    allow_map(Path("recipes"))                     # once in a process: code of that folder may run
    hook = find_hook("hooks:clean")                # a Hook; its file was found and hashed
    block = MappedBlock.of(block, hook, max_row_bytes)
    block.row(0)                                   # the row that hooks.clean made of row 0

A function takes a row (a dict) and returns a row, a list of rows, or None, which leaves the row out. Several
rows that it makes of one stay together as one row of the input (`records.Parts`): its number is theirs, and
their samples are numbered from 0 on.

Whoever runs a recipe with `map` runs its code. So no function is loaded before the process was told that it
may (`allow_map`). A run compiles the bytes that it has hashed, in every process.

Nothing that a function does to its row reaches anything else: it gets a copy, and what it returns is copied
as JSON. What it prints is dropped, and the working directory is put back. Nothing that it raises or calls
to end the process ends more than its row. Its CPU time is bounded where `core/limits.py` bounds it, once for
each row.

Cost: 60 us a row besides the function.
"""

from __future__ import annotations

import copy
import datetime
import decimal
import difflib
import inspect
import io
import json
import os
import re
import signal
import sys
import threading
import time
import traceback
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from hashlib import sha256
from importlib import import_module, invalidate_caches
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import module_from_spec
from pathlib import Path
from types import CoroutineType, FrameType
from typing import Any

import numpy as np

from ..core.errors import RecipeError, SourceError, first_line
from ..core.limits import (
    LimitError,
    TimeIsUpError,
    in_watched_process,
    limited,
    limits_hold,
    limits_of_blocks_in_copy,
    too_slow,
)
from ..core.records import Hook, Parts, Row, Slice
from .blocks import Block

SECONDS = 10.0
"""CPU seconds for one row."""

_TRIES = 3
"""Rows that may end the process, or take too long, before a file is given up to be looked at."""

_NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")
_ADDRESS = re.compile(r"0x[0-9a-fA-F]{4,}")
_AS_TEXT = (datetime.date, datetime.time, datetime.timedelta, decimal.Decimal, uuid.UUID)
Function = Callable[[Any], Any]


# ==== Which function ====

_folder: Path | None = None


def allow_map(folder: str | Path | None) -> None:
    """Let functions of recipes (`map`) run in this process, or with None no longer. Their modules are sought
    in `folder` first, then among the installed packages."""
    global _folder  # noqa: PLW0603  a setting of the process
    _folder = None if folder is None else Path(folder).resolve()


def find_hook(name: str) -> Hook:
    """Return the function that a recipe names, after it was loaded once.

    Raises `RecipeError` if the process may not run it, or if there is none.
    """
    if not _NAME.fullmatch(name):
        raise RecipeError(f"map: '{name:.80}' names no function; write MODULE:FUNCTION, such as hooks:clean")
    if _folder is None:
        raise RecipeError(
            f"map: {name} is code that comes with the recipe, and runs with your rights; read it, then add "
            "--allow-map"
        )
    spec = _spec_of(name, str(_folder))
    hook = Hook(name, str(_folder), sha256(_bytes_of(spec)).hexdigest())
    function_of(hook)
    return hook


@lru_cache(maxsize=16)
def function_of(hook: Hook) -> Function:
    """Return the function of a hook. Raises `RecipeError` if there is none, `SourceError` if its file has
    changed since it was found."""
    module_name, _, name = hook.function.partition(":")
    spec = _spec_of(hook.function, hook.folder)
    code = _bytes_of(spec)
    if sha256(code).hexdigest() != hook.sha256:
        raise SourceError(f"{spec.origin} has changed since the run began; start the run again")
    module = module_from_spec(spec)
    with _calling(hook.folder), _explained(f"map: importing {module_name} raises", str(spec.origin)):
        if module_name not in sys.modules:
            sys.modules[module_name] = module
        exec(compile(code, str(spec.origin), "exec"), module.__dict__)  # noqa: S102  allowed by `allow_map`
    found = getattr(module, name, None)
    if inspect.iscoroutinefunction(found) or inspect.isasyncgenfunction(found):
        raise RecipeError(f"map: {name} of {spec.origin} is an async function; write it with def alone")
    if callable(found):
        return found  # type: ignore[no-any-return]
    if found is not None:
        raise RecipeError(f"map: {name} of {spec.origin} is no function; write one that takes a row")
    near = difflib.get_close_matches(name, [key for key in vars(module) if callable(vars(module)[key])], n=1)
    hint = f"did you mean {near[0]}?" if near else "write it there, or name another one"
    raise RecipeError(f"map: {spec.origin} has no function {name}; {hint}")


def _spec_of(name: str, folder: str) -> ModuleSpec:
    """Return where the module of a function is: in the folder, or installed."""
    module = name.partition(":")[0]
    above, _, _ = module.rpartition(".")
    invalidate_caches()
    spec, places = None, [folder, *sys.path]
    with _calling(folder), _explained(f"map: importing {above} raises", "its package"):
        try:
            if above:
                places = getattr(import_module(above), "__path__", [])
            spec = PathFinder.find_spec(module, places)
        except ModuleNotFoundError as error:
            if not (error.name and f"{above}.".startswith(f"{error.name}.")):
                raise
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        what = f"there is no module {module} in {folder}, nor among the installed packages"
        raise RecipeError(f"map: {what}; write it as {module.replace('.', '/')}.py there")
    return spec


def _bytes_of(spec: ModuleSpec) -> bytes:
    try:
        return Path(str(spec.origin)).read_bytes()
    except OSError as error:
        raise RecipeError(f"map: {spec.origin} cannot be read: {first_line(error, 200)}") from None


@contextmanager
def _calling(folder: str) -> Iterator[None]:
    """Let code in the `with` block import from the folder. What it prints is dropped, and it changes neither
    the working directory nor ends the process."""
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    place = _working_directory()
    sys.path.insert(0, folder)
    try:
        with redirect_stdout(_Nowhere()), redirect_stderr(_Nowhere()), _interrupts_kept(), _no_exit():
            yield
    finally:
        sys.dont_write_bytecode = before
        if folder in sys.path:
            sys.path.remove(folder)
        if place is not None and place != _working_directory():
            os.chdir(place)


def _working_directory() -> str | None:
    """The working directory; None if it was removed."""
    with suppress(OSError):
        return os.getcwd()  # noqa: PTH109  called twice for each row
    return None


@contextmanager
def _no_exit() -> Iterator[None]:
    """Have `os._exit` raise `SystemExit` in the `with` block. Processes that are started there may end."""
    real, process = os._exit, os.getpid()

    def leave(status: int) -> None:
        if os.getpid() != process:
            real(status)
        raise SystemExit(f"os._exit({status})")

    os._exit = leave  # type: ignore[assignment]
    try:
        yield
    finally:
        os._exit = real


@contextmanager
def _interrupts_kept() -> Iterator[None]:
    """Raise `KeyboardInterrupt` at the end of the `with` block if a signal asked for it meanwhile, whatever
    the block makes of it. So one that the block raises by itself may be handled as any other error."""
    heard, handlers = list[int](), dict[int, Any]()
    if threading.current_thread() is threading.main_thread():
        found = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        handlers = {number: handler for number, handler in found.items() if callable(handler)}

    def hear(number: int, frame: FrameType | None) -> None:
        heard.append(number)
        handlers[number](number, frame)

    for number in handlers:
        signal.signal(number, hear)
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        if heard:
            raise KeyboardInterrupt


class _Nowhere(io.TextIOBase):
    """A stream that drops what is written."""

    def write(self, text: str) -> int:
        return len(text)


@contextmanager
def _explained(what: str, file: str) -> Iterator[None]:
    """Raise `RecipeError` for what code raises while it is loaded."""
    try:
        with limited("the module of map"):
            yield
    except RecipeError:
        raise
    except LimitError as error:
        raise RecipeError(f"map: {error} to be loaded") from None
    except BaseException as error:  # noqa: BLE001  whatever the code of the user raises
        raise RecipeError(f"{what} {_said(error, file)}; fix it") from None


def _said(error: BaseException, file: str) -> str:
    """Type and message of an error, and the last line of a file where it was; without addresses of objects,
    which differ from process to process."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if frame.filename == file]
    line = error.lineno if isinstance(error, SyntaxError) else own[-1].lineno if own else None
    message = _ADDRESS.sub("0x...", first_line(error, 200)) if str(error) else "no message"
    return f"{type(error).__name__}: {message}" + (f" ({Path(file).name} line {line})" if line else "")


# ==== What it makes of a row ====


def mapped(row: Row, hook: Hook, most: int) -> Row:
    """Return what a function makes of a row; rows that are no objects stay as they are. `most` are the bytes
    that it may make. What goes wrong is in the row's `error` and `reason`."""
    if row.error is not None or not isinstance(row.value, dict):
        return row
    original = row.original
    if original is None:
        original = json.dumps(row.value, ensure_ascii=False, default=str)

    def refused(reason: str, detail: str) -> Row:
        return Row(row.source, row.row, None, original, f"{hook.function}: {detail}", reason)

    function, file = function_of(hook), str(_spec_of_loaded(hook))
    what, key = f"the function for row {row.row}", (hook, original)
    if key in _endless:
        return refused("map_timeout", too_slow(what, SECONDS))
    value = copy.deepcopy(row.value)
    try:
        with limited(what, SECONDS), _calling(hook.folder):
            try:
                made = function(value)
                text = _json_of(made, row.value)
            except TimeIsUpError:
                raise
            except BaseException as error:  # noqa: BLE001  whatever the code of the user raises
                return refused("map_error", _said(error, file))
    except LimitError as error:
        _endless.add(key)
        return refused("map_timeout", str(error))
    if len(text) > most:
        return refused("map_error", f"it made {len(text):,} characters, more than max_row_bytes {most:,}")
    return _row_of(row, original, made, text, refused)


_endless = set[tuple[Hook, str]]()
"""Rows for which a function took too long in this process: it is not called for them again."""


def tried(rows: Sequence[Row], hook: Hook, most: int) -> list[Row]:
    """Return what a function makes of rows, in a copy of this process: it may end it. Rows for which it does
    are left out. After `_TRIES` that end it or take too long, or as much time, all others are."""
    what, found, left = f"map: {hook.function}", list[Row](), _TRIES
    seconds = (_TRIES + 1) * SECONDS
    with suppress(LimitError):
        return _noted(in_watched_process(partial(_mapped, rows, hook, most), what, seconds), hook)
    for row in rows:
        try:
            made = in_watched_process(partial(_mapped, [row], hook, most), what, seconds)
        except LimitError:
            left -= 1
        else:
            found += _noted(made, hook)
            left -= any(each.reason == "map_timeout" for each in made)
        if not left:
            break
    return found


def _mapped(rows: Sequence[Row], hook: Hook, most: int) -> list[Row]:
    limits_of_blocks_in_copy()
    found, end = list[Row](), time.process_time() + _TRIES * SECONDS
    for row in rows:
        found.append(mapped(row, hook, most))
        if time.process_time() > end:
            break
    return found


def _noted(rows: list[Row], hook: Hook) -> list[Row]:
    """Note rows for which a function took too long in a copy, where it has the same limits here."""
    if limits_hold():
        _endless.update((hook, row.original or "") for row in rows if row.reason == "map_timeout")
    return rows


def _json_of(made: Any, row: Any) -> str:
    """Return what a function made as JSON text. Raises `TypeError` and `ValueError` for what JSON does not
    have. Numbers such as NaN may stay where the row of the file, such as one of Parquet, has them."""
    try:
        text = json.dumps(made, ensure_ascii=False, allow_nan=False, default=_as_text)
    except ValueError:
        if _is_finite(row):
            raise
        text = json.dumps(made, ensure_ascii=False, default=_as_text)
    if (key := _key_that_is_no_text(made)) is not None:
        raise TypeError(f"it returned a key that JSON does not have: {key}")
    return text


def _is_finite(row: Any) -> bool:
    try:
        json.dumps(row, allow_nan=False, default=str)
    except ValueError:
        return False
    return True


def _key_that_is_no_text(value: Any) -> str | None:
    """Return the first key of a value that is no text, in Python's notation; None if there is none."""
    left = [value]
    while left:
        each = left.pop()
        if isinstance(each, dict):
            for key in each:
                if not isinstance(key, str):
                    return repr(key)
            left += each.values()
        elif isinstance(each, (list, tuple)):
            left += each
    return None


def _row_of(row: Row, original: str, made: Any, text: str, refused: Callable[[str, str], Row]) -> Row:
    """Return the row that a function made, from its JSON text."""
    if made is None or made == []:
        return refused("map_dropped", f"it returned {'None' if made is None else 'an empty list'}")
    rows = made if isinstance(made, list) else [made]
    if wrong := [each for each in rows if not isinstance(each, dict)]:
        what = f"it returned {'a list with ' if isinstance(made, list) else ''}{type(wrong[0]).__name__}"
        return refused("map_error", f"{what}, not a row (a dict), a list of rows, or None")
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        return refused("map_error", f"what it returned cannot be read again: {first_line(error, 200)}")
    if isinstance(value, list):
        value = value[0] if len(value) == 1 else Parts(tuple(value))
    return Row(row.source, row.row, value, original)


def _as_text(value: Any) -> str:
    """Values of Parquet that JSON does not have, as text. Raises `TypeError` for others."""
    if isinstance(value, _AS_TEXT):
        return str(value)
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, CoroutineType):
        value.close()  # else Python warns that nobody waits for it
    raise TypeError(f"it returned a value that JSON does not have: {type(value).__name__}")


@lru_cache(maxsize=16)
def _spec_of_loaded(hook: Hook) -> str | None:
    return _spec_of(hook.function, hook.folder).origin


@dataclass(frozen=True, slots=True)
class MappedBlock(Block):
    """Rows that a function makes of those of another block, each once, when it is asked for: a row that ends
    the process can be told from the others."""

    inner: Block
    hook: Hook
    most: int
    made: dict[int, Row] = field(default_factory=dict)

    @classmethod
    def of(cls, block: Block, hook: Hook, most: int) -> MappedBlock:
        """Return a block with what a function makes; no row may have more than `most` bytes."""
        return cls(block.source, block.numbers, block, hook, most, left_out=block.left_out)

    @property
    def size(self) -> int:
        """Bytes that the rows had before."""
        return self.inner.size

    def row(self, i: int) -> Row:
        """Row `i` of the block."""
        number = int(self.numbers[i])
        if number not in self.made:
            self.made[number] = mapped(self.inner.row(i), self.hook, self.most)
        return self.made[number]

    def taken(self, mask: np.ndarray) -> MappedBlock:
        """The rows of a mask, bool[n]."""
        return replace(self, numbers=self.numbers[mask], inner=self.inner.taken(mask))


def as_read(piece: Slice) -> Slice:
    """Return a slice whose rows are as they are in the file."""
    if piece.selection is None or piece.selection.map is None:
        return piece
    return piece._replace(selection=piece.selection._replace(map=None))
