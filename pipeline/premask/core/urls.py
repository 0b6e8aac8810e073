"""URLs of stores and of the web, as fsspec opens them, and errors there, reported in one line.

    is_url    whether a name is a URL and no path
    open_url  URL -> file system and path in it
    named     errors of a store -> one error of ours that names the URL and the cause
    make_folder, remove_folder     in stores that have folders
    cache_folder                   where fetched files are kept

    filesystem, path = open_url("s3://bucket/chats", PushError)

Credentials are those that each library finds in the environment (`AWS_*`, Google's default ones, `HF_TOKEN`).
Web URLs may hold some, such as a signature: they are read with them, and written and shown without
(`redact.py`). URLs of stores must not. A server that sends and takes nothing for `SILENCE_S` is given up;
a transfer that goes on may take as long as it takes. Cost: fsspec keeps file systems open, so a URL is opened
once a process.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from .errors import PremaskError, first_line
from .redact import WEB, remember, shown_url

SILENCE_S = 30
"""Seconds without a byte after which a server is given up."""

_EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs"}
_LOOK = "check the address and the network, then"
_OBJECT_STORES = {"s3", "s3a", "gs", "gcs", "az", "abfs", "adl", "oss"}
_S3, _GOOGLE = {"s3", "s3a"}, {"gs", "gcs"}
_S3_TRIES = 3  # of botocore for a request, and of s3fs for those: nine in all
_WHERE = {"s3": " (AWS_*)", "s3a": " (AWS_*)", "gs": " (GOOGLE_*)", "gcs": " (GOOGLE_*)", "hf": " (HF_TOKEN)"}
_SILENT = {"ReadTimeoutError", "ConnectTimeoutError", "FSTimeoutError"}
_NO_CREDENTIALS = {"NoCredentialsError", "DefaultCredentialsError", "PartialCredentialsError"}


def is_url(name: str) -> bool:
    """Whether a name is a URL.

    >>> is_url("s3://bucket/a.jsonl"), is_url("chats/a.jsonl")
    (True, False)
    """
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", name) is not None


_KEPT: dict[int, Any] = {}
"""File systems that were used. fsspec keeps them, too, but not in a copy of the process (`core/limits.py`):
there they would be closed, and with them the connections of the original, which then waits in vain."""


def open_url(url: str, kind: type[PremaskError], *, example: str = "s3://bucket/folder") -> tuple[Any, str]:
    """Return the file system of a URL and the path in it. Raises an error of `kind` for all that is wrong.

    A URL of the user's is checked before (`check_url`).
    """
    protocol = url.partition("://")[0]
    remember(url)
    import fsspec  # noqa: PLC0415  most commands open no URL

    shown = shown_url(url)
    try:
        filesystem, path = fsspec.core.url_to_fs(url, **_limits(url))
    except ImportError as error:
        extra = _EXTRAS.get(protocol)
        fix = f"pip install 'premask[{extra}]'" if extra else f"install what fsspec needs for it ({error})"
        raise kind(f"{shown} needs a package that is not installed: {fix}") from error
    except ValueError as error:
        raise kind(f"{shown} is no URL that fsspec knows ({first_line(error)}); such as {example}") from error
    except Exception as error:
        with named(url, kind):
            raise
        raise AssertionError from error  # never: `named` raises
    if protocol in _S3:
        filesystem.retries = _S3_TRIES
    _KEPT[id(filesystem)] = filesystem
    return filesystem, str(path)


def _limits(url: str) -> dict[str, Any]:
    """What file systems are told of waiting; those that are not named here have limits of their own."""
    protocol = url.partition("://")[0]
    if "::" in url:
        return {}
    if protocol in WEB or protocol in _GOOGLE:
        import aiohttp  # noqa: PLC0415  what fsspec uses for them

        limits = aiohttp.ClientTimeout(total=None, sock_connect=SILENCE_S, sock_read=SILENCE_S)
        return {"client_kwargs" if protocol in WEB else "session_kwargs": {"timeout": limits}}
    if protocol in _S3:
        tries = {} if "AWS_MAX_ATTEMPTS" in os.environ else {"retries": {"total_max_attempts": _S3_TRIES}}
        seconds = {"connect_timeout": SILENCE_S / 2, "read_timeout": SILENCE_S / 2}
        return {"config_kwargs": {**seconds, **tries}}
    return {}


def make_folder(filesystem: Any, path: str) -> None:
    """Make a folder in a store that has folders. (In an object store this could only create a bucket.)"""
    if not _is_object_store(filesystem):
        filesystem.makedirs(path, exist_ok=True)


def remove_folder(filesystem: Any, path: str) -> None:
    """Remove a folder with its content, and its parent if empty, in a store that has folders."""
    if not _is_object_store(filesystem):
        with suppress(OSError):
            filesystem.rm(path, recursive=True)
            filesystem.rmdir(path.rpartition("/")[0])


def _is_object_store(filesystem: Any) -> bool:
    protocols = filesystem.protocol
    return bool(({protocols} if isinstance(protocols, str) else set(protocols)) & _OBJECT_STORES)


def check_url(url: str, kind: type[PremaskError]) -> None:
    """Raise an error of `kind`, without the URL's credentials, if a URL of a store holds some, or if a web
    URL holds them in a form that no server takes."""
    protocol, shown = url.partition("://")[0], shown_url(url)
    if protocol.lower() in WEB and re.search(r"""[\s'"<>`\\]""", url.removeprefix(shown)):
        raise kind(f"{shown}: its credentials or its query hold characters that must be percent-encoded")
    if protocol.lower() not in WEB and "::" not in url and shown != url:
        raise kind(
            f"{shown}: a URL of {protocol}:// takes no user name, query or fragment; give credentials where "
            f"its library looks for them{_WHERE.get(protocol, '')}, or sign an https URL"
        )


@contextmanager
def named(
    url: str,
    kind: type[PremaskError],
    *,
    missing: str = "there is no such file or folder",
    again: str = "run the same command again",
) -> Iterator[None]:
    """Turn errors of a store into one of `kind` that names the URL and the cause."""
    shown = shown_url(url)
    try:
        yield
    except PremaskError:
        raise
    except PermissionError as error:
        raise kind(
            f"{shown}: no permission ({first_line(error)}); check the credentials and their rights"
        ) from error
    except FileNotFoundError as error:
        cause = error.__cause__  # fsspec says so of the web whatever went wrong there
        if type(cause).__module__.startswith("aiohttp") and getattr(cause, "status", 0) != 404:
            raise kind(f"{shown}: {_why(cause or error)}; {_LOOK} {again}") from error
        raise kind(f"{shown}: {missing.format(first_line(error))}") from error
    except Exception as error:
        if type(error).__name__ in _NO_CREDENTIALS:
            raise kind(
                f"{shown}: there are no credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (S3) or "
                "log in with gcloud (Google)"
            ) from error
        raise kind(f"{shown}: {_why(error)}; {_LOOK} {again}") from error


def _why(error: BaseException) -> str:
    silent = isinstance(error, TimeoutError) or type(error).__name__ in _SILENT
    return f"the server does not answer ({first_line(error)})" if silent else first_line(error)


def cache_folder() -> Path:
    """Where fetched files are kept: `PREMASK_CACHE`, or `premask` in the user's folder for caches."""
    own = os.environ.get("PREMASK_CACHE")
    return Path(own) if own else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "premask"
