"""Push a finished output to an object store or a folder: any URL that fsspec opens.

    push_to_store(Path("out/chats"), "s3://bucket/chats")

`output/upload.py` says in which order files are sent and what happens to a push that was stopped. Credentials
are the store's own (`AWS_*`, Google's default ones); none are written anywhere. Cost: the output is read
twice, once to check it and once to send it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from ..core.errors import OutputError, PushError
from ..output.dataset import front_matter_of
from ..output.ownership import listed
from ..output.sending import PushResult, Report
from ..output.store import Store, open_store
from ..output.upload import read_held, upload
from .card_lint import card_notes
from .mask_counts import many
from .without_rejects import left_out_note, to_send


def push_to_store(  # noqa: PLR0913  by keyword but the first two
    out: Path,
    url: str,
    *,
    content_revision: bool = False,
    overwrite: bool = False,
    with_rejects: bool = False,
    report: Report = lambda *_: None,
    say: Callable[[str], object] = lambda _: None,
) -> PushResult:
    """Make a folder of a store hold exactly this output, beside files that are not premask's; the reject log
    is part of it if `with_rejects`.

    `content_revision` takes the folder `run-KEY` below it, so that nothing that is being read is replaced.
    `overwrite` allows a folder that holds files, but nothing that premask has pushed. `report` is called as
    files are sent, and `say` with a line about another output before that is replaced.

    Raises `OutputError` if the output is not whole, before anything is sent; `PushError` for everything that
    is wrong with the store.
    """
    store = open_store(url, PushError)
    with to_send(out, with_rejects=with_rejects) as finished:
        front = front_matter_of(finished.files[-1].local.read_bytes()) or {}
        notes = (*left_out_note(finished), *card_notes(front, finished.manifest))
        folder = store.below(finished.content_name) if content_revision else store
        if held := _other(folder, finished.run_key):
            say(f"{folder.url} holds the output of another run ({held}), which is replaced")
        result = upload(finished, folder, overwrite=overwrite, report=report)
    return replace(result, notes=(*notes, *result.notes))


def _other(folder: Store, run_key: str) -> str:
    """Return in words the output of another run that a folder holds; empty if it holds none."""
    try:
        manifest = read_held(folder).manifest()
    except (OutputError, ValueError):  # none, or one that cannot be read
        return ""
    if manifest.run_key == run_key:
        return ""
    return (
        f"{many(manifest.counts.rows, 'row', 'rows')} of {listed([each.source for each in manifest.inputs])}"
    )
