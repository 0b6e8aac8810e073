"""Texts that a tokenizer does not encode: it raises, or takes more time or memory than one text may.

    refused = refused_texts(backend, texts)      # {3: "the tokenizer takes too much ..."}

They are encoded in a copy of this process, one after the other, and the copy says when each is done. If the
system ends it, the text that it was at is one of them, and another copy goes on behind it. Texts that are
not refused can then be encoded in this process: they take the same time again.

Cost: encoding each text once more, and 10 to 20 ms for a copy. Where processes cannot be copied, nothing is
watched.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial

import tokenizers

from ..core.errors import TokenizerError
from ..core.limits import data_bytes, start_copy

if sys.platform == "linux":
    import resource

_SECONDS, _SECONDS_OF_A_CHARACTER = 3.0, 2e-5
"""CPU seconds for one text; a character takes 1e-6."""

_MEMORY, _MEMORY_OF_A_CHARACTER = 256 << 20, 1000
"""Bytes for one text, beyond what this process has; a character takes 200."""

_MOST_SLOW = 4
"""Texts that may end a copy if they are most of all; then the tokenizer is given up."""

RAISES = "the tokenizer cannot encode the text: its library raises an error"
_TOO_SLOW = "the tokenizer takes too much CPU time for the text: more than {:.0f} seconds"
_TOO_LARGE = "the tokenizer takes too much memory for the text: more than {:,} MB"
_DONE, _RAISED = b"d", b"r"


def is_of_library(error: BaseException) -> bool:
    """Whether an error is one of `tokenizers`: a bare `Exception`, or a panic of Rust, which is none."""
    return type(error) is Exception or type(error).__name__ == "PanicException"


def refused_texts(backend: tokenizers.Tokenizer, texts: Sequence[str], why: str) -> dict[int, str]:
    """Return the indices of texts that cannot be encoded, each with the reason.

    Raises `TokenizerError` if many texts take too much; `why` says what the tokenizer is watched for.
    """
    if sys.platform != "linux":
        return {}
    found: dict[int, str] = {}
    first, ended = 0, 0
    while first < len(texts):
        done, reason = _watched(backend, texts[first:])
        found |= {first + at: RAISES for at, each in enumerate(done) if each == _RAISED[0]}
        first += len(done)
        if reason:
            found[first] = reason
            first, ended = first + 1, ended + 1
        if ended > _MOST_SLOW and 2 * ended > first:
            raise TokenizerError(f"{reason}, and for many others; {why}")
    return found


def _watched(backend: tokenizers.Tokenizer, texts: Sequence[str]) -> tuple[bytes, str]:
    """Encode texts in a copy; return a byte for each one that was done, and why the next one was not."""
    child, reading = start_copy(partial(_encode, backend, texts))
    try:
        done = b"".join(_all_of(reading))
    except BaseException:
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        raise
    finally:
        os.close(reading)
        _, status = os.waitpid(child, 0)
    if len(done) == len(texts):
        return done, ""
    seconds, memory = _limits_of(texts[len(done)])
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) in (signal.SIGXCPU, signal.SIGKILL):
        return done, _TOO_SLOW.format(seconds)
    return done, _TOO_LARGE.format(memory >> 20)


def _limits_of(text: str) -> tuple[float, int]:
    """Return CPU seconds and bytes that a text may take."""
    size = len(text)
    return _SECONDS + _SECONDS_OF_A_CHARACTER * size, _MEMORY + _MEMORY_OF_A_CHARACTER * size


def _all_of(reading: int) -> Iterator[bytes]:
    while more := os.read(reading, 1 << 16):
        yield more


def _encode(backend: tokenizers.Tokenizer, texts: Sequence[str], writing: int) -> None:
    """Encode texts within limits, and write a byte for each."""
    limit, hard = 0, resource.getrlimit(resource.RLIMIT_DATA)[1]
    for text in texts:
        seconds, memory = _limits_of(text)
        used = int(time.process_time() + seconds) + 1
        resource.setrlimit(resource.RLIMIT_CPU, (used, resource.getrlimit(resource.RLIMIT_CPU)[1]))
        if memory > limit:
            limit = memory
            most = data_bytes() + memory
            resource.setrlimit(resource.RLIMIT_DATA, (most if hard < 0 else min(most, hard), hard))
        try:
            backend.encode_batch_fast([text], add_special_tokens=False)
        except MemoryError:
            return
        except BaseException:  # noqa: BLE001  a panic of Rust is no Exception
            os.write(writing, _RAISED)
        else:
            os.write(writing, _DONE)
