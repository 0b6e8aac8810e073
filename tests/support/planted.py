"""Secrets in URLs and in the environment, planted to be looked for in all that a command writes and prints.

    python tests/support/planted.py             # a table: each shape, and where it was found

They are made anew in each process, so that none lies in a file of the project.
"""

from __future__ import annotations

import base64
import secrets
import string
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet as pq

_LETTERS = string.ascii_letters + string.digits


def _letters(count: int, of: str = _LETTERS) -> str:
    return "".join(secrets.choice(of) for _ in range(count - 1)) + "7"


QUERY = [
    "token", "access_token", "sig", "sas", "pw", "password", "auth", "code", "key", "api_key", "apikey", "TOKEN",
    "X-Amz-Signature", "X-Amz-Credential", "X-Amz-Security-Token", "X-Goog-Signature", "Policy", "Signature",
    "Key-Pair-Id", "session", "jwt", "to%6Ben", "q",
]  # fmt: skip
"""Keys of a query that hold a secret."""

IN_URLS = [
    "user",
    "password of user",
    *(f"?{key}=" for key in QUERY),
    "?revision= (a known shape)",
    ";key=",
    "#",
]

ENVIRONMENT = {
    "HF_TOKEN": lambda: f"h{'f_'}{_letters(34)}",
    "HUGGING_FACE_HUB_TOKEN": lambda: f"h{'f_'}{_letters(34)}",
    "AWS_ACCESS_KEY_ID": lambda: f"AK{'IA'}{_letters(16, string.ascii_uppercase)}",
    "AWS_SECRET_ACCESS_KEY": lambda: f"{_letters(20)}/+{_letters(18)}",
    "AWS_SESSION_TOKEN": lambda: f"{_letters(60)}==",
    "GOOGLE_API_KEY": lambda: f"AI{'za'}{_letters(35)}",
    "AZURE_STORAGE_KEY": lambda: f"{_letters(40)}==",
    "GITHUB_TOKEN": lambda: f"gh{'p_'}{_letters(36)}",
    "OPENAI_API_KEY": lambda: f"s{'k-'}proj-{_letters(40)}",
    "DATABASE_PASSWORD": lambda: f"{_letters(6)} {_letters(6)}",
    "PRIVATE_KEY": lambda: f"-----BEGIN {'PRIVATE KEY'}-----\n{_letters(64)}\n-----END {'PRIVATE KEY'}-----",
}


class Planted:
    """All secrets, or that of one shape: in a URL, and in the environment."""

    def __init__(self, *shapes: str) -> None:
        self._shapes = shapes or (*IN_URLS, *ENVIRONMENT)
        self.secrets = {
            shape: ENVIRONMENT[shape]() if shape in ENVIRONMENT else _letters(24) for shape in self._shapes
        }
        if "?revision= (a known shape)" in self.secrets:
            self.secrets["?revision= (a known shape)"] = f"h{'f_'}{_letters(34)}"

    @property
    def environ(self) -> dict[str, str]:
        return {name: secret for name, secret in self.secrets.items() if name in ENVIRONMENT}

    @property
    def text(self) -> str:
        """A text that quotes all of them, in one line."""
        return " ".join(
            f"{secret.splitlines()[-2 if chr(10) in secret else 0]}" for secret in self.secrets.values()
        )

    def url(self, url: str) -> str:
        """A web URL with those that belong there."""
        have = self.secrets
        user = have.get("user", "me") + (f":{have['password of user']}" if "password of user" in have else "")
        if "user" in have or "password of user" in have:
            url = url.replace("://", f"://{user}@")
        url += f";key={have[';key=']}" if ";key=" in have else ""
        pairs = [
            f"{shape[1:].partition('=')[0]}={secret}"
            for shape, secret in have.items()
            if shape.startswith("?")
        ]
        url += f"?{'&'.join(pairs)}" if pairs else ""
        return url + (f"#{have['#']}" if "#" in have else "")

    def found(self, texts: Mapping[str, bytes]) -> set[tuple[str, str]]:
        """Which shapes are in which of some named texts, in any form."""
        return {
            (shape, name)
            for name, text in texts.items()
            for shape, secret in self.secrets.items()
            if any(form in text for form in self._forms(secret))
        }

    def _forms(self, secret: str) -> Iterator[bytes]:
        lines = [line for line in secret.splitlines() if not line.startswith("-----")]
        user = ":".join(self.secrets.get(name, "me") for name in ("user", "password of user"))
        for text in (
            *lines,
            quote(secret),
            quote(secret, safe=""),
            base64.b64encode(secret.encode()).decode(),
        ):
            yield text.encode()
        if user.endswith(secret):
            yield base64.b64encode(user.encode())


def texts_below(folder: Path) -> Iterator[tuple[str, bytes]]:
    """The names and the readable content of all files of a folder, hidden ones too."""
    for path in folder.rglob("*"):
        if path.is_symlink():
            yield str(path), str(path.readlink()).encode()
        elif path.is_file():
            yield str(path.relative_to(folder)), path.name.encode() + path.read_bytes() + _rows(path)


def _rows(path: Path) -> bytes:
    if path.suffix == ".parquet":
        table = pq.read_table(path)
    elif path.suffix == ".arrow":
        is_file = path.read_bytes().startswith(b"ARROW1")
        table = (pa.ipc.open_file if is_file else pa.ipc.open_stream)(path.read_bytes()).read_all()
    else:
        return b""
    return f"{table.to_pylist()} {table.schema.metadata}".encode()


# ==== The table ====


def main() -> None:
    """Print where each shape is found after a run that works and one that fails."""
    from commands import TOKENIZER, premask  # noqa: PLC0415
    from web_server import Web  # noqa: PLC0415

    total = 0
    for shape in (*IN_URLS, *ENVIRONMENT):
        planted, places = Planted(shape), []
        for status in (0, 403):
            with tempfile.TemporaryDirectory() as name, Web() as web:
                folder = Path(name)
                web.files["/a.jsonl"] = _LINE * 5 + b'{"messages": 5}\n'
                web.status, web.says = status, planted.text[:200]
                recipe = folder / "recipe.yaml"
                out = folder / "work" / "out"
                out.parent.mkdir()
                recipe.write_text(
                    f"sources: ['{planted.url(f'{web.url}/a.jsonl')}']\ntokenizer: {TOKENIZER}\noutput: {out}\n"
                    f"cache: {out.parent / 'rows'}\n"
                )
                environ = {**planted.environ, "PREMASK_CACHE": str(folder / "work" / "cache")}
                done = premask("run", recipe, **environ)
                texts = dict(texts_below(folder / "work"))
                texts |= {"stdout": done.out.encode(), "stderr": done.err.encode()}
                places += [f"{status or 'works'}: {place}" for _, place in planted.found(texts)]
                if done.code and not status:
                    places.append("(the run is refused)")
        leaks = [place for place in places if not place.startswith("(")]
        total += len(leaks)
        sys.stdout.write(f"{shape:28} {len(leaks):3}  {', '.join(sorted(places))[:150]}\n")
    sys.stdout.write(f"in all {total}\n")


_LINE = b'{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}\n'

if __name__ == "__main__":
    main()
