"""Outputs on the Hub, from Python: pushed, opened by their name, checked."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import TOKENIZER, chat
from hub_client import Client, server  # noqa: F401  a fixture
from hub_server import HubServer

SCRIPT = """
import premask
made = premask.run(sources=[{rows!r}], tokenizer={tokenizer!r}, output={out!r}, push_to_hub="alice/chats", private=True)
again = made.push("alice/chats")
there = premask.open("alice/chats")
answer = [again.changed, there.counts["kept"], str(there.output) != str(made.output), premask.verify("alice/chats").ok]
answer.append(there["packed"]["train"].to_list() == made["packed"]["train"].to_list())
for ask in (premask.open, premask.verify, lambda name: premask.diff(name, made)):
    try:
        ask("alice/nothing")
    except premask.OutputError as error:
        answer.append(str(error).partition(":")[0])
"""


@pytest.fixture
def client(server: HubServer, tmp_path: Path) -> Iterator[Client]:
    made = Client(server, tmp_path / "home")
    yield made
    made.close()


def test_an_output_goes_to_the_hub_and_is_opened_there(client: Client, tmp_path: Path) -> None:
    rows = [chat("Hi", "Hello"), chat("Bye", "Goodbye")]
    answer = client.run(SCRIPT.format(rows=rows, tokenizer=TOKENIZER, out=str(tmp_path / "out")))

    missing = "alice/nothing is no directory here, and cannot be fetched from the Hub"
    assert answer == [False, 2, True, True, True, *[missing] * 3]
