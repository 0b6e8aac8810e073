"""Push a finished output to an object store or a folder: any URL that fsspec opens, README.md last.

    push_to_store(Path("out/chats"), "s3://bucket/chats")

Object stores have no commits, so the order keeps readers safe: while shards are being replaced neither
`manifest.json` nor `README.md` is there, and the README comes last. Whoever waits for the README sees a whole
dataset. (`content_revision` writes into a folder of its own, named by the run key, so that nothing that is
being read is replaced at all.) What has arrived so far stands in `.premask-push.json`, which is removed at
the end: a push that was stopped goes on where it stopped (it is written every few seconds), and one of
another output in between is not mistaken for it.

A run whose output goes to a store ends in the same way (`place_in_store`); most shards are there already.

Files with the size and sha256 that the store's manifest records are not sent again; shards of an earlier
push are removed once the README is there. Files that are not premask's are never touched. Credentials are
the store's own (`AWS_*`, Google's default ones); none are written anywhere. Cost: the output is read twice;
one small request a shard beside the data, two where shards are copied.
"""

from __future__ import annotations

from pathlib import Path

from ..output.sending import PushResult, Report, read_finished
from ..output.store import Store, _named, _push, open_folder


def push_to_store(
    out: Path,
    url: str,
    *,
    content_revision: bool = False,
    overwrite: bool = False,
    report: Report | None = None,
) -> PushResult:
    """Make a folder of a store hold exactly this output, beside files that are not premask's.

    `content_revision` takes the folder `run-KEY` below it. `overwrite` allows a folder that holds files, but
    nothing that premask has pushed. `report` is called as files are sent.

    Raises `OutputError` if the output is not whole, before anything is sent; `PushError` for everything that
    is wrong with the store.
    """
    filesystem, root = open_folder(url)
    finished = read_finished(out)
    shown = url.rstrip("/")
    if content_revision:
        root, shown = f"{root}/{finished.content_name}", f"{shown}/{finished.content_name}"
    with _named(shown):
        store = Store(filesystem, root, shown)
        return _push(finished, store, overwrite=overwrite, report=report or (lambda *_: None))
