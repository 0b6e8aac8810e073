"""HTTP for the page of a served output: one page, some JSON, for this machine and its user only.

    server = Server(answers, port=0)            # `PortError` if the port is in use
    server.address, server.entrance             # http://127.0.0.1:PORT/TOKEN/; the same, for one visit
    server.serve_forever()

    GET /TOKEN/                 the page; until the output is counted, one that loads itself again
    GET /TOKEN/api/NAME?...     JSON (`answers.py`); {"error": text} with a status of 400 or above

It listens on 127.0.0.1. Other users and pages of other sites can send requests there, too. So the path needs
a random token, the Host header must name this machine (or a name of somebody else could be made to lead
here), and no page may read or embed an answer. A path only selects an answer; none is a name of a file. Each
connection has a thread of its own and `PATIENCE_S` for each step. Those above `CONNECTIONS` are closed.
"""

from __future__ import annotations

import hmac
import json
import re
import secrets
import threading
from collections.abc import Mapping
from html import escape
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from ....core.errors import OutputError, PremaskError, cause_of
from ....core.text import visible
from .answers import Answers
from .listed import BadQuestionError

HOST = "127.0.0.1"
PATIENCE_S = 20.0
CONNECTIONS = 64

ANSWER_BYTES = 32 << 20
"""Bytes of an answer, at most; the page is smaller."""

WAIT_S = 0.3
"""Wall-clock seconds that the page waits for an output to be counted, before it says so."""

_NOTHING = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
_HEADERS: Mapping[str, str] = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
_POLICY = re.compile(r'http-equiv="Content-Security-Policy" content="([^"]*)"')
_METHODS = ("GET", "HEAD")


class PortError(OutputError):
    """The port cannot be used."""


class Server(ThreadingHTTPServer):
    """Serves the answers about one output; a thread for each connection."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 32

    def __init__(self, answers: Answers, port: int = 0) -> None:
        self.answers, self.token, self._once = answers, secrets.token_urlsafe(24), secrets.token_urlsafe(24)
        self._free, self._lock = threading.Semaphore(CONNECTIONS), threading.Lock()
        try:
            super().__init__((HOST, port), _Handler)
        except OSError as error:
            what = f"cannot listen on port {port}: {cause_of(error)}"
            raise PortError(f"{what}; name another port with --port, or leave it out") from None

    @property
    def address(self) -> str:
        """Where the page is."""
        return f"http://{HOST}:{self.server_port}/{self.token}/"

    @property
    def entrance(self) -> str:
        """An address that leads to the page once. The command line of a browser, where other users may see
        it, gets this one."""
        return f"http://{HOST}:{self.server_port}/{self._once}/"

    def enter(self, token: str) -> bool:
        """Whether a token is the one for one visit, which is over then."""
        with self._lock:
            fits = bool(self._once) and same(token, self._once)
            self._once = "" if fits else self._once
            return fits

    def process_request(self, request: Any, client_address: Any) -> None:
        """Start a thread for a connection, if there are not too many."""
        if not self._free.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer the requests of a connection."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, *_: object) -> None:
        """Say nothing: a client that has gone, or sends nonsense, is no event here."""


def same(given: str, token: str) -> bool:
    """Whether a token is the right one, in a time that does not depend on how much of it is.

    >>> same("abc", "abc"), same("abd", "abc"), same("ä", "abc")
    (True, False, False)
    """
    return hmac.compare_digest(given.encode("utf-8", "replace"), token.encode())


class _Handler(BaseHTTPRequestHandler):
    """One connection. Nothing of a request is printed."""

    server: Server
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "premask", ""
    timeout = PATIENCE_S

    def do_GET(self) -> None:
        """Answer with the page or with JSON."""
        if not self._is_for_this_machine():
            self._send_error(HTTPStatus.FORBIDDEN, "this address is not served here")
            return
        parts = urlsplit(self.path)
        token, slash, rest = parts.path.removeprefix("/").partition("/")
        known = same(token, self.server.token)
        if known and slash:
            self._answer(rest, parts.query)
        elif known or (not rest and self.server.enter(token)):  # the page's own addresses need the slash
            self._send(HTTPStatus.SEE_OTHER, b"", "text/plain", {"Location": f"/{self.server.token}/"})
        else:
            self._send_error(HTTPStatus.NOT_FOUND, "there is nothing at this address")

    def do_HEAD(self) -> None:
        """Answer as to `GET`, without the content."""
        self.do_GET()

    def _is_for_this_machine(self) -> bool:
        names = self.headers.get_all("Host") or []
        port = self.server.server_port
        return len(names) == 1 and names[0].lower() in {f"{HOST}:{port}", f"localhost:{port}"}

    def _answer(self, rest: str, query: str) -> None:
        try:
            if not rest:
                self._send_page()
            elif rest.startswith("api/"):
                self._send_json(HTTPStatus.OK, self.server.answers.of(rest[4:], _asked(query)))
            else:
                self._send_error(HTTPStatus.NOT_FOUND, "there is nothing at this address")
        except BadQuestionError as error:
            self._send_error(HTTPStatus.BAD_REQUEST, str(error))
        except PremaskError as error:
            self._send_error(HTTPStatus.CONFLICT, str(error))
        except (ConnectionError, TimeoutError):
            raise
        except Exception as error:  # noqa: BLE001  a client gets one line, and the others go on
            self._send_error(HTTPStatus.INTERNAL_SERVER_ERROR, f"unexpected: {type(error).__name__}")

    def _send_page(self) -> None:
        answers, status = self.server.answers, HTTPStatus.OK
        name = answers.dataset.root.resolve().name
        try:
            page = answers.page(WAIT_S)
            if page is None:
                page = _small_page(
                    name, f"The tokens are being counted: {answers.counted.share:.0%}.", again=True
                )
        except PremaskError as error:
            status, page = HTTPStatus.CONFLICT, _small_page(name, str(error))
        found = _POLICY.search(page)
        policy = f"{found[1]}; frame-ancestors 'none'" if found else _NOTHING
        extra = {"Content-Security-Policy": policy}
        self._send(status, page.encode("utf-8", "replace"), "text/html; charset=utf-8", extra)

    def _send_json(self, status: HTTPStatus, value: Any) -> None:
        content = json.dumps(value).encode()
        if len(content) > ANSWER_BYTES:
            status, text = HTTPStatus.CONFLICT, f"it has {len(content):,} bytes, too many to be shown"
            content = json.dumps({"error": text}).encode()
        self._send(status, content, "application/json")

    def _send_error(self, status: HTTPStatus, text: str, extra: Mapping[str, str] | None = None) -> None:
        self._send(status, json.dumps({"error": text}).encode(), "application/json", extra)

    def _send(
        self, status: HTTPStatus, content: bytes, kind: str, extra: Mapping[str, str] | None = None
    ) -> None:
        self.send_response(status)
        headers = {"Content-Security-Policy": _NOTHING, **_HEADERS, **(extra or {})}
        for name, value in {**headers, "Content-Type": kind, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        if status >= HTTPStatus.BAD_REQUEST:  # what follows of the request was not read
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def send_error(self, code: int, *_: str | None, **__: str | None) -> None:
        """Answer a request that cannot be read, or whose method is none of `GET` and `HEAD`."""
        if code == HTTPStatus.NOT_IMPLEMENTED:
            code = HTTPStatus.METHOD_NOT_ALLOWED
        extra = {"Allow": ", ".join(_METHODS)} if code == HTTPStatus.METHOD_NOT_ALLOWED else None
        self._send_error(HTTPStatus(code), HTTPStatus(code).phrase, extra)

    def log_message(self, *_: object) -> None:
        """Print nothing."""


def _asked(query: str) -> dict[str, str]:
    """The names and values of a query. Raises `BadQuestionError` if they are too many."""
    try:
        return dict(parse_qsl(query, keep_blank_values=True, max_num_fields=32))
    except ValueError as error:
        raise BadQuestionError(str(error)) from None


def _small_page(name: str, text: str, *, again: bool = False) -> str:
    """A page of one sentence, which may load itself again."""
    refresh = '<meta http-equiv="refresh" content="1">' if again else ""
    return (
        f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">{refresh}<meta name="viewport" '
        'content="width=device-width"><meta name="color-scheme" content="light dark">'
        f"<title>{escape(visible(name))}</title></head>"
        f"<body><h1>{escape(visible(name))}</h1><p>{escape(visible(text))}</p></body></html>"
    )
