"""Question and answer in columns of their own: Alpaca, Dolly, prompt and completion, and the like.

    {"instruction": "Add.", "input": "1+1", "output": "2"}                   ALPACA
    {"instruction": "When?", "context": "It opened in 1900.", "response": "In 1900."}    DOLLY
    {"prompt": "1+1?", "completion": "2"}                                    PROMPT_COMPLETION
    {"question": "1+1?", "answer": "2"}                                      QUESTION_ANSWER

The user's text is the question and below it, after a blank line, what it is about (`input`, `context`); no
prompt such as Alpaca's well-known one is put around it, since the chat template says who speaks. The system
text and earlier turns (`history`: pairs or turns) come first. Column names are taken in any case. An answer
may be a list: of texts, of objects with one text each, or of what SQuAD has (`{"text": [...]}`); then the
first is the best one, and each makes a conversation of its own where the recipe wants all (`paths`). A
question or an answer may also be a list of turns, and a prompt a transcript (`\\n\\nHuman:
...\\n\\nAssistant:`). A column with the answer's reasoning becomes that (`beside.py`), and an answer that is
a list of tool calls becomes calls (`written_calls.py`).

    >>> [found] = ALPACA.paths({"Instruction": "Add.", "input": "1+1", "output": "2"})
    >>> [message.content for message in found.messages]
    ['Add.\\n\\n1+1', '2']
    >>> row = {"prompt": [{"role": "user", "content": "1+1?"}], "completion": "2"}
    >>> [message.role for message in PROMPT_COMPLETION.normalize(row).messages]
    ['user', 'assistant']

Cost: see `common.py` and `turns.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..core.errors import RowError
from ..core.records import Conversation, Message
from ..core.text import kind
from . import common, openai, sharegpt, transcripts
from .beside import CONTEXTS, HISTORIES, check_choices, reasoned, reasoning_beside, with_reasoning
from .cells import answers_within, as_text, not_a_string, parsed
from .pairs import read_pairs
from .written_calls import Tools, calls_of

ANSWERS = ("output", "response", "answer", "completion", "outputs", "responses", "answers", "completions")

_OF_SEVERAL = ("outputs", "responses", "answers", "completions")
"""Columns that hold a list of answers by their name."""

_TEXTS = ("text", "completion", "response", "answer", "output", "content", "value")

PAIRS = (
    *(("question", "answer"), ("question", "answers"), ("question", "response"), ("question", "solution")),
    *(("question", "output"), ("query", "response"), ("query", "answer"), ("query", "answers")),
    *(("query", "output"), ("problem", "solution"), ("problem", "answer"), ("q", "a"), ("input", "output")),
    *(("input", "response"), ("input", "answer"), ("inputs", "targets"), ("input", "target")),
    *(("user", "assistant"), ("human", "assistant"), ("human", "gpt"), ("human", "bot"), ("user", "bot")),
    *(("user", "model"), ("human", "ai"), ("source", "target"), ("ask", "answer")),
)
"""Names of question and answer, in the order in which they are looked for, so that a row with two of them
(`problem`, `solution` and `answer`) is always read alike."""


@dataclass(frozen=True)
class Columns:
    """A dialect made from the names of its columns, each list in the order in which they are looked for.

    `needed` columns may hold null, but must be there for a row to be recognized.
    """

    asked: Sequence[str]
    below: Sequence[str] = ()
    more: Sequence[str] = ()
    answered: Sequence[str] = ANSWERS
    needed: Sequence[str] = ()

    def recognize(self, value: Any) -> bool:
        """Whether a row has a question and an answer that is not null."""
        row = lowered(value)
        has_both = any(key in row for key in self.asked) and any(key in row for key in self.answered)
        return has_both and all(key in value for key in self.needed)

    def normalize(self, value: Any) -> Conversation:
        """Read a row with its first answer. Raises `RowError`."""
        return self.paths(value)[0]

    def paths(self, value: Any) -> list[Conversation]:
        """Read a row with each of its answers. Raises `RowError`."""
        if not isinstance(value, dict):
            raise RowError("not_an_object", f"the row is a JSON {kind(value)}, not an object")
        row = lowered(value)
        asked = read_question(row, self.asked, self.below, self.more)
        answers = read_answers(row, self.answered, common.read_tools(value))
        answers = reasoned_answers(row, answers)
        return [common.make_conversation(value, common.with_system(row, [*asked, *each])) for each in answers]


class _Prompts(Columns):
    """Prompt and completion: a prompt may be a transcript, whose turns are read as such."""

    def paths(self, value: Any) -> list[Conversation]:
        """Read a row with each of its completions. Raises `RowError`."""
        if isinstance(value, dict) and transcripts.is_opened(value.get("prompt")):
            value = {**value, "prompt": transcripts.as_turns(value["prompt"])}
        return super().paths(value)


class _Pairs:
    """The first of many pairs of columns that a row has; a `context` goes below the question."""

    def recognize(self, value: Any) -> bool:
        """Whether a row has a known pair of columns."""
        return self._columns(value) is not None

    def normalize(self, value: Any) -> Conversation:
        """Read a row with its first answer. Raises `RowError`."""
        return self.paths(value)[0]

    def paths(self, value: Any) -> list[Conversation]:
        """Read a row with each of its answers. Raises `RowError`."""
        columns = self._columns(value)
        if columns is not None or not isinstance(value, dict):
            return (columns or _PAIRS[0]).paths(value)
        held = lowered(value)
        asked = next((name for name, _ in PAIRS if name in held), None)
        if asked is not None:
            raise RowError("no_assistant", f"the row has no answer beside '{asked}'")
        raise RowError("unknown_dialect", "the row has no known columns of question and answer")

    def _columns(self, value: Any) -> Columns | None:
        held = lowered(value)
        return next((each for each in _PAIRS if each.asked[0] in held and each.answered[0] in held), None)


_MORE = ("question", "input", *CONTEXTS)

ALPACA = Columns(asked=["instruction"], below=["input", "inputs"], more=_MORE)
DOLLY = Columns(asked=["instruction"], below=["context"], more=_MORE, needed=["context"])
PROMPT_COMPLETION = _Prompts(
    asked=["prompt"],
    more=["input", *CONTEXTS],
    answered=[
        *("completion", "completions", "response", "responses", "output", "outputs"),
        *("answer", "answers"),
    ],
)
QUESTION_ANSWER = _Pairs()

_PAIRS = [Columns([asked], ["context"], ["input", *CONTEXTS], [answered]) for asked, answered in PAIRS]


# ==== Columns ====


def lowered(value: Any) -> dict[str, Any]:
    """The columns of a row that are not null, by their names in lower case.

    >>> lowered({"Question ": "Why?", "Answer": None})
    {'question': 'Why?'}
    """
    row: Mapping[str, Any] = value if isinstance(value, dict) else {}
    found: dict[str, Any] = {}
    for key, field in row.items():
        if field is not None:
            found.setdefault(key.strip().lower(), field)
    return found


def read_question(
    row: Mapping[str, Any], asked: Sequence[str], below: Sequence[str] = (), more: Sequence[str] = ()
) -> list[Message]:
    """All that is before the answer; of the columns `more`, texts that are not there yet.

    Raises `RowError`: wrong_type, unsupported_content."""
    check_choices(row)
    earlier = _history(row)
    key = next((key for key in asked if key in row), asked[0])
    if isinstance(listed := _turns_within(row.get(key)), list):
        return [*earlier, *read_turns(listed)]
    texts = [_text(row, name) for name in (key, *below) if name in row]
    texts = [text for text in texts if text and not text.isspace()]
    if not texts:
        raise RowError("wrong_type", f"the row has no text under {', '.join(asked)}")
    texts += _more(row, texts, more)
    return [*earlier, Message("user", "\n\n".join(texts))]


def _history(row: Mapping[str, Any]) -> list[Message]:
    """The turns before the question, written as pairs or as turns. Raises `RowError`: wrong_type."""
    name = next((name for name in HISTORIES if row.get(name)), None)
    history = parsed(row.get(name)) if name is not None else None
    if history is not None and not isinstance(history, list):
        raise RowError("wrong_type", f"'{name}' is a JSON {kind(history)}, not an array")
    if history and any(map(_is_turn, history)):
        return read_turns(history)
    return read_pairs(history or [], str(name))


def _more(row: Mapping[str, Any], texts: Sequence[str], names: Sequence[str]) -> list[str]:
    """Other texts that a question is about, without those that it holds."""
    found: list[str] = []
    for name in names:
        text = row.get(name)
        if (
            isinstance(text, str)
            and text.strip()
            and not any(text.strip() in each for each in [*texts, *found])
        ):
            found.append(text)
    return found


def read_answers(row: Mapping[str, Any], keys: Sequence[str], tools: Tools = None) -> list[list[Message]]:
    """The answers of a row, at least one, each as messages. Where the row has `tools`, calls that are written
    as JSON are read as such. Raises `RowError`: no_assistant, wrong_type, bad_tool_call, empty_assistant."""
    key = next((key for key in keys if key in row), None)
    if key is None:
        raise RowError("no_assistant", f"the row has no answer under {', '.join(keys)}")
    calls = calls_of(row[key], tools)
    field = row[key] if calls else _answers_within(_turns_within(row[key]), key)
    if isinstance(field, dict) and isinstance(field.get("text"), list):
        field = field["text"]  # SQuAD
    if isinstance(field, list) and any(map(_is_turn, field)):
        return [read_turns(field)]
    calls = calls or calls_of(field, tools)
    fields = field if isinstance(field, list) and not calls else [field]
    if not fields:
        raise RowError("empty_assistant", f"'{key}' is an empty list")
    return [[_said(each, key, tools)] for each in fields]


def _turns_within(field: Any) -> Any:
    """The turns that a text holds as a list, as a table writes them; anything else as it is."""
    held = parsed(field) if isinstance(field, str) and field.lstrip().startswith(("[", "array(")) else None
    return held if isinstance(held, list) and held and all(map(_is_turn, held)) else field


def _answers_within(field: Any, key: str) -> Any:
    """The answers that a text in a column of several (`answers`) holds, as a table writes them: a list of
    texts, or what SQuAD has. A text in a column of one answer is that answer, whatever it looks like."""
    return answers_within(field) if key in _OF_SEVERAL else field


def _said(field: Any, key: str, tools: Tools) -> Message:
    calls = calls_of(field, tools)
    if calls:
        return Message("assistant", tool_calls=calls)
    said = Message("assistant", _answer(field, key))
    reasoning = reasoning_beside(field) if isinstance(field, dict) else None
    return reasoned(said, *reasoning) if reasoning else said


def reasoned_answers(row: Mapping[str, Any], answers: list[list[Message]]) -> list[list[Message]]:
    """The answers of a row with the reasoning that is in a column beside them. Raises `RowError`."""
    reasoning = reasoning_beside(row)
    return with_reasoning(answers, *reasoning) if reasoning else answers


def read_turns(turns: Any) -> list[Message]:
    """A list of turns in a column, in OpenAI's spelling or ShareGPT's. Raises `RowError`."""
    dialect = sharegpt if sharegpt.recognize({"conversations": turns}) else openai
    return list(dialect.normalize({"conversations" if dialect is sharegpt else "messages": turns}).messages)


def _is_turn(item: Any) -> bool:
    return openai.recognize([item]) or sharegpt.recognize([item])


def _answer(field: Any, key: str) -> str:
    if isinstance(field, dict):
        field = next((field[name] for name in _TEXTS if field.get(name) is not None), field)
    field = as_text(field)
    if not isinstance(field, str):
        raise not_a_string(f"the answer in '{key}'", field)
    return field


def _text(row: Mapping[str, Any], key: str) -> str:
    text = as_text(row[key])
    if not isinstance(text, str):
        raise not_a_string(f"'{key}'", text)
    return text
