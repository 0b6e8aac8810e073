"""What a push sends of a finished output: all of it, or all but the reject log.

    with to_send(Path("out/chats")) as finished:
        [file.path for file in finished.files]  # no rejects/; manifest.json and README.md say so

Rejected rows are raw data of the sources, often just those that nobody should see. So the log stays here
unless it is asked for. Its counts stay in card and manifest, whose `rejects_left_out` tells readers that the
log is not missing by mistake.

Cost: that of `read_finished`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from ..core.atomic_files import json_text, named
from ..core.errors import PushError
from ..output.dataset import Dataset
from ..output.sending import Finished, read_finished
from .card_counts import LOG_IS_HERE, LOG_IS_LEFT_OUT


@contextmanager
def to_send(out: Path, *, with_rejects: bool = False) -> Iterator[Finished]:
    """Yield the files of an output that are sent; small ones that differ from the output's are in a temporary
    folder.

    Raises what `read_finished` raises, `OutputError` if there is no room for that folder, and `PushError` if
    the log is asked for and not there.
    """
    finished = read_finished(out)
    if with_rejects:
        if finished.manifest.rejects_left_out:
            raise PushError(
                f"{out} was pushed without its reject log, so --with-rejects has nothing to send; push the "
                "output of the run"
            )
        yield finished
        return
    with ExitStack() as stack:
        with named(Path(tempfile.gettempdir())):
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="premask-"))
            changed = _without_rejects(finished, Path(folder))
        yield changed


def left_out_note(finished: Finished) -> tuple[str, ...]:
    """What the user should know of a log that is not sent."""
    rows = finished.manifest.counts.listed
    if not rows or not finished.manifest.rejects_left_out:
        return ()
    return (f"the reject log ({rows:,} rows of the sources) was left out; --with-rejects sends it",)


def _without_rejects(finished: Finished, folder: Path) -> Finished:
    shards = [shard for shard in finished.manifest.shards if shard.kind != "rejects"]
    manifest = finished.manifest.model_copy(update={"shards": shards, "rejects_left_out": True})
    readme = (finished.root / "README.md").read_text(encoding="utf-8")
    (folder / "README.md").write_text(readme.replace(LOG_IS_HERE, LOG_IS_LEFT_OUT), encoding="utf-8")
    (folder / "manifest.json").write_text(json_text(manifest.as_dict()), encoding="utf-8")
    changed = {file.path: file for file in Dataset(folder, manifest).small_files()}
    files = [changed.get(file.path, file) for file in finished.files]
    kept = tuple(file for file in files if not file.path.startswith("rejects/"))
    return replace(finished, manifest=manifest, files=kept)
