"""Single conversations masked: what a run does with a row, without files.

    masker = Masker("Qwen/Qwen3-0.6B")
    (sample,) = masker([{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}])
    sample.labels

The samples are those that `premask run` writes for the same row. They may have any length if no `max_length`
is given.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.contract import IGNORE_INDEX
from ..core.errors import RowError, SourceError
from ..core.recipe import TooLong
from ..core.records import Row
from ..labeller import LabelledSample
from ..running.fitting import cut
from ..running.memory_rows import json_value
from .forms import form_of
from .keys import ANY_LENGTH, Keys
from .unused_keys import LAYS_OUT, OF_A_RUN, PACKS, refuse

if TYPE_CHECKING:
    from ..review.template_report import Diagnosis

_TITLE = "premask.Masker"


@dataclass(frozen=True, repr=False)
class MaskedSample:
    """A sample of t tokens.

    input_ids     t token ids
    labels        t ids: the token id if the token is trained, else -100; not shifted
    loss_weights  t weights, 0 if the token is not trained
    text          the text that the chat template prints
    spans         (start, end) of the trained stretches of the text, in characters
    proof         how it is known that the completion follows this prompt (`inference`, `split`, ...)
    """

    input_ids: list[int]
    labels: list[int]
    loss_weights: list[float] = field(repr=False)
    text: str
    spans: list[tuple[int, int]]
    proof: str
    labelled: LabelledSample = field(repr=False, compare=False)
    """The same sample as arrays, with the origin of each character."""

    def __repr__(self) -> str:
        trained = sum(label != IGNORE_INDEX for label in self.labels)
        text = self.text if len(self.text) <= 60 else f"{self.text[:60]}..."
        return f"MaskedSample({len(self.labels):,} tokens, {trained:,} trained, {self.proof}, text={text!r})"

    def _repr_html_(self) -> str:
        from ..review.notebook.labelled import labelled_html  # noqa: PLC0415  only to look at

        return labelled_html([self.labelled])

    def as_dict(self) -> dict[str, Any]:
        """Return the sample as JSON values: ids, labels, `attention_mask`, weights, text, spans and proof."""
        return {
            "input_ids": self.input_ids,
            "labels": self.labels,
            "attention_mask": [1] * len(self.input_ids),
            "loss_weights": self.loss_weights,
            "text": self.text,
            "spans": [list(span) for span in self.spans],
            "proof": self.proof,
        }

    @classmethod
    def of(cls, labelled: LabelledSample) -> MaskedSample:
        """Return a labelled sample as plain lists."""
        sample = labelled.sample
        return cls(
            labelled.ids.tolist(),
            labelled.labels.tolist(),
            labelled.weights.tolist(),
            sample.text,
            [(turn.start, turn.end) for turn in sample.turns],
            sample.proof,
            labelled,
        )


class MaskedSamples(list[MaskedSample]):
    """The samples of one conversation. A notebook shows them with their trained text marked."""

    def _repr_html_(self) -> str:
        from ..review.notebook.labelled import labelled_html  # noqa: PLC0415  only to look at

        return labelled_html([each.labelled for each in self])


class Masker:
    """The mask of single conversations.

    `tokenizer` is a directory, a Hub id, or a tokenizer of transformers. `chat_template` is the text of a
    Jinja template, a file, or the name of a built-in template. `recipe_keys` are keys of a recipe, such as
    `history` or `template_kwargs`. A row with a sample longer than `max_length` raises `RowError`; by
    default, none is too long. Raises `RecipeError`, `TokenizerError` or `TemplateError`.
    """

    def __init__(self, tokenizer: Any, chat_template: str | Path | None = None, **recipe_keys: Any) -> None:
        self._made_of = partial(Masker, tokenizer, chat_template, **recipe_keys)
        refuse(recipe_keys, (*OF_A_RUN, PACKS, LAYS_OUT), where=_TITLE)
        keys = {"max_length": ANY_LENGTH, **recipe_keys}
        self._keys = Keys(tokenizer, chat_template, keys, where=_TITLE)
        self._labeller = self._keys.labeller()
        self.recipe = self._labeller.recipe

    def __call__(
        self,
        messages: Sequence[Mapping[str, Any]] | Mapping[str, Any],
        tools: Sequence[Mapping[str, Any]] | None = None,
        **template_kwargs: Any,
    ) -> MaskedSamples:
        """Return the samples of a conversation, at least one.

        `messages` is a list of turns, or a whole row of any dialect. `template_kwargs` are arguments of the
        chat template for this conversation. `tools` are definitions as JSON values, not functions.

        Raises `RowError` with the reason that the reject log would have, and `TypeError` for what is neither
        a list nor a dict, and for a tool that is a function.
        """
        value = _row(messages, tools, template_kwargs)
        found, _ = self._labeller.read(Row("messages", 0, value), self._form(value))
        labelled = self._labeller.together(found)
        for each in labelled:
            cut(each.labels, self.recipe.max_length, TooLong.reject)
        return MaskedSamples(map(MaskedSample.of, labelled))

    def __repr__(self) -> str:
        return f"Masker({self._keys!r})"

    def check(self) -> Diagnosis:
        """Return what `premask template` says of the tokenizer and the template; printed, it is the same."""
        from ..review.template_report import diagnose  # noqa: PLC0415  most users want samples
        from ..review.terminal.template import PrintedDiagnosis  # noqa: PLC0415

        return PrintedDiagnosis(**vars(diagnose(self._labeller)))

    def __reduce__(self) -> tuple[Any, ...]:
        return self._made_of, ()

    def _form(self, value: Any) -> Any:
        """Return how a row is read: as the recipe says, or by its shape."""
        try:
            return form_of(self.recipe, [value], "the row")
        except SourceError as error:
            raise RowError("unknown_dialect", str(error)) from None


def _tool(number: int, tool: Any) -> Any:
    if callable(tool):
        hint = "give its JSON schema: transformers.utils.get_json_schema makes one of it"
        raise TypeError(f"tools[{number}] is a {type(tool).__name__}; {hint}")
    return tool


def _turns(given: Any) -> Any:
    if isinstance(given, (str, bytes)) or not hasattr(given, "__iter__"):
        raise TypeError(f"{_TITLE} takes a list of turns, or a row as a dict, not {type(given).__name__}")
    return given


def _turn(number: int, given: Any) -> dict[str, Any]:
    """Return a turn as a dict. Raises `RowError` for anything else, with what to give instead."""
    if isinstance(given, Mapping):
        return dict(given)
    hint = "give dicts such as {'role': 'user', 'content': '...'}"
    if isinstance(given, (list, tuple)):
        hint = "give one conversation at a time, or several to premask.mask"
    elif hasattr(given, "model_dump"):
        hint = "give dicts: its model_dump() makes one of it"
    raise RowError("wrong_type", f"turn {number} is a {type(given).__name__}, not a dict; {hint}")


def _row(messages: Any, tools: Any, template_kwargs: Mapping[str, Any]) -> Any:
    """Return a row as a file would hold it."""
    if isinstance(messages, Mapping):
        row = dict(messages)
    else:
        turns = [_turn(number, each) for number, each in enumerate(_turns(messages))]
        row = {"conversations" if any("from" in each for each in turns) else "messages": turns}
    row = json_value(row)
    if not any(row.values()):
        raise RowError("no_messages", "the row has no turns")
    if tools is not None:
        row["tools"] = [_tool(number, tool) for number, tool in enumerate(tools)]
    if template_kwargs:
        row["chat_template_kwargs"] = {**row.get("chat_template_kwargs", {}), **template_kwargs}
    return json_value(row)
