"""Values as tables and exports write them: JSON within strings, columns of lists, numbers instead of texts.

    parsed     '[{"role": "user"}]', ['{"role": "user"}'], {"role": ["user"]}  ->  [{"role": "user"}]
    object_in  '{"role": "user"}'  ->  {"role": "user"}
    as_text    5  ->  "5"

`datasets` writes the elements of a list as JSON within strings (its type `Json`), and a list of objects as
one object of lists. Integers are labels and scores: their decimal text is meant. The text of a float or
boolean is not certain ("1.0" or "1"?), so these are refused.

    >>> parsed({"from": ["human", "gpt"], "value": ["Hi", "Hello"]})
    [{'from': 'human', 'value': 'Hi'}, {'from': 'gpt', 'value': 'Hello'}]

Cost: the parse of what is JSON within a string; else a look at each element of a list.
"""

from __future__ import annotations

from typing import Any

from ..core.errors import RowError
from ..core.python_notation import looks_python, parse_cell, parse_python
from ..core.strict_json import parse_json
from ..core.text import kind


def parsed(field: Any) -> Any:
    """What a field holds: JSON within a string, also of the elements of a list, and a list of objects that is
    written as columns. So is a list of objects or lists that Python's notation writes. Any other string stays
    as it is.

    >>> parsed('[{"a": 1}]'), parsed(['{"a": 1}', "text"]), parsed(" "), parsed("text")
    ([{'a': 1}], [{'a': 1}, 'text'], None, 'text')
    """
    if isinstance(field, str):
        try:
            field = parse_json(field) if field.strip() else None
        except ValueError:
            field = _printed_list(field)
    if isinstance(field, list):
        return [object_in(each) for each in field] if any(isinstance(each, str) for each in field) else field
    return _rows(field) if isinstance(field, dict) else field


def _printed_list(text: str) -> Any:
    """A list of objects or lists in Python's notation, as pandas writes it to a cell; any other text as it
    is."""
    if not looks_python(text):
        return text
    try:
        found = parse_python(text)
    except ValueError:
        return text
    return found if isinstance(found, list) and found and isinstance(found[0], (dict, list)) else text


def answers_within(field: Any) -> Any:
    """The list of texts that a text holds, or the object with one under `text` as SQuAD has it; anything else
    as it is.

    >>> answers_within("['a', 'b']"), answers_within('{"text": ["a"]}'), answers_within("[1] says so")
    (['a', 'b'], {'text': ['a']}, '[1] says so')
    """
    if not isinstance(field, str) or not field.lstrip().startswith(("[", "{")):
        return field
    try:
        held = parse_cell(field)
    except ValueError:
        return field
    several = held.get("text") if isinstance(held, dict) else held
    are_texts = isinstance(several, list) and all(isinstance(each, str) for each in several)
    return held if are_texts else field


def object_in(item: Any) -> Any:
    """The object that a string holds as JSON; anything else as it is.

    >>> object_in('{"a": 1}'), object_in("[1]"), object_in("{a}")
    ({'a': 1}, '[1]', '{a}')
    """
    if not isinstance(item, str) or not item.lstrip().startswith("{"):
        return item
    try:
        found = parse_json(item)
    except ValueError:
        return item
    return found if isinstance(found, dict) else item


# ==== Columns of lists ====


def _rows(columns: dict[str, Any]) -> Any:
    """The rows of an object of lists of one length; any other object as it is."""
    held = {key: _rows(field) if isinstance(field, dict) else field for key, field in columns.items()}
    held = {key: field for key, field in held.items() if field is not None}
    if not are_columns(held) or len({len(field) for field in held.values()}) > 1:
        return columns
    return [dict(zip(held, each, strict=True)) for each in zip(*held.values(), strict=True)]


def are_columns(value: Any) -> bool:
    """Whether a value is an object of lists, apart from nulls.

    >>> are_columns({"role": ["user"], "name": None}), are_columns({"role": "user"}), are_columns({})
    (True, False, False)
    """
    fields = [field for field in value.values() if field is not None] if isinstance(value, dict) else []
    return bool(fields) and all(isinstance(field, list) for field in fields)


def check_lengths(value: Any, where: str) -> None:
    """Raise `RowError` (wrong_type) where lists that are columns of turns have different lengths."""
    if not are_columns(value):
        return
    sizes = {key: len(field) for key, field in value.items() if field is not None}
    if len({*sizes.values()}) > 1:
        shown = ", ".join(f"{key}: {size}" for key, size in sizes.items())
        detail = (
            f"the lists of {where} have different lengths ({shown[:120]}); each turn needs one item of each"
        )
        raise RowError("wrong_type", detail)


# ==== Numbers ====


def as_text(field: Any) -> Any:
    """An integer as its decimal text; anything else as it is.

    >>> as_text(5), as_text("5"), as_text(5.0), as_text(True)
    ('5', '5', 5.0, True)
    """
    return str(field) if isinstance(field, int) and not isinstance(field, bool) else field


_EXACT = 2.0**53
"""Below it, floats have every integer; pandas makes them of a column of integers that lacks some."""


def not_a_string(what: str, field: Any) -> RowError:
    """The error of a field that has to be a text.

    >>> str(not_a_string("the answer", 0.5))
    'wrong_type: the answer is a JSON number, not a string; write it as a string, such as "0.5"'
    """
    detail = f"{what} is a JSON {kind(field)}, not a string"
    if isinstance(field, float) and field.is_integer() and abs(field) < _EXACT:
        detail += f'; write it as the text that is meant, such as "{int(field)}" or "{field}"'
    elif isinstance(field, (bool, float)):
        detail += f'; write it as a string, such as "{str(field)[:40]}"'
    return RowError("wrong_type", detail)
