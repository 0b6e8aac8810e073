"""A dataset repo of the Hub, by the calls of huggingface_hub.

    repo = HubRepo("org/name", token)
    remote = repo.read("main")                  # its files, and the README and manifest that are in it
    repo.call("making the branch", repo.api.create_branch, branch="b", exist_ok=True)

huggingface_hub repeats reads and uploads that fail, five times. It does not repeat what changes a repo
(create, commit, branch, tag), so all calls are repeated here, up to four times, after the pause that the
server asks for, but not if it does not answer at all (`core/hub.py`). What goes wrong is a `PushError`.
"""

from __future__ import annotations

import logging
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from huggingface_hub import HfApi
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars
from huggingface_hub.utils import logging as hub_logging

from ..core.errors import PushError
from ..core.hub import limit_waiting
from ..core.manifest import is_manifest
from ..output.dataset import LocalFile
from ..output.sending import is_ours
from .hub_errors import AGAIN, NotFoundError, explained, is_silent, is_transient, pause_of, status_of

_TRIES = 4
_LONGEST_WAIT_S = 60
_MOVED = (409, 412)

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Remote:
    """A revision of a repo: its commit, all files, the text of README.md, and whether premask pushed it."""

    sha: str
    files: Mapping[str, RepoFile]
    readme: str
    ours: bool

    def holds(self, file: LocalFile, readme: bytes) -> bool:
        """Return whether a file is there with the same content, which is `readme` for README.md."""
        there = self.files.get(file.path)
        if there is None:
            return False
        if file.path == "README.md":
            return self.readme.encode() == readme
        return bool(there.blob_id == file.git if there.lfs is None else there.lfs.sha256 == file.sha256)

    def stale(self, files: Sequence[LocalFile]) -> list[str]:
        """Return the files of an earlier push that are not among these."""
        return [path for path in sorted({*self.files} - {file.path for file in files}) if is_ours(path)]


class HubRepo:
    """A dataset repo; it need not exist yet."""

    def __init__(self, repo_id: str, token: str) -> None:
        limit_waiting()
        self.id, self.api = repo_id, HfApi(token=token)
        self._token = token

    def call(self, doing: str, method: Callable[..., Result], *args: Any, **keywords: Any) -> Result:
        """Return what a method of `api` returns for this repo. `doing` names it in messages."""
        return self.once(doing, lambda: method(self.id, *args, repo_type="dataset", **keywords))

    def once(
        self, doing: str, call: Callable[[], Result], arrived: Callable[[], Result | None] | None = None
    ) -> Result:
        """Return what `call` returns, tried up to four times while the Hub or the network fails.

        A call that must not be done twice has `arrived`: before another try it looks whether the last one
        was done, its answer was lost. It is also asked if the Hub says that the repo has changed.
        """
        for attempt in range(1, _TRIES + 1):
            try:
                return call()
            except PushError:
                raise
            except Exception as error:
                look = arrived is not None and (status_of(error) in _MOVED or is_silent(error))
                last = attempt == _TRIES and arrived is None
                if last or not (look or is_transient(error)):
                    raise explained(doing, error, self.id, self._token) from error
                time.sleep(0 if look else _wait(doing, error, attempt))
                if arrived is not None and (done := arrived()) is not None:
                    return done
                if attempt == _TRIES or is_silent(error):
                    raise explained(doing, error, self.id, self._token) from error
        raise AssertionError  # never: the loop ends by return or raise

    def info(self, revision: str | None = None) -> Any:
        """Return what the Hub knows of the repo, None if there is none that the token may see."""
        try:
            return self.call("reading the repo", self.api.repo_info, revision=revision)
        except NotFoundError:
            return None

    def read(self, revision: str) -> Remote:
        """Read a revision: one request for each 1000 files, and one each for README and manifest."""
        info = self.call("reading the repo", self.api.repo_info, revision=revision)
        sha = str(info.sha)
        tree = self.call("listing the repo", self._tree, revision=sha, recursive=True)
        files = {entry.path: entry for entry in tree if isinstance(entry, RepoFile)}
        readme, manifest = (
            self.call(f"reading {path}", self._text, path, revision=sha) if path in files else ""
            for path in ("README.md", "manifest.json")
        )
        return Remote(sha, files, readme, is_manifest(manifest))

    def _tree(self, *args: Any, **keywords: Any) -> list[Any]:
        return list(self.api.list_repo_tree(*args, **keywords))

    def _text(self, *args: Any, **keywords: Any) -> str:
        """Return a small file, by way of a temporary folder: the user's cache stays as it is."""
        with tempfile.TemporaryDirectory(prefix="premask-") as folder:
            found = self.api.hf_hub_download(*args, local_dir=folder, **keywords)
            return Path(found).read_text(encoding="utf-8", errors="replace")


def _wait(doing: str, error: Exception, attempt: int) -> float:
    """Return the seconds that the server asks for, or 1, 2, 4, 8; raise if it asks for more than a minute."""
    wait = pause_of(error)
    if wait is not None and wait > _LONGEST_WAIT_S:
        again = AGAIN.replace("again,", "again after that,")
        raise PushError(f"{doing}: the Hub asks to wait {wait:.0f} s (too many requests); {again}") from error
    return float(2 ** (attempt - 1)) if wait is None else wait


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the libraries from printing: their log and progress bars hold signed URLs."""
    level, bars = hub_logging.get_verbosity(), not are_progress_bars_disabled()
    hub_logging.set_verbosity(logging.CRITICAL)
    disable_progress_bars()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        hub_logging.set_verbosity(level)
        if bars:
            enable_progress_bars()
