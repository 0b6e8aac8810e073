"""Push a finished output to a dataset repository of the Hugging Face Hub: one commit, or none.

    result = push_to_hub(Path("out/chats"), "org/name", private=True)
    result.commit                                   # the commit's URL; None if the repo held all of it

The shards are sent as they are, a few at a time, into the Hub's storage, where nobody sees them yet; then a
single commit puts all files in place and removes those of an earlier push. So readers see the old dataset or
the new one. A push that was stopped has changed nothing, and the next one does not send again what arrived.
The commit names the one it was compared with as its parent: what others push in between is not overwritten.

What belongs to premask in a repo: `manifest.json`, `README.md`, `tokenizer/`, and `*.parquet` in `packed/`,
`unpacked/`, `rejects/`, `lineage/`. Other files are never touched. Of a README that a person has edited, the
keys of the front matter that ours lacks (a licence, a language) and its tags stay; its text is replaced (the
repo's history has it).

huggingface_hub itself repeats requests that fail, five times; where it does not (create, commit, branch,
tag), this module does. Its log and progress bars are off, because they print signed URLs. Cost: reading the
output twice, once to check it and once to send it; about ten requests beside the data.
"""

from __future__ import annotations

import logging
import re
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml
from huggingface_hub import (
    CommitOperationAdd,
    CommitOperationDelete,
    HfApi,
    constants,
    get_token,
)
from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils import (
    are_progress_bars_disabled,
    disable_progress_bars,
    enable_progress_bars,
    validate_repo_id,
)
from huggingface_hub.utils import logging as hub_logging

from ..core.errors import PushError
from ..core.manifest import is_manifest
from ..output.dataset import LocalFile
from ..output.sending import Finished, PushResult, Report, is_ours, read_finished

_TRIES = 4
_LONGEST_WAIT_S = 60
_BATCH_FILES, _BATCH_BYTES = 8, 256 << 20
_TRANSIENT = {408, 429, 500, 502, 503, 504}
_AGAIN = "run the same command again, it goes on where it stopped"
_DATA = re.compile(r"\.(parquet|jsonl?|csv|tsv|arrow|txt|zip|tar|gz|zst)$", re.IGNORECASE)

Result = TypeVar("Result")


# ==== What is asked for ====


@dataclass(frozen=True, slots=True)
class HubTarget:
    """Where a push goes. `tag` is set after it; `content_revision` names the branch by the run key."""

    repo_id: str
    private: bool = False
    revision: str | None = None
    tag: str | None = None
    content_revision: bool = False
    overwrite: bool = False


def parse_repo_id(target: str) -> str:
    """Return `org/name` of a target, raising `PushError` if it is not the name of a dataset repo.

    >>> parse_repo_id("hf://datasets/org/name")
    'org/name'
    """
    if target.startswith("hf://") and not target.startswith("hf://datasets/"):
        raise PushError(f"{target} is no dataset; write org/name, or hf://datasets/org/name")
    repo_id = target.removeprefix("hf://datasets/").strip("/") if target.startswith("hf://") else target
    if "@" in repo_id:
        raise PushError(f"{target}: name the branch with --revision")
    try:
        validate_repo_id(repo_id)
    except HFValidationError:
        repo_id = ""
    if repo_id.count("/") != 1:
        raise PushError(
            f"{target!r} is no name of a repo on the Hub; write org/name with letters, digits, '-', '_' and "
            "'.', or the URL of a store (s3://bucket/folder; file:///folder for a folder)"
        )
    return repo_id


def check_access() -> str:
    """Return the token of the environment or the saved login; raise `PushError` if a push cannot work."""
    if constants.HF_HUB_OFFLINE:
        raise PushError("HF_HUB_OFFLINE is set, so nothing can be pushed; unset it")
    token = get_token()
    if not token:
        raise PushError("there is no token for the Hub: set HF_TOKEN, or log in once with 'hf auth login'")
    if not (token.isascii() and token.isprintable() and " " not in token):
        raise PushError("the token for the Hub holds characters that no token has; set HF_TOKEN anew")
    return token


def push_to_hub(out: Path, target: HubTarget, *, report: Report | None = None) -> PushResult:
    """Make a dataset repo hold exactly this output (beside files that are not premask's), in one commit.

    The repo, and a branch that is asked for, are made if they are missing. Nothing is committed if the repo
    holds the output already. `report` is called as files are sent.

    Raises `OutputError` if the output is not whole, before anything is sent; `PushError` for everything
    that is wrong between here and there.
    """
    if target.revision and target.content_revision:
        raise PushError("--revision and --content-revision both name the branch; give one of them")
    token = check_access()
    finished = read_finished(out)
    with _quiet():
        return _Push(finished, target, token, report or (lambda *_: None)).run()


# ==== The push ====


@dataclass(frozen=True, slots=True)
class _Remote:
    """A revision of the repo as it was read: all its files, and the README and manifest that are in it."""

    sha: str
    files: Mapping[str, RepoFile]
    readme: str
    ours: bool


class _Push:
    """One push: what it needs to know, and its steps in order (`run`)."""

    def __init__(self, finished: Finished, target: HubTarget, token: str, report: Report) -> None:
        self._finished, self._target, self._report = finished, target, report
        self._repo = target.repo_id
        self._calls = _Calls(target.repo_id, token)
        self._api = HfApi(token=token)
        named = finished.content_name if target.content_revision else target.revision
        self._branch = named or constants.DEFAULT_REVISION
        self._notes = [f"{name} is no part of the output and was not pushed" for name in finished.others]

    def run(self) -> PushResult:
        self._make_repo()
        branch_is_there = self._look_at_refs()
        read = self._branch if branch_is_there else constants.DEFAULT_REVISION
        remote = self._read(read)
        self._refuse_foreign(remote)
        readme = self._merged_readme(remote)
        add = [file for file in self._finished.files if not self._same(file, remote, readme)]
        stale = self._stale(remote)
        self._check_tag(remote.sha, changes=bool(add or stale))
        head, commit = remote.sha, None
        if add or stale:
            operations: list[Any] = [*self._send(add, readme, revision=read)]
            operations += [CommitOperationDelete(path, is_folder=False) for path in stale]
            head, commit = self._commit(operations, remote.sha, make_branch=not branch_is_there)
        elif not branch_is_there:
            self._make_branch(remote.sha)
        if self._target.tag and self._target.tag not in self._tags:
            self._set_tag(head)
        kept = [file for file in self._finished.files if file not in add]
        return PushResult(
            where=f"{self._repo} on the Hub" + ("" if self._branch == "main" else f", branch {self._branch}"),
            changed=bool(commit) or not branch_is_there,
            sent=len(add),
            sent_bytes=sum(file.bytes for file in add),
            kept=len(kept),
            kept_bytes=sum(file.bytes for file in kept),
            removed=tuple(stale),
            commit=commit,
            load=self._load(),
            notes=tuple(self._notes),
        )

    # ---- before anything is sent

    def _make_repo(self) -> None:
        """Make the repo unless it is there; a public repo is refused where a private one was asked for."""
        info = self._info()
        if info is None:
            self._calls.patiently(
                "making the repo",
                lambda: self._api.create_repo(
                    self._repo, repo_type="dataset", private=self._target.private, exist_ok=True
                ),
            )
            info = self._info()
            if info is None:
                raise PushError(
                    f"the name {self._repo} is taken on the Hub, but not by a dataset that this token may "
                    "see; choose another name, or a token with access"
                )
        if self._target.private and not info.private:
            raise PushError(
                f"{self._repo} is there already and is public, so --private cannot be kept; nothing was "
                "sent: make it private in its settings, or choose another name"
            )

    def _info(self) -> Any:
        """Return what the Hub knows of the repo, None if there is no dataset of that name."""
        try:
            return self._calls.patiently(
                "reading the repo", lambda: self._api.repo_info(self._repo, repo_type="dataset")
            )
        except _NotFoundError:
            return None

    def _look_at_refs(self) -> bool:
        """Read branches and tags; return whether the branch is there."""
        refs = self._calls.patiently(
            "reading the branches", lambda: self._api.list_repo_refs(self._repo, repo_type="dataset")
        )
        self._tags = {ref.name: ref.target_commit for ref in refs.tags}
        if self._branch in self._tags or re.fullmatch("[0-9a-f]{40}", self._branch):
            raise PushError(f"--revision {self._branch} is a tag or a commit; name a branch")
        if self._branch.startswith("refs/"):
            raise PushError(f"--revision {self._branch} is no branch; name one, such as main")
        return self._branch in {ref.name for ref in refs.branches}

    def _read(self, revision: str) -> _Remote:
        info = self._calls.patiently(
            "reading the repo",
            lambda: self._api.repo_info(self._repo, repo_type="dataset", revision=revision),
        )
        sha = str(info.sha)
        tree = self._calls.patiently(
            "listing the repo",
            lambda: list(
                self._api.list_repo_tree(self._repo, repo_type="dataset", revision=sha, recursive=True)
            ),
        )
        files = {entry.path: entry for entry in tree if isinstance(entry, RepoFile)}
        readme = self._text("README.md", sha) if "README.md" in files else ""
        manifest = self._text("manifest.json", sha) if "manifest.json" in files else ""
        return _Remote(sha, files, readme, is_manifest(manifest))

    def _text(self, path: str, sha: str) -> str:
        """Return a small file of the repo, by way of a temporary folder: the user's cache stays as it is."""

        def read() -> str:
            with tempfile.TemporaryDirectory(prefix="premask-") as folder:
                found = self._api.hf_hub_download(
                    self._repo, path, repo_type="dataset", revision=sha, local_dir=folder
                )
                return Path(found).read_text(encoding="utf-8", errors="replace")

        return self._calls.patiently(f"reading {path}", read)

    def _refuse_foreign(self, remote: _Remote) -> None:
        """Somebody's dataset is not turned into another one, unless that is asked for."""
        if remote.ours or self._target.overwrite:
            return
        data = sorted(path for path in remote.files if _DATA.search(path))
        data += ["README.md"] if _split(remote.readme)[1].strip() else []
        if data:
            raise PushError(
                f"{self._repo} holds {data[0]}, which premask has not pushed; nothing was sent: "
                "choose another name, or pass --overwrite to make it this dataset"
            )

    def _merged_readme(self, remote: _Remote) -> bytes:
        """Our README, with what a person has added to the front matter of the one that is there."""
        ours = (self._finished.root / "README.md").read_text(encoding="utf-8")
        merged, kept = merge_readme(ours, remote.readme)
        if kept:
            self._notes.append(f"README.md of the repo keeps {', '.join(kept)}; the rest of it is ours")
        return merged.encode()

    def _same(self, file: LocalFile, remote: _Remote, readme: bytes) -> bool:
        there = remote.files.get(file.path)
        if there is None:
            return False
        if file.path == "README.md":
            return remote.readme.encode() == readme
        if there.lfs is not None:
            return bool(there.lfs.sha256 == file.sha256)
        return bool(there.blob_id == file.git)

    def _stale(self, remote: _Remote) -> list[str]:
        """Return the files of an earlier push that this output does not have."""
        now = {file.path for file in self._finished.files}
        return [path for path in sorted(set(remote.files) - now) if is_ours(path)]

    def _check_tag(self, sha: str, *, changes: bool) -> None:
        tag = self._target.tag
        if tag in self._tags and (changes or self._tags[tag] != sha):
            raise PushError(
                f"the tag {tag} is there already, at commit {self._tags[tag][:8]}, and tags are not moved; "
                "nothing was sent: choose another --tag, or delete that one"
            )

    # ---- sending

    def _send(self, files: Sequence[LocalFile], readme: bytes, *, revision: str) -> list[CommitOperationAdd]:
        """Put the large files into the Hub's storage; return the operations that will put them in place."""
        operations: list[CommitOperationAdd] = []
        total, done = sum(file.bytes for file in files), 0
        for batch in _batches(files):
            self._report(len(operations), len(files), done, total)
            additions = [_addition(file, readme) for file in batch]
            self._upload(additions, revision)
            for file, addition in zip(batch, additions, strict=True):
                file.unchanged()
                if getattr(addition, "_should_ignore", False):  # such a file is left out without a word
                    raise PushError(
                        f"the .gitignore of {self._repo} keeps {file.path} out; remove that rule there"
                    )
                if file.path != "README.md" and addition.upload_info.sha256.hex() != file.sha256:
                    raise PushError(f"{file.local} was changed while it was being pushed; run the same again")
            operations += additions
            done += sum(file.bytes for file in batch)
        self._report(len(operations), len(files), done, total)
        return operations

    def _upload(self, additions: list[CommitOperationAdd], revision: str) -> None:
        self._calls.patiently(
            f"sending {additions[0].path_in_repo}",
            lambda: self._api.preupload_lfs_files(
                self._repo, additions, repo_type="dataset", revision=revision, free_memory=False
            ),
        )

    def _commit(self, operations: list[Any], parent: str, *, make_branch: bool) -> tuple[str, str]:
        """Commit on top of `parent`; return the new commit and its URL."""
        if make_branch:
            self._make_branch(parent)
        try:
            return self._calls.commit(lambda: self._try_commit(operations, parent), self._arrived(parent))
        except BaseException:
            if make_branch:  # it would stand for a content that it does not have
                with suppress(Exception):
                    self._remove_branch(parent)
            raise

    def _remove_branch(self, head: str) -> None:
        """Remove the branch if nobody has committed to it."""
        info = self._api.repo_info(self._repo, repo_type="dataset", revision=self._branch)
        if info.sha == head:
            self._api.delete_branch(self._repo, branch=self._branch, repo_type="dataset")

    def _try_commit(self, operations: list[Any], parent: str) -> tuple[str, str]:
        counts = self._finished.manifest.counts
        info = self._api.create_commit(
            self._repo,
            operations,
            commit_message=f"Data of run {self._finished.run_key[:16]}",
            commit_description=f"{counts.kept} conversations, {counts.tokens} tokens, by premask",
            repo_type="dataset",
            revision=self._branch,
            parent_commit=parent,
        )
        return str(info.oid), str(info.commit_url)

    def _arrived(self, parent: str) -> Callable[[], tuple[str, str] | None]:
        """Look whether a commit whose answer was lost has arrived; raise if it was somebody else's."""

        def look() -> tuple[str, str] | None:
            remote = self._read(self._branch)
            if remote.sha == parent:
                return None
            readme = self._merged_readme(remote)
            if self._stale(remote) or not all(self._same(f, remote, readme) for f in self._finished.files):
                raise PushError(
                    f"somebody else has pushed to {self._repo} in the meantime; nothing of this push is to "
                    "be seen there: look at it, then run the same command again"
                )
            return remote.sha, f"{self._api.endpoint}/datasets/{self._repo}/commit/{remote.sha}"

        return look

    def _make_branch(self, start: str) -> None:
        self._calls.patiently(
            "making the branch",
            lambda: self._api.create_branch(
                self._repo, branch=self._branch, revision=start, repo_type="dataset", exist_ok=True
            ),
        )

    def _set_tag(self, head: str) -> None:
        tag = str(self._target.tag)
        try:
            self._calls.patiently(
                "setting the tag",
                lambda: self._api.create_tag(
                    self._repo, tag=tag, revision=head, repo_type="dataset", exist_ok=True
                ),
            )
        except PushError as error:
            raise PushError(f"the data is pushed, but the tag {tag} is not set: {error}") from error

    def _load(self) -> str:
        layout = self._finished.manifest.recipe["layout"][0]
        at = "" if self._branch == constants.DEFAULT_REVISION else f', revision="{self._branch}"'
        return (
            f'from datasets import load_dataset; load_dataset("{self._repo}", "{layout}", split="train"{at})'
        )


def _addition(file: LocalFile, readme: bytes) -> CommitOperationAdd:
    content = readme if file.path == "README.md" else str(file.local)
    return CommitOperationAdd(path_in_repo=file.path, path_or_fileobj=content)


def _batches(files: Sequence[LocalFile]) -> Iterator[list[LocalFile]]:
    batch: list[LocalFile] = []
    for file in files:
        if batch and (len(batch) == _BATCH_FILES or sum(f.bytes for f in batch) + file.bytes > _BATCH_BYTES):
            yield batch
            batch = []
        batch.append(file)
    if batch:
        yield batch


# ==== The card that is there ====


def merge_readme(ours: str, theirs: str) -> tuple[str, list[str]]:
    r"""Return our README with the front-matter keys that only theirs has, and its tags; and those keys.

    Merging again changes nothing, so an unchanged output is seen to be unchanged.

    >>> merge_readme("---\ntags: [a]\n---\nText", "---\nlicense: mit\ntags: [b]\n---\nOld")
    ('---\ntags:\n- a\n- b\nlicense: mit\n---\nText', ['license', 'tag b'])
    """
    (front, text), (there, _) = _split(ours), _split(theirs)
    mine, foreign = _mapping(front), _mapping(there)
    tags = [tag for tag in _texts(foreign.get("tags")) if tag not in _texts(mine.get("tags"))]
    added = {key: value for key, value in foreign.items() if key not in mine}
    kept = [*map(str, added), *(f"tag {tag}" for tag in tags if "tags" in mine)]
    if not kept:
        return ours, []
    merged = {**mine, **added}
    if "tags" in mine:
        merged["tags"] = [*_texts(mine["tags"]), *tags]
    return f"---\n{yaml.safe_dump(merged, sort_keys=False, allow_unicode=True)}---\n{text}", kept


def _split(readme: str) -> tuple[str, str]:
    """Return front matter and text of a README; the front matter may be absent."""
    found = re.match(r"---[ \t]*\r?\n(.*?\n)?---[ \t]*(?:\r?\n|$)", readme, re.DOTALL)
    return (found[1] or "", readme[found.end() :]) if found else ("", readme)


def _mapping(front: str) -> dict[str, Any]:
    try:
        value = yaml.safe_load(front)
    except yaml.YAMLError:
        return {}
    return value if isinstance(value, dict) else {}


def _texts(value: object) -> list[str]:
    return [str(each) for each in value] if isinstance(value, list) else []


# ==== Calls: what goes wrong, said in words; what passes, tried again ====


class _NotFoundError(PushError):
    """There is no such repo, or none that the token may see."""


class _Calls:
    """Calls to the Hub for one repo: repeated where that helps, and their errors as `PushError`."""

    def __init__(self, repo_id: str, token: str) -> None:
        self._repo, self._token = repo_id, token

    def patiently(self, doing: str, call: Callable[[], Result]) -> Result:
        """Return what `call` returns, tried up to four times while the Hub or the network fails."""
        for attempt in range(1, _TRIES + 1):
            try:
                return call()
            except PushError:
                raise
            except Exception as error:
                if attempt == _TRIES or not _passes(error):
                    raise self._explained(doing, error) from error
                time.sleep(self._wait(doing, error, attempt))
        raise AssertionError  # never: the loop ends by return or raise

    def commit(
        self, call: Callable[[], tuple[str, str]], arrived: Callable[[], tuple[str, str] | None]
    ) -> tuple[str, str]:
        """Commit once, whatever happens to the answer: before another try, look whether it arrived."""
        for attempt in range(1, _TRIES + 1):
            try:
                return call()
            except Exception as error:
                moved = _status(error) in {409, 412}
                if not moved and not _passes(error):
                    raise self._explained("the commit", error) from error
                wait = 0.0 if moved else self._wait("the commit", error, attempt)
                time.sleep(wait)
                if (done := arrived()) is not None:
                    return done
                if attempt == _TRIES:
                    raise self._explained("the commit", error) from error
        raise AssertionError  # never: the loop ends by return or raise

    def _wait(self, doing: str, error: Exception, attempt: int) -> float:
        """Return the seconds the server asks for, or 1, 2, 4; raise if it asks for more than a minute."""
        response = _response(error)
        asked = response.headers.get("retry-after", "") if response is not None else ""
        wait = float(asked) if asked.isdigit() else float(2 ** (attempt - 1))
        if wait > _LONGEST_WAIT_S:
            raise PushError(
                f"{doing}: the Hub asks to wait {wait:.0f} s (too many requests); "
                "run the same command again after that, it goes on where it stopped"
            ) from error
        return wait

    def _explained(self, doing: str, error: Exception) -> PushError:
        """Say an error in one line; without the token, whatever the libraries put into theirs."""
        status, text = _status(error), _first_line(error).replace(self._token, "***")
        if status is not None:
            return self._refused(doing, status, text, _cause(error))
        if _is_network(error):
            return PushError(f"{doing}: no connection to {constants.ENDPOINT} ({text}); {_AGAIN}")
        if (full := _os_error(error)) is not None:
            return PushError(
                f"{doing}: {full.filename or 'a file'}: {full.strerror}; check space and permissions of "
                f"{constants.HF_HOME} (HF_HOME) and of the folder for temporary files, then {_AGAIN}"
            )
        return PushError(f"{doing}: {text}; {_AGAIN}")

    def _refused(self, doing: str, status: int, text: str, cause: BaseException) -> PushError:
        """Say what an HTTP status means here."""
        if status == 401:
            return PushError(
                "the Hub does not know the token (401); make a new one with write access at "
                f"{constants.ENDPOINT}/settings/tokens and set HF_TOKEN, or log in again"
            )
        if status == 403:
            return PushError(
                f"the token may not write to {self._repo} (403: {text}); "
                "use one with write access to it, or another name"
            )
        if status == 404 and isinstance(cause, RepositoryNotFoundError):
            return _NotFoundError(f"there is no dataset {self._repo} on the Hub that this token may see")
        if status in _TRANSIENT:
            return PushError(f"{doing}: the Hub answers {status} ({text}); {_AGAIN}")
        return PushError(f"{doing}: the Hub refuses it with {status} ({text})")


def _passes(error: Exception) -> bool:
    """Whether the same call may work a moment later."""
    status = _status(error)
    return status in _TRANSIENT if status is not None else _is_network(error)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and what it came from."""
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__ or seen.__context__


def _response(error: BaseException) -> Any:
    """Return the HTTP response an error is about, None if there was none."""
    found = (getattr(each, "response", None) for each in _chain(error))
    return next((response for response in found if response is not None), None)


def _status(error: BaseException) -> int | None:
    response = _response(error)
    return None if response is None else int(response.status_code)


def _cause(error: BaseException) -> BaseException:
    """Return the error of the chain that has the response, or the last one."""
    chain = list(_chain(error))
    return next((each for each in chain if getattr(each, "response", None) is not None), chain[-1])


def _is_network(error: BaseException) -> bool:
    """Whether a connection failed: errors of the HTTP libraries that huggingface_hub uses, by version."""
    libraries = {"httpx", "httpx2", "httpcore", "httpcore2", "requests", "urllib3"}
    return any(
        type(each).__module__.split(".")[0] in libraries or isinstance(each, (ConnectionError, TimeoutError))
        for each in _chain(error)
    )


def _os_error(error: BaseException) -> OSError | None:
    chain = (each for each in _chain(error) if isinstance(each, OSError) and each.errno is not None)
    return next(chain, None)


def _first_line(error: BaseException) -> str:
    """Return what the server said, or the first line of the error that began it."""
    cause = _cause(error)
    said = getattr(cause, "server_message", None) or str(cause) or type(cause).__name__
    return next((line.strip() for line in str(said).splitlines() if line.strip()), type(cause).__name__)[:300]


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the libraries from printing: their log holds signed URLs."""
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
