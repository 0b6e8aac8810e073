"""Push a finished output to a dataset repo of the Hugging Face Hub: one commit, or none.

    result = push_to_hub(Path("out/chats"), HubTarget("org/name", private=True))
    result.commit                               # the commit's URL; None if the repo held all of it

Sending is huggingface_hub's: shards are preuploaded as they are, a few at a time, into the Hub's storage,
where nobody sees them yet. Then a single commit puts all files in place and removes stale ones. So readers
see the old dataset or the new one. (`upload_folder` cannot promise that: it commits 250 files at a time,
README.md with the first, and fails if the answer to a commit is lost.) A push that was stopped has changed
nothing, and the next one does not send again what arrived. The commit names the one that it was compared
with as its parent: what others push meanwhile is not overwritten.

What belongs to premask in a repo: `manifest.json`, `README.md`, `tokenizer/`, and `*.parquet` in `packed/`,
`unpacked/`, `rejects/`, `lineage/`. Other files are never touched. Of a README that a person has edited, the
front-matter keys that ours lacks (a license, a language) and its tags stay; its text is replaced (the repo's
history has it).

Cost: the output is read twice, once to check it and once to send it; about ten requests beside the data.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, constants, get_token
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id

from ..core.errors import PushError
from ..output.dataset import LocalFile, front_matter_of, open_dataset
from ..output.sending import Finished, PushResult, Report
from .card_lint import card_notes
from .card_use import at_repo
from .hub_repo import HubRepo, Remote, quiet
from .merge_readme import merge_readme, split_readme
from .without_rejects import left_out_note, to_send

_AT_ONCE = 8  # files that are sent between two reports
_DATA = re.compile(r"\.(parquet|jsonl?|csv|tsv|arrow|txt|zip|tar|gz|zst)$", re.IGNORECASE)


# ==== What is asked for ====


@dataclass(frozen=True, slots=True)
class HubTarget:
    """Where a push goes. `tag` is set after it; `content_revision` names the branch by the run key;
    `with_rejects` sends the reject log, too."""

    repo_id: str
    private: bool = False
    revision: str | None = None
    tag: str | None = None
    content_revision: bool = False
    overwrite: bool = False
    with_rejects: bool = False


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


def push_to_hub(out: Path, target: HubTarget, *, report: Report = lambda *_: None) -> PushResult:
    """Make a dataset repo hold exactly this output (beside files that are not premask's), in one commit.

    The repo, and a branch that is asked for, are made if they are missing. Nothing is committed if the repo
    holds the output already. `report` is called as files are sent.

    Raises `OutputError` if the output is not whole, before anything is sent; `PushError` for everything
    that is wrong between here and there.
    """
    if target.revision and target.content_revision:
        raise PushError("--revision and --content-revision both name the branch; give one of them")
    open_dataset(out)  # a wrong path is said before a missing token
    token = check_access()
    with to_send(out, with_rejects=target.with_rejects) as finished, quiet():
        repo = HubRepo(target.repo_id, token)
        return _Push(finished, target, repo, report).run()


# ==== The push ====

Operation = CommitOperationAdd | CommitOperationDelete
Commit = tuple[str, str]
"""A commit that was made: its hash and its URL."""


@dataclass(slots=True)
class _Push:
    """One push: what it needs to know, and its steps in order (`run`)."""

    finished: Finished
    target: HubTarget
    repo: HubRepo
    report: Report
    notes: list[str] = field(default_factory=list)

    @property
    def branch(self) -> str:
        named = self.finished.content_name if self.target.content_revision else self.target.revision
        return named or constants.DEFAULT_REVISION

    def run(self) -> PushResult:
        self._make_repo()
        refs = self.repo.call("reading the branches", self.repo.api.list_repo_refs)
        tags = {ref.name: ref.target_commit for ref in refs.tags}
        self._check_branch(tags)
        is_new = self.branch not in {ref.name for ref in refs.branches}
        revision = constants.DEFAULT_REVISION if is_new else self.branch
        remote = self.repo.read(revision)
        self._refuse_foreign(remote)
        readme, files = self._merged_readme(remote), self.finished.files
        add, stale = [file for file in files if not remote.holds(file, readme)], remote.stale(files)
        self._check_tag(tags, remote.sha, changes=bool(add or stale))
        head, url = remote.sha, None
        if add or stale:
            sent = list(self._send(add, readme, revision))
            removals = [CommitOperationDelete(path, is_folder=False) for path in stale]
            head, url = self._commit([*sent, *removals], remote.sha, is_new=is_new)
        elif is_new:
            self._make_branch(remote.sha)
        self._set_tag(tags, head)
        return self._result(add, stale, url, changed=url is not None or is_new)

    # ---- before anything is sent

    def _make_repo(self) -> None:
        """Make the repo unless it is there; a public repo is refused where a private one was asked for."""
        info = self.repo.info()
        if info is None:
            make = self.repo.api.create_repo
            self.repo.call("making the repo", make, private=self.target.private, exist_ok=True)
            info = self.repo.info()
        if info is None:
            raise PushError(
                f"the name {self.repo.id} is taken on the Hub, but not by a dataset that this token may "
                "see; choose another name, or a token with access"
            )
        if self.target.private and not info.private:
            raise PushError(
                f"{self.repo.id} exists and is public, so --private cannot be kept; nothing was "
                "sent: make it private in its settings, or choose another name"
            )

    def _check_branch(self, tags: Mapping[str, str]) -> None:
        if self.branch in tags or re.fullmatch("[0-9a-f]{40}", self.branch):
            raise PushError(f"--revision {self.branch} is a tag or a commit; name a branch")
        if self.branch.startswith("refs/"):
            raise PushError(f"--revision {self.branch} is not a branch; name one, such as main")

    def _refuse_foreign(self, remote: Remote) -> None:
        """Refuse to turn somebody else's dataset into this one, unless that is asked for."""
        if remote.ours or self.target.overwrite:
            return
        data = sorted(path for path in remote.files if _DATA.search(path))
        data += ["README.md"] if split_readme(remote.readme)[1].strip() else []
        if data:
            raise PushError(
                f"{self.repo.id} holds {data[0]}, which premask has not pushed; nothing was sent: "
                "choose another name, or pass --overwrite to make it this dataset"
            )

    def _merged_readme(self, remote: Remote) -> bytes:
        """Return our README with the name of the repo, and with what a person has added to the front matter
        of the one that is there."""
        ours = self.finished.files[-1].local.read_text(encoding="utf-8")
        branch = "" if self.branch == constants.DEFAULT_REVISION else self.branch
        ours = at_repo(ours, self.finished.manifest.layouts, self.target.repo_id, branch)
        merged, kept = merge_readme(ours, remote.readme)
        if kept:
            self.notes.append(f"README.md of the repo keeps {', '.join(kept)}; the rest of it is ours")
        front = front_matter_of(merged.encode()) or {}
        self.notes += [note for note in card_notes(front, self.finished.manifest) if note not in self.notes]
        return merged.encode()

    def _check_tag(self, tags: Mapping[str, str], sha: str, *, changes: bool) -> None:
        tag = self.target.tag
        if tag is not None and tag in tags and (changes or tags[tag] != sha):
            raise PushError(
                f"the tag {tag} exists already, at commit {tags[tag][:8]}, and tags are not moved; "
                "nothing was sent: choose another --tag, or delete that one"
            )

    # ---- sending

    def _send(self, files: Sequence[LocalFile], readme: bytes, revision: str) -> Iterator[Operation]:
        """Send large files to the Hub's storage; yield the operations that will put all files in place."""
        done, total = 0, sum(file.bytes for file in files)
        for start in range(0, len(files), _AT_ONCE):
            self.report(start, len(files), done, total)
            batch = {file: _addition(file, readme) for file in files[start : start + _AT_ONCE]}
            self._upload([*batch.values()], revision)
            for file, addition in batch.items():
                self._check_sent(file, addition)
                yield addition
            done += sum(file.bytes for file in batch)
        self.report(len(files), len(files), done, total)

    def _upload(self, additions: Sequence[CommitOperationAdd], revision: str) -> None:
        doing, send = f"sending {additions[0].path_in_repo}", self.repo.api.preupload_lfs_files
        self.repo.call(doing, send, additions, revision=revision, free_memory=False)

    def _check_sent(self, file: LocalFile, addition: CommitOperationAdd) -> None:
        """Raise if a file was not sent as it was checked."""
        file.unchanged()
        if file.path != "README.md" and addition.upload_info.sha256.hex() != file.sha256:
            raise PushError(f"{file.local} was changed while it was being pushed; run the command again")
        if getattr(addition, "_should_ignore", False):  # create_commit leaves such a file out without a word
            raise PushError(f"the .gitignore of {self.repo.id} keeps {file.path} out; remove that rule there")

    def _commit(self, operations: Sequence[Operation], parent: str, *, is_new: bool) -> Commit:
        """Commit on top of `parent`; a branch made for that is removed if it fails, as it has no content."""

        def commit() -> Commit:
            counts = self.finished.manifest.counts
            info = self.repo.api.create_commit(
                self.repo.id,
                operations,
                commit_message=f"Data of run {self.finished.run_key[:16]}",
                commit_description=f"{counts.kept} conversations, {counts.tokens} tokens, by premask",
                repo_type="dataset",
                revision=self.branch,
                parent_commit=parent,
            )
            return str(info.oid), str(info.commit_url)

        if is_new:
            self._make_branch(parent)
        try:
            return self.repo.once("the commit", commit, lambda: self._arrived(parent))
        except BaseException:
            if is_new:
                with suppress(Exception):
                    self._remove_branch(parent)
            raise

    def _arrived(self, parent: str) -> Commit | None:
        """Return the commit if it has arrived after all; raise if somebody else has committed instead."""
        remote = self.repo.read(self.branch)
        if remote.sha == parent:
            return None
        readme, files = self._merged_readme(remote), self.finished.files
        if remote.stale(files) or not all(remote.holds(file, readme) for file in files):
            raise PushError(
                f"somebody else has pushed to {self.repo.id} meanwhile, and nothing of this push is "
                "there: look at it, then run the same command again"
            )
        return remote.sha, f"{self.repo.api.endpoint}/datasets/{self.repo.id}/commit/{remote.sha}"

    # ---- branches and tags

    def _make_branch(self, start: str) -> None:
        make = self.repo.api.create_branch
        self.repo.call("making the branch", make, branch=self.branch, revision=start, exist_ok=True)

    def _remove_branch(self, head: str) -> None:
        """Remove the branch if nobody has committed to it."""
        info = self.repo.api.repo_info(self.repo.id, repo_type="dataset", revision=self.branch)
        if info.sha == head:
            self.repo.api.delete_branch(self.repo.id, branch=self.branch, repo_type="dataset")

    def _set_tag(self, tags: Mapping[str, str], head: str) -> None:
        tag = self.target.tag
        if tag is None or tag in tags:
            return
        try:
            self.repo.call("setting the tag", self.repo.api.create_tag, tag=tag, revision=head, exist_ok=True)
        except PushError as error:
            raise PushError(f"the data is pushed, but the tag {tag} is not set: {error}") from error

    # ---- afterwards

    def _result(
        self, sent: Sequence[LocalFile], stale: Sequence[str], commit: str | None, *, changed: bool
    ) -> PushResult:
        name, files, main = self.repo.id, self.finished.files, self.branch == constants.DEFAULT_REVISION
        layout, at = self.finished.manifest.recipe["layout"][0], f', revision="{self.branch}"'
        call = f'load_dataset("{name}", "{layout}", split="train"{"" if main else at})'
        sent_bytes = sum(file.bytes for file in sent)
        others = [f"{each} is not part of the output and was not pushed" for each in self.finished.others]
        return PushResult(
            where=f"{name} on the Hub" + ("" if main else f", branch {self.branch}"),
            changed=changed,
            sent=len(sent),
            sent_bytes=sent_bytes,
            kept=len(files) - len(sent),
            kept_bytes=sum(file.bytes for file in files) - sent_bytes,
            removed=tuple(stale),
            commit=commit,
            load=f"from datasets import load_dataset; {call}",
            notes=(*left_out_note(self.finished), *others, *self._still_in_history(stale), *self.notes),
        )

    def _still_in_history(self, stale: Sequence[str]) -> Iterator[str]:
        if any(path.startswith("rejects/") for path in stale) and self.finished.manifest.rejects_left_out:
            yield f"rejects/ was removed, but stays in the history of {self.repo.id}"


def _addition(file: LocalFile, readme: bytes) -> CommitOperationAdd:
    content = readme if file.path == "README.md" else str(file.local)
    return CommitOperationAdd(path_in_repo=file.path, path_or_fileobj=content)
