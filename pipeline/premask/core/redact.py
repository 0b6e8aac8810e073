"""What may be written and shown of URLs and of foreign texts: places, never credentials.

    shown_url   URL -> the same without user info, unknown query keys and fragment
    bare_name   path of a file or folder -> its last part; a URL as it is
    source_name URL of a file -> its name in an output
    redacted    text, such as a library's error -> the same without credentials
    remember    a URL whose credentials must not be shown by any text of this process
    redact_logs library logs and tracebacks of this process go through `redacted`, too

A signed URL is read as it is. Everything else (names of sources, manifest, messages, keys of caches) has the
shown one, so a URL that is signed anew is the same source. Of a query only `QUERY_KEYS` are kept: they say
which data is meant. In texts, four things are replaced by `***`: URLs as above, values behind names such as
`Authorization`, tokens of known shapes, and the secrets of the environment and of remembered URLs.

Cost: 0.1 ms a text, for errors alone.
"""

from __future__ import annotations

import base64
import logging
import os
import re
import sys
import traceback
from types import TracebackType
from urllib.parse import quote, unquote, unquote_plus

QUERY_KEYS = frozenset({
    "alt", "branch", "commit", "config", "dataset", "date", "dl", "download", "export", "format",
    "generation", "lang", "language", "length", "limit", "offset", "page", "part", "raw", "ref", "rev",
    "revision", "shard", "snapshot", "split", "subset", "tag", "version", "versionid",
})  # fmt: skip
"""Keys of a query that say which data a URL means, in lower case."""

MASK = "***"
WEB = ("http", "https")
_HERE = ("file", "local", "memory")

_PARTS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)(:/{1,3})([^/?#]*)([^?#]*)(\?[^#]*)?(#.*)?", re.DOTALL)
_HOST = re.compile(r"(\[[0-9A-Fa-f:.%]*\]|[^:\[\]]*)(:\d*)?")
_VALUE = re.compile(r"[\w.,:/+~%-]{0,100}")
_SHORTEST = 8  # characters of a secret; shorter ones are words of other texts, too

_URL = re.compile(r"""[A-Za-z][A-Za-z0-9+.-]+:/{1,3}[^\s'"<>`]+""")
_PUNCTUATION = ").,;:]}"
_QUERY = re.compile(r"""\?[\w.%~-]+=[^\s'"<>`)]*""")
_NAMED = re.compile(
    r"(?i)(?<![a-z])("
    r"(?:proxy-)?authorization|(?:x-)?api[-_]?key|x-[a-z0-9-]*(?:token|key|signature|credential|secret)|"
    r"(?:set-)?cookie|passw(?:or)?d|passphrase|pwd|client[-_]?secret|secret[-_]?(?:access[-_]?)?key|"
    r"access[-_]?key(?:[-_]?id)?|account[-_]?key|private[-_]?key|shared[-_]?access[-_]?signature|"
    r"(?:access|refresh|session|security|id|auth|hf|hub|github|gitlab)[-_]?token|credential|signature|sig|sas"
    r")(?![a-z])"
    r"""(["']?\s*[:=>]\s*(?:b(?=["']))?["']?(?:(?:bearer|basic|digest|token|aws4-hmac-sha256)\s+)?)"""
    r"""(?:\*{3}|[^\s"',;&)}\]<>]{4,})"""
)
_SHAPES = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)|"
    r"(?<![A-Za-z0-9])(?:"
    r"hf_(?:[a-z]+_)?[A-Za-z0-9]{20,}|gh[pousr]_[A-Za-z0-9]{16,}|github_pat_\w{20,}|glpat-[\w-]{16,}|"
    r"(?:AKIA|ASIA|AROA|AIDA)[A-Z0-9]{12,}|AIza[\w-]{30,}|ya29\.[\w-]{10,}|xox[abeprs]-[\w-]{10,}|"
    r"sk-(?:[a-z]+\d*-){0,2}(?=\w*\d)[A-Za-z0-9_]{20,}[\w-]*|[rs]k_(?:live|test)_\w{10,}|"
    r"npm_[A-Za-z0-9]{30,}|pypi-[\w-]{30,}|dckr_pat_[\w-]{16,}|dop_v1_[0-9a-f]{40,}|"
    r"SG\.[\w-]{16,}\.[\w-]{16,}|eyJ[\w-]{8,}\.[\w-]{8,}(?:\.[\w-]*)?|"
    r"(?:Bearer|Basic)\s+(?=\S*[A-Z0-9=._-])[\w.~+/=-]{8,}"
    r")",
    re.DOTALL,
)
_SECRET_NAMES = re.compile(
    r"TOKEN|SECRET|KEY|PASSW|PASSPHRASE|CREDENTIAL|^(?:AWS|GOOGLE|AZURE)_", re.IGNORECASE
)
_PLAIN_NAMES = re.compile(
    r"REGION|ENDPOINT|PROFILE|_FILE$|_PATH$|_DIR$|BUNDLE|_ARN$|ATTEMPTS|_MODE$|DISABLED|PARALLELISM|PROJECT|"
    r"ACCOUNT_NAME$|APPLICATION_CREDENTIALS$|SESSION_NAME$|LAYOUT|KEYRING|^KEYBOARD",
    re.IGNORECASE,
)
_remembered: set[str] = set()


# ==== URLs ====


def shown_url(url: str) -> str:
    """A URL as it is written and shown; any other text as it is.

    >>> shown_url("https://me:pw@host/a.jsonl?revision=2&sig=abc#x"), shown_url("s3://bucket/chats-?.jsonl")
    ('https://host/a.jsonl?revision=2', 's3://bucket/chats-?.jsonl')
    """
    if "::" in url and "://" in url:  # fsspec's chains, such as zip://a.jsonl::https://host/chats.zip
        return "::".join(map(_shown, url.split("::"))) if "[" not in url else _shown(url)
    return _shown(url)


def shown_urls(text: str) -> str:
    """A text in which each URL is the shown one.

    >>> shown_urls("from https://host/a?sig=abc, and notes")
    'from https://host/a, and notes'
    """
    return _URL.sub(_shown_in_text, text)


def source_name(url: str) -> str:
    """The name of the file of a URL in manifest, lineage and reject log. In a store, names of files may hold
    any character, and no credentials (`urls.check_url`)."""
    return shown_url(url) if url.partition(":")[0].lower() in WEB or "::" in url else url


def bare_name(place: str) -> str:
    """A file or folder without the path that leads to it, for texts that others read. What is on the web or
    in a store keeps its URL.

    >>> bare_name("/home/me/chats/a.jsonl"), bare_name("chats/*.jsonl"), bare_name("s3://bucket/a.jsonl")
    ('a.jsonl', '*.jsonl', 's3://bucket/a.jsonl')
    >>> bare_name("zip://a.jsonl::/home/me/chats.zip"), bare_name("file:///home/me/chats/")
    ('zip://a.jsonl::chats.zip', 'chats')
    """
    if "::" in place and "://" in place:
        return "::".join(map(bare_name, place.split("::")))
    protocol = place.partition(":")[0]
    if "://" in place and protocol.isalnum() and protocol not in _HERE:
        return place
    return place.rstrip("/").rpartition("/")[2] or place


def _shown(url: str) -> str:
    found = _PARTS.fullmatch(url)
    if found is None:
        return url
    protocol, slashes, host, path, query, fragment = found.groups(default="")
    host = host.rpartition("@")[2]
    if protocol.lower() not in WEB:
        kept = fragment if _is_of_name(protocol, fragment) else ""
        return f"{protocol}{slashes}{host}{path}{_shown_query(query, patterns=True)}{kept}"
    if _HOST.fullmatch(host) is None:  # such as a password with a slash
        return f"{protocol}{slashes}{MASK}"
    path = re.sub(r";[^/;=]*=[^/;]*", "", path)
    return f"{protocol}{slashes}{host}{_SHAPES.sub(MASK, path)}{_shown_query(query)}"


def _is_of_name(protocol: str, fragment: str) -> bool:
    """Whether what looks like a fragment is part of the name of a file, or its generation at Google."""
    if protocol in {"gs", "gcs"}:
        return re.fullmatch(r"#\d+", fragment) is not None
    return protocol in _HERE and "=" not in fragment


def _shown_query(query: str, *, patterns: bool = False) -> str:
    """The part of a query with known keys. `patterns` are those of files: what has no `=` is no query."""
    if patterns and "=" not in query:
        return query
    pairs = (pair.partition("=") for pair in query[1:].split("&"))
    kept = [
        f"{key}{equals}{value}"
        for key, equals, value in pairs
        if unquote(key).lower() in QUERY_KEYS and _VALUE.fullmatch(value) and not _SHAPES.search(value)
    ]
    return f"?{'&'.join(kept)}" if kept else ""


def remember(url: str) -> None:
    """Have `redacted` remove what is hidden of a URL, however a library may quote it."""
    found = _PARTS.fullmatch(url)
    if found is None or shown_url(url) == url:
        return
    user, shown = found[3].rpartition("@")[0], shown_url(url)
    words = [*user.split(":", 1), (found[6] or "")[1:], *re.findall(r";[^/;=]*=([^/;]*)", found[4])]
    words += [pair.partition("=")[2] for pair in (found[5] or "")[1:].split("&")]
    if user:
        words += [user, base64.b64encode(unquote(user).encode()).decode()]
    _remembered.update(
        form for word in words for form in _forms(word) if len(form) >= _SHORTEST and form not in shown
    )


# ==== Texts ====


def redacted(text: str) -> str:
    """A text without credentials.

    >>> redacted("403 for url https://host/a?token=abc (Authorization: Bearer abcdefg1)")
    '403 for url https://host/a (Authorization: Bearer ***)'
    """
    for secret in sorted({*_remembered, *_of_environment()}, key=len, reverse=True):
        text = text.replace(secret, MASK)
    text = _SHAPES.sub(_masked_shape, text)
    text = shown_urls(text)
    text = _QUERY.sub(lambda found: _shown_query(found[0]), text)
    return _NAMED.sub(rf"\1\2{MASK}", text)


def _masked_shape(found: re.Match[str]) -> str:
    kind = re.match(r"(?:Bearer|Basic)\s+", found[0])
    return f"{kind[0] if kind else ''}{MASK}"


def _shown_in_text(found: re.Match[str]) -> str:
    url = found[0].rstrip(_PUNCTUATION)
    return shown_url(url) + found[0][len(url) :]


def _of_environment() -> set[str]:
    """The values of environment variables that are secrets by their names."""
    values = (
        value.strip()
        for name, value in os.environ.items()
        if _SECRET_NAMES.search(name) and not _PLAIN_NAMES.search(name)
    )
    return {form for value in values for form in _forms(value) if len(form) >= _SHORTEST}


def _forms(secret: str) -> set[str]:
    """The ways in which libraries write a secret; of one of many lines also its lines."""
    lines = {line.strip() for line in secret.splitlines() if len(line.strip()) >= 2 * _SHORTEST}
    plain = {secret, unquote(secret), unquote_plus(secret), " ".join(secret.split()), *lines}
    return {*plain, *(quote(each, safe="") for each in plain), *(quote(each) for each in plain)}


# ==== What libraries print ====


class _Redacting(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return redacted(super().format(record))


def redact_logs() -> None:
    """Redact what libraries log without a handler of their own, and the traceback of an error of ours."""
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(_Redacting())
    sys.excepthook = _print_error


def _print_error(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    sys.stderr.write(redacted("".join(traceback.format_exception(kind, error, trace))))
