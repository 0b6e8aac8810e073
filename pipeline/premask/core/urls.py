"""URLs of stores and of the web, as fsspec opens them, and errors there, reported in one line.

    is_url    whether a name is a URL and no path
    open_url  URL -> file system and path in it
    named     errors of a store -> one error of ours that names the URL and the cause
    make_folder, remove_folder     in stores that have folders
    cache_folder                   where fetched files are kept

    filesystem, path = open_url("s3://bucket/chats", PushError)

Credentials are those that each library finds in the environment (`AWS_*`, Google's default ones, `HF_TOKEN`);
a URL that holds some is refused, because URLs are written to manifests and messages. Cost: fsspec keeps file
systems open, so a URL is opened once a process.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from .errors import PremaskError, first_line

_EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs"}
_SECRET = re.compile(r"sig|token|credential|secret|passw|key", re.IGNORECASE)
_LOOK = "check the address and the network, then"
_OBJECT_STORES = {"s3", "s3a", "gs", "gcs", "az", "abfs", "adl", "oss"}
_NO_CREDENTIALS = {"NoCredentialsError", "DefaultCredentialsError", "PartialCredentialsError"}


def is_url(name: str) -> bool:
    """Whether a name is a URL.

    >>> is_url("s3://bucket/a.jsonl"), is_url("chats/a.jsonl")
    (True, False)
    """
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", name) is not None


def open_url(url: str, kind: type[PremaskError], *, example: str = "s3://bucket/folder") -> tuple[Any, str]:
    """Return the file system of a URL and the path in it. Raises an error of `kind` for all that is wrong."""
    protocol = url.partition("://")[0]
    refuse_secrets(url, kind)
    import fsspec  # noqa: PLC0415  most commands open no URL

    try:
        filesystem, path = fsspec.core.url_to_fs(url)
    except ImportError as error:
        extra = _EXTRAS.get(protocol)
        fix = f"pip install 'premask[{extra}]'" if extra else f"install what fsspec needs for it ({error})"
        raise kind(f"{url} needs a package that is not installed: {fix}") from error
    except ValueError as error:
        raise kind(f"{url} is no URL that fsspec knows ({error}); such as {example}") from error
    except Exception as error:
        with named(url, kind):
            raise
        raise AssertionError from error  # never: `named` raises
    return filesystem, str(path)


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


def refuse_secrets(url: str, kind: type[PremaskError]) -> None:
    """Raise an error of `kind`, without the URL, if the URL holds a password, a key or a signature."""
    protocol, _, rest = url.partition("://")
    query = parse_qsl(urlsplit(url).query, keep_blank_values=True) if protocol in {"http", "https"} else []
    if "@" in rest.partition("/")[0] or any(_SECRET.search(name) for name, _ in query):
        raise kind(f"the {protocol} URL holds credentials; put them where its library looks for them")


@contextmanager
def named(
    url: str,
    kind: type[PremaskError],
    *,
    missing: str = "there is no such file or folder",
    again: str = "run the same command again",
) -> Iterator[None]:
    """Turn errors of a store into one of `kind` that names the URL and the cause."""
    try:
        yield
    except PremaskError:
        raise
    except PermissionError as error:
        raise kind(
            f"{url}: no permission ({first_line(error)}); check the credentials and their rights"
        ) from error
    except FileNotFoundError as error:
        cause = error.__cause__  # fsspec says so of the web whatever went wrong there
        if type(cause).__module__.startswith("aiohttp") and getattr(cause, "status", 0) != 404:
            raise kind(f"{url}: {first_line(cause or error)}; {_LOOK} {again}") from error
        raise kind(f"{url}: {missing.format(first_line(error))}") from error
    except Exception as error:
        if type(error).__name__ in _NO_CREDENTIALS:
            raise kind(
                f"{url}: there are no credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (S3) or "
                "log in with gcloud (Google)"
            ) from error
        raise kind(f"{url}: {first_line(error)}; {_LOOK} {again}") from error


def cache_folder() -> Path:
    """Where fetched files are kept: `PREMASK_CACHE`, or `premask` in the user's folder for caches."""
    own = os.environ.get("PREMASK_CACHE")
    return Path(own) if own else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "premask"
