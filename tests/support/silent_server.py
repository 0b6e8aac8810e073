"""A server on the loopback interface that accepts connections and never says anything."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress


class Silent:
    """It takes what is sent, so that no buffer fills up."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"

    def __enter__(self) -> Silent:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                link, _ = self._socket.accept()
                threading.Thread(target=self._take, args=(link,), daemon=True).start()

    def _take(self, link: socket.socket) -> None:
        with suppress(OSError), link:
            while link.recv(1 << 16):
                pass
