"""Where an output is that a command names: a directory, or a dataset on the Hub.

locate("out/chats")             # Path("out/chats")
locate("org/name", "v1")        # its copy in the cache of the Hub's client, fetched first

A name that is both is the directory.
"""

from __future__ import annotations

import re
from pathlib import Path

from ..core.errors import OutputError, one_line
from ..core.hub import limit_waiting

_NAME = re.compile(r"[\w.-]+/[\w.-]+")


def is_on_hub(target: str) -> bool:
    """Whether a name is that of a dataset on the Hub: no path that exists, and none that could be meant.

    >>> is_on_hub("org/name"), is_on_hub("."), is_on_hub("no/such/folder")
    (True, False, False)
    """
    return not Path(target).exists() and bool(_NAME.fullmatch(target)) and not target.startswith(".")


def locate(target: str, revision: str | None = None) -> Path:
    """Return the directory of an output; a dataset of the Hub is fetched into the cache first.

    Raises `OutputError` if it cannot be fetched, and for a `revision` of what is not on the Hub.
    """
    path = Path(target)
    if not path.exists() and path.parent != Path() and path.parent.is_dir():  # a path, not org/name
        raise OutputError(f"{target} does not exist; name a directory that premask run has written")
    if is_on_hub(target):
        return _fetched(target, revision)
    if revision is not None:
        raise OutputError(f"{target} is no name on the Hub, where --revision belongs; leave it out")
    return path


def _fetched(name: str, revision: str | None) -> Path:
    from huggingface_hub import HfApi, snapshot_download  # noqa: PLC0415  half a second to import

    from ..publish.hub_repo import quiet  # noqa: PLC0415

    limit_waiting()
    try:  # by its commit: a name that the Hub does not tell would be looked up in the cache, which may be old
        with quiet():
            commit = HfApi().dataset_info(name, revision=revision).sha
            return Path(snapshot_download(name, repo_type="dataset", revision=commit))
    except Exception as error:  # noqa: BLE001  the client raises its own, the network's and the disk's
        reason = one_line(error, 300)
        raise OutputError(
            f"{name} is no directory here, and cannot be fetched from the Hub: {type(error).__name__}: "
            f"{reason}; check the name, and HF_TOKEN or 'hf auth login' if it is private"
        ) from None
