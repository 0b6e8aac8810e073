"""Datasets of the Hugging Face Hub as sources: which files a dataset has, and their bytes at one commit.

    data_files  OWNER/NAME, config, split, revision -> URLs of its files
    list_url    hf:// URL, folder or pattern -> URLs of files
    pinned      hf:// URL -> the same at the commit that it means now
    fetch       pinned URL -> path in the Hub client's cache

Which files make up a config and a split is for the `datasets` library to say, which knows what a README
declares and how folders are read without one; the rows are then read by our own readers.

    data_files("org/name", None, "train", None)
    # ["hf://datasets/org/name@4f7c.../data/train-00000-of-00002.parquet", ...]

The token is that of `HF_TOKEN` or of `hf auth login`. Cost: `datasets` takes two seconds to import, and asks
the Hub about ten questions; a file that was fetched before is not fetched again.
"""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..core.errors import SourceError, first_line
from ..core.hub import limit_waiting
from . import remote
from .formats import is_data, known_suffixes

_PINNED = re.compile(r"hf://(?:datasets/)?[^/]+/[^/@]+@[0-9a-f]{40}/.+")


def data_files(name: str, config: str | None, split: str | None, revision: str | None) -> list[str]:
    """URLs of the files of a split of a dataset, in its order, at the commit that `revision` means now.

    Raises `SourceError` where the dataset, the config or the split is not there, access is not granted, or
    files are of a format that is not read.
    """
    with _explained(name, looked_here=True):
        commit = _commit(name, revision)
        builder = _builder(name, config, commit)
    splits = {str(key): [str(file) for file in files] for key, files in builder.config.data_files.items()}
    if split is None:
        split = "train" if "train" in splits or len(splits) != 1 else next(iter(splits))
    if split not in splits:
        raise SourceError(f"dataset {name} has no split {split!r}; there are: {', '.join(splits)}; name one")
    files = [_at_commit(file, name, commit) for file in splits[split]]
    if other := [file for file in files if not is_data(file)]:
        raise SourceError(
            f"dataset {name}: {other[0].rpartition('/')[2]} is of a format that is not read; known are "
            f"{known_suffixes()}; convert the dataset"
        )
    return files


def _commit(name: str, revision: str | None) -> str:
    from huggingface_hub import HfApi  # noqa: PLC0415  half a second to import

    return str(HfApi().dataset_info(name, revision=revision).sha)


def _builder(name: str, config: str | None, commit: str) -> Any:
    """What `datasets` makes of a config; where it finds none, the message lists those there are."""
    import datasets  # noqa: PLC0415  two seconds to import

    try:
        return datasets.load_dataset_builder(name, config, revision=commit)
    except ValueError as error:
        names = datasets.get_dataset_config_names(name, revision=commit)
        there = f"there are: {', '.join(names)}"
        if config is None and len(names) > 1:
            raise SourceError(f"dataset {name} needs a 'config'; {there}") from error
        if config is not None and config not in names:
            raise SourceError(f"dataset {name} has no config {config!r}; {there}") from error
        raise


def _at_commit(file: str, name: str, commit: str) -> str:
    """The URL of a data file as ours are written; a file of another place stays as it is."""
    path = re.fullmatch(rf"hf://datasets/{re.escape(name)}(?:@[^/]+)?/(.+)", file)
    return f"hf://datasets/{name}@{commit}/{path[1]}" if path else file


# ==== Files by URL ====


def list_url(url: str, wanted: Callable[[str], bool]) -> list[str]:
    """URLs of the files that an hf:// URL names, as `remote.list_url` does."""
    with _explained(url):
        return remote.list_url(url, wanted)


def pinned(url: str) -> str:
    """An hf:// URL at the commit that it means now, so that it cannot change any more."""
    if _PINNED.fullmatch(url):
        return url
    with _explained(url):
        from huggingface_hub import HfApi, HfFileSystem  # noqa: PLC0415

        found: Any = HfFileSystem().resolve_path(url)
        info = HfApi().repo_info(found.repo_id, repo_type=found.repo_type, revision=found.revision)
    kind = "datasets/" if found.repo_type == "dataset" else ""
    return f"hf://{kind}{found.repo_id}@{info.sha}/{found.path_in_repo}"


def commit_of(url: str) -> str:
    """The commit in a pinned URL.

    >>> commit_of("hf://datasets/org/name@4f7c/a.jsonl")
    '4f7c'
    """
    return url.partition("@")[2].partition("/")[0]


def fetch(url: str) -> str:
    """Path of the copy of a file in the Hub client's cache, fetched if it is not there."""
    found = re.fullmatch(r"hf://(datasets/)?([^/]+/[^/@]+)@([^/]+)/(.+)", url)
    if found is None:
        return remote.fetch(url)
    from huggingface_hub import hf_hub_download  # noqa: PLC0415

    kind = "dataset" if found[1] else "model"
    with _explained(url):
        return str(hf_hub_download(found[2], found[4], repo_type=kind, revision=found[3]))


# ==== Errors ====


@contextmanager
def _explained(what: str, *, looked_here: bool = False) -> Iterator[None]:
    """Turn errors of the Hub's libraries into a `SourceError` in one line; nothing else is printed."""
    here = f"'{what}' is no file here (looked from {Path.cwd()}), and as a dataset of the Hub: "
    start = here if looked_here else f"{what}: "
    limit_waiting()
    with _quiet():
        try:
            yield
        except SourceError:
            raise
        except Exception as error:
            raise SourceError(f"{start}{_why(error)}") from error


def _why(error: Exception) -> str:
    """What an error of the Hub's libraries means, and what to do."""
    from huggingface_hub import constants, errors  # noqa: PLC0415

    chain = list(_chain(error))
    text = " ".join(str(each) for each in chain)
    names = {type(each).__name__ for each in chain}

    def is_a(kind: type[Exception]) -> bool:
        return any(isinstance(each, kind) for each in chain)

    reasons = {
        f"it is gated; ask for access at {constants.ENDPOINT}, and set HF_TOKEN or run 'hf auth login'": is_a(
            errors.GatedRepoError
        )
        or "gated dataset" in text,
        "there is no such revision; name a branch, a tag or a commit": is_a(errors.RevisionNotFoundError),
        "there is none of that name, or it is private: check it, and HF_TOKEN or 'hf auth login'": is_a(
            errors.RepositoryNotFoundError
        ),
        "the Hub does not know the token (401); set HF_TOKEN anew, or run 'hf auth login'": any(
            getattr(getattr(each, "response", None), "status_code", 0) == 401 for each in chain
        ),
        "it is made by a script, which is not run; use a revision with data files, or convert it": (
            "scripts are no longer supported" in text or "trust_remote_code" in text
        ),
        "it holds no data files that are read": bool(names & {"EmptyDatasetError", "DataFilesNotFoundError"}),
        "HF_HUB_OFFLINE is set, so it cannot be asked for; unset it": constants.HF_HUB_OFFLINE,
    }
    said = first_line(chain[-1])
    otherwise = f"{said}; check the name, the network and HF_TOKEN, then run the same command again"
    return next((reason for reason, holds in reasons.items() if holds), otherwise)


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__ or (None if seen.__suppress_context__ else seen.__context__)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the libraries from printing: bars, and a log that holds signed URLs."""
    from huggingface_hub import utils  # noqa: PLC0415

    logs = [logging.getLogger(name) for name in ("datasets", "huggingface_hub")]
    levels, bars = [log.level for log in logs], not utils.are_progress_bars_disabled()
    for log in logs:
        log.setLevel(logging.CRITICAL)
    utils.disable_progress_bars()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for log, level in zip(logs, levels, strict=True):
            log.setLevel(level)
        if bars:
            utils.enable_progress_bars()
