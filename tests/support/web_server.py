"""A web server on the loopback interface."""

from __future__ import annotations

import base64
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from s3_server import bucket, s3  # noqa: F401  fixtures


class Web:
    """A web server of a few files; `asked` are the requests. With ETags, and ranges of bytes. It can be `busy`
    (503), answer with another `status`, whose reason is what it `says`, or `cut` each answer in the middle. It
    can be `silent` before its answers, or in the middle of their `body`. It may want a `password` (of anybody)
    or a `signature` somewhere in the query. `pause` is how long it waits in the middle of a body."""

    def __init__(self) -> None:  # noqa: C901  the handler is in it
        self.files: dict[str, bytes] = {}
        self.asked: list[tuple[str, str, str | None]] = []
        self.connections: set[tuple[str, int]] = set()
        self.etags, self.busy, self.cut = True, False, False
        self.status, self.says, self.silent, self.pause = 0, "", "", 0.0
        self.password, self.signature, self.over = "", "", threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                given = self.headers.get("Range")
                outer.asked.append((self.command, self.path, given))
                outer.connections.add(self.client_address)
                content = outer.files.get(self.path.partition("?")[0].partition(";")[0])
                if outer.silent == "all":
                    outer.over.wait()
                    return
                if outer.busy or outer.status or not self._is_allowed():
                    self.send_error(outer.status or (503 if outer.busy else 403), outer.says or None)
                    return
                status = 404 if content is None else 206 if given else 200
                content = content or b""
                begin, end = 0, len(content)
                if given:
                    first, _, last = given.removeprefix("bytes=").partition("-")
                    begin, end = int(first), min(int(last) + 1 if last else end, end)
                self.send_response(status)
                self.send_header("Content-Length", str(end - begin))
                self.send_header("Accept-Ranges", "bytes")
                if outer.etags:
                    self.send_header("ETag", f'"{hash(content)}"')
                if given:
                    self.send_header("Content-Range", f"bytes {begin}-{end - 1}/{len(content)}")
                self.end_headers()
                if self.command == "GET":
                    half = (begin + end) // 2
                    self.wfile.write(content[begin:half])
                    if outer.silent == "body":
                        outer.over.wait()
                    time.sleep(outer.pause)
                    self.wfile.write(b"" if outer.cut else content[half:end])
                    self.close_connection = outer.cut

            def _is_allowed(self) -> bool:
                given = self.headers.get("Authorization", "").removeprefix("Basic ")
                password = base64.b64decode(given).decode().partition(":")[2]
                return password.endswith(outer.password) and outer.signature in self.path

            do_HEAD = do_GET  # noqa: N815  the library's name

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Web:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self._server.shutdown()
        self._server.server_close()

    def fetched(self) -> list[str]:
        return [path for command, path, given in self.asked if command == "GET" and not given]
