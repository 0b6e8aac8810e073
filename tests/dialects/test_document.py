"""Documents: which column holds the text, what is refused, and that they are never recognized."""

from __future__ import annotations

from typing import Any

import pytest
from premask.core.errors import RowError, SourceError
from premask.core.recipe import Repair
from premask.core.shapes import shape_of
from premask.core.source_entry import DialectName
from premask.dialects import DIALECTS, Named, check_named, normalize, recognize_file, shaped_row
from premask.dialects.repair import repair
from premask.running.duplicates import conversation_hash

CHAT = {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]}


@pytest.mark.parametrize(
    "row",
    [
        {"text": "A text."},
        {"content": "A text.", "path": "a.py", "stars": 3},
        {"document": "A text.", "text": None},
        {"Text": "A text."},
    ],
)
def test_the_column_of_the_text(row: dict[str, Any]) -> None:
    found = normalize(row, Named("document"))
    assert (found.document, found.messages) == ("A text.", ())


def test_id_and_weight_of_a_document() -> None:
    found = normalize({"text": "\n A text. ", "id": 7, "weight": 0.5}, Named("document"))
    assert (found.document, found.id, found.weight) == ("\n A text. ", "7", 0.5)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("A text.", "not_an_object: the row is a JSON string"),
        ({"title": "A text."}, "unknown_dialect: the row has no text under text, content, document"),
        (CHAT, "unknown_dialect: the row is not of the dialect document, which the recipe names"),
        ({"text": "a", "content": "b"}, "wrong_type: the row has 'text' and 'content'; choose one"),
        ({"text": ["a"]}, "wrong_type: 'text' is a JSON array, not a string"),
        ({"text": "\ud83d"}, "invalid_text: 'text' holds half of a surrogate pair"),
        ({"text": ""}, "nothing_trained: the document is empty"),
        ({"text": " \n"}, "nothing_trained: the document is empty"),
        ({"text": "a", "image": "x.png"}, "unsupported_content: the row refers to image"),
        ({"text": "a", "train_mask": [1]}, "wrong_type: 'train_mask' is beside the row"),
        ({"text": "a", "chat_template_kwargs": {"x": 1}}, "wrong_type: tools or template arguments"),
    ],
)
def test_rows_that_are_no_document(row: Any, reason: str) -> None:
    with pytest.raises(RowError) as refused:
        normalize(row, Named("document"))
    assert f"{refused.value.reason}: {refused.value.detail}".startswith(reason)


def test_documents_are_never_recognized() -> None:
    assert {name.value for name in DialectName} == {"auto", *DIALECTS}
    with pytest.raises(SourceError, match="set dialect: document for its source"):
        recognize_file([{"text": "A text.", "id": 1}], source="a.jsonl")
    with pytest.raises(SourceError, match="set dialect: document for its source"):
        recognize_file([{"text": "A text.", "url": "x", "dump": "y"}], source="a.jsonl")
    assert recognize_file([{"text": "user: Hi\nassistant: Hello"}], source="a.jsonl") == "transcript"
    with pytest.raises(SourceError) as other:
        recognize_file([{"alpha": "A text.", "beta": "y"}], source="a.jsonl")
    assert "document" not in str(other.value)


def test_a_transcript_is_a_document_where_the_recipe_says_so() -> None:
    text = "user: Hi\nassistant: Hello"
    assert normalize({"text": text}, Named("document")).document == text


def test_a_file_of_chats_is_no_file_of_documents() -> None:
    with pytest.raises(SourceError, match="no row is of the dialect document; it has the form of openai"):
        check_named([CHAT], Named("document"), source="a.jsonl")
    check_named([{"text": "A text."}], Named("document"), source="a.jsonl")


def test_a_document_has_no_shape_and_a_hash_of_its_own() -> None:
    row = {"text": "A text."}
    found = normalize(row, Named("document"))
    assert shape_of(found) is None
    assert shaped_row(row, Named("document")) is None
    others = [{"text": "A text"}, {"text": "A text.", "weight": 2}]
    hashes = {conversation_hash(normalize(each, Named("document"))) for each in [row, *others]}
    assert len(hashes) == 3
    assert conversation_hash(normalize({**row, "id": "x"}, Named("document"))) in hashes


def test_fixes_of_texts_apply_to_documents() -> None:
    found = normalize({"text": "<p>1 &lt; 2</p>"}, Named("document"))
    fixed, names = repair(found, [*Repair][1:])
    assert (fixed.document, names) == ("1 < 2", ("strip_html",))
    assert repair(fixed, [Repair.merge_consecutive]) == (fixed, ())
