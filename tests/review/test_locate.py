"""Where an output is that a command names. What is on the Hub is fetched in `tests/publish/test_push_hub.py`."""

from __future__ import annotations

from pathlib import Path

import pytest
from premask.core.errors import OutputError
from premask.review.locate import is_on_hub, locate


def test_what_is_here_is_not_asked_for_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "org" / "name").mkdir(parents=True)

    assert locate("org/name") == Path("org/name")
    assert not is_on_hub("org/name")
    with pytest.raises(OutputError, match="org/nane does not exist"):
        locate("org/nane")
    with pytest.raises(OutputError, match="is no name on the Hub"):
        locate("org/name", "v1")
