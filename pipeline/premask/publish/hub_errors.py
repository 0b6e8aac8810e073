"""What goes wrong between here and the Hub, as a `PushError` of one line.

    explained("the commit", error, "org/name", token)

The libraries wrap errors in one another, so the whole chain is looked at: for an answer of the server, for a
connection that failed, for an error of the file system.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from huggingface_hub import constants
from huggingface_hub.errors import RepositoryNotFoundError

from ..core.errors import PushError
from ..core.redact import MASK, redacted

AGAIN = "run the same command again, it continues where it stopped"

_TRANSIENT = {408, 429, 500, 502, 503, 504}
_HTTP_LIBRARIES = {
    "httpx",
    "httpx2",
    "httpcore",
    "httpcore2",
    "requests",
    "urllib3",
}  # by version of the client


class NotFoundError(PushError):
    """There is no such repo, or none that the token may see."""


def explained(doing: str, error: Exception, repo_id: str, token: str) -> PushError:
    """Return an error in words, without the token, whatever the libraries put into theirs."""
    status, text = status_of(error), _said(error).replace(token, MASK)
    if status is None:
        return PushError(f"{doing}: {_unanswered(error, text)}; {AGAIN}")
    if isinstance(_cause(error), RepositoryNotFoundError) and status == 404:
        return NotFoundError(f"there is no dataset {repo_id} on the Hub that this token may see")
    if status == 401:
        return PushError(
            "the Hub does not know the token (401); make a new one with write access at "
            f"{constants.ENDPOINT}/settings/tokens and set HF_TOKEN, or log in again"
        )
    if status == 403:
        return PushError(
            f"the token may not write to {repo_id} (403: {text}); "
            "use one with write access to it, or another name"
        )
    if status in _TRANSIENT:
        return PushError(f"{doing}: the Hub answers {status} ({text}); {AGAIN}")
    return PushError(f"{doing}: the Hub refuses it with {status} ({text})")


def _unanswered(error: Exception, text: str) -> str:
    """Return what went wrong before the server answered, and what to check."""
    if is_silent(error):
        return f"{constants.ENDPOINT} does not answer ({text})"
    if _is_network(error):
        return f"no connection to {constants.ENDPOINT} ({text})"
    files = (each for each in _chain(error) if isinstance(each, OSError) and each.errno is not None)
    if (file := next(files, None)) is None:
        return text
    return (
        f"{file.filename or 'a file'}: {file.strerror}; check space and permissions of "
        f"{constants.HF_HOME} (HF_HOME) and of the folder for temporary files"
    )


def is_transient(error: Exception) -> bool:
    """Return whether the same call may work a moment later. A silent server has been waited for long
    enough."""
    if is_silent(error):
        return False
    status = status_of(error)
    return _is_network(error) if status is None else status in _TRANSIENT


def is_silent(error: Exception) -> bool:
    """Return whether the server did not answer in time."""
    return any("Timeout" in type(each).__name__ for each in _chain(error))


def status_of(error: Exception) -> int | None:
    """Return the HTTP status of the server's answer, None if there was none."""
    response = getattr(_cause(error), "response", None)
    return None if response is None else int(response.status_code)


def pause_of(error: Exception) -> float | None:
    """Return the seconds that the server asks to wait, None if it does not."""
    response: Any = getattr(_cause(error), "response", None)
    asked = "" if response is None else response.headers.get("retry-after", "")
    return float(asked) if asked.isdigit() else None


def _cause(error: BaseException) -> BaseException:
    """Return the error of the chain that has the server's answer, or the one that began it."""
    chain = list(_chain(error))
    return next((each for each in chain if getattr(each, "response", None) is not None), chain[-1])


def _said(error: BaseException) -> str:
    """Return what the server said, or the first line of the error that began it."""
    cause = _cause(error)
    lines = redacted(str(getattr(cause, "server_message", None) or cause)).splitlines()
    return next((line.strip() for line in lines if line.strip()), type(cause).__name__)[:300]


def _is_network(error: BaseException) -> bool:
    return any(
        type(each).__module__.split(".")[0] in _HTTP_LIBRARIES
        or isinstance(each, (ConnectionError, TimeoutError))
        for each in _chain(error)
    )


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and what it came from."""
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__ or seen.__context__
