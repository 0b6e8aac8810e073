"""The client of the Hugging Face Hub, which by itself waits for ever: a silent server is given up.

    limit_waiting()                             # before the first call of a library that asks the Hub

Each request waits `SILENCE_S` for the next byte, or twice that for the answer to what it has sent; for longer
if `HF_HUB_DOWNLOAD_TIMEOUT` says so. A server that was silent for `_TRIES` requests is not waited for again
for some minutes: the library's many repeats then fail at once. A transfer that goes on is never cut.
"""

from __future__ import annotations

import time
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from .urls import SILENCE_S

_TRIES = 3
_FORGET_S = 300.0
_silent: dict[str, tuple[int, float]] = {}
"""Server -> requests in a row that it did not answer, and when the last of them ended."""


def limit_waiting() -> None:
    """Have huggingface_hub use a client with limits, unless this process has set one of its own."""
    from huggingface_hub import constants  # noqa: PLC0415  half a second to import
    from huggingface_hub.utils import _http as library  # noqa: PLC0415

    default: Any = getattr(library, "default_client_factory", None)  # of clients since 1.0
    if default is None or getattr(library, "_GLOBAL_CLIENT_FACTORY", None) is not default:
        return
    seconds = max(SILENCE_S, constants.HF_HUB_DOWNLOAD_TIMEOUT)
    library.set_client_factory(partial(_limited, default, seconds))


def _limited(default: Any, seconds: float) -> Any:
    """A client like the default one whose requests have limits."""
    client = default()
    kind: Any = type(client)

    class Limited(kind):  # type: ignore[misc]
        def send(self, request: Any, **keywords: Any) -> Any:
            return _send(super().send, request, keywords, seconds)

    return Limited(event_hooks=client.event_hooks, follow_redirects=client.follow_redirects, timeout=seconds)


def _send(send: Any, request: Any, keywords: dict[str, Any], seconds: float) -> Any:
    longest = seconds if request.method in {"GET", "HEAD"} else 2 * seconds
    limits = {"connect": seconds, "read": longest, "write": seconds, "pool": seconds}
    given = request.extensions.get("timeout", {})
    request.extensions = {
        **request.extensions,
        "timeout": {name: min(given.get(name) or limit, limit) for name, limit in limits.items()},
    }
    server = urlsplit(str(request.url)).netloc
    times, last = _silent.get(server, (0, 0.0))
    if times >= _TRIES and time.monotonic() - last < _FORGET_S:
        raise TimeoutError(f"{server} did not answer {times} requests in a row")
    try:
        answer = send(request, **keywords)
    except Exception as error:
        if "Timeout" in type(error).__name__:
            _silent[server] = times + 1, time.monotonic()
        raise
    _silent.pop(server, None)
    return answer
