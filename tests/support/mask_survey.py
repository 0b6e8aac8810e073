"""Every template of the corpus on every kind of conversation: what the pipeline does, and what the oracle says.

`samples_of` is the only way into the pipeline: a row through a labeller, as in a run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache, lru_cache
from typing import Any, NamedTuple

from conversation_kinds import KINDS, Chat
from inference import Inference, frozen_date
from oracle import Text, Verdict, judge, views
from places import SAMPLE
from premask.core.errors import RecipeError, RowError
from premask.core.recipe import Recipe
from premask.core.records import Row, Sample
from premask.labeller import Labeller
from premask.tokens.engines import EngineProof, TokenizersEngine
from premask.tokens.tokenizer import LoadedTokenizer, load_tokenizer
from template_corpus import control_tokens_of, endings_of, own_ends, source_of, variables_of

# ==== Running the pipeline ====


@cache
def _tokenizer() -> LoadedTokenizer:
    return load_tokenizer(str(SAMPLE / "tokenizer"))


@lru_cache(maxsize=8)
def labeller_of(file: str, settings: tuple[tuple[str, Any], ...] = ()) -> Labeller:
    """A labeller with a template of the corpus, and a tokenizer that has its special tokens."""
    variables = variables_of(file)
    call_ends = () if file.startswith("2026/") is False else own_ends(file)
    tokenizer = replace(
        _tokenizer(),
        variables=variables,
        special=control_tokens_of(file),
        stops=tuple(dict.fromkeys([variables["eos_token"], *call_ends])),
        chat_template=source_of(file),
    )
    keys = {key: dict(value) if isinstance(value, tuple) else value for key, value in settings}
    recipe = Recipe(sources=["chats.jsonl"], tokenizer="corpus", output="out", **keys)
    return Labeller(recipe, tokenizer, EngineProof(TokenizersEngine.name))


def samples_of(file: str, chat: Chat, **settings: Any) -> tuple[Sample, ...]:
    """The samples of a chat, by recipe keys. Raises `RowError`."""
    labeller = labeller_of(file, tuple(sorted(settings.items())))
    found, _ = labeller.read(Row("chats.jsonl", 0, chat.as_row()), "openai")
    return labeller.decide_together(found)


def texts_of(samples: tuple[Sample, ...], chat: Chat) -> list[Text]:
    """Samples as the oracle takes them: stretches of weight 0 are not trained."""
    return [
        Text(s.text, tuple(_weighed(s)), s.proof, s.counts, s.seams if chat.unmarked else ()) for s in samples
    ]


def _weighed(sample: Sample) -> Iterator[tuple[int, int, int]]:
    silent, at = [], 0
    for length, weight in sample.weights:
        if weight == 0:
            silent.append((at, at + length))
        at += length
    for message, start, end in sample.turns:
        edges = [start, *(max(start, min(end, edge)) for pair in silent for edge in pair), end]
        for first, last in zip(edges[::2], edges[1::2], strict=True):
            if first < last:
                yield message, first, last


# ==== The survey ====

DEFAULT: Mapping[str, Any] = {}
OTHERWISE: Mapping[str, tuple[Mapping[str, Any], ...]] = {
    "open_reasoning": (
        {"open_reasoning": "as-rendered"},
        {"open_reasoning": "compose"},
        {"template_kwargs": (("enable_thinking", "auto"),)},
    ),
    "prompt_mismatch": ({"template_kwargs": (("enable_thinking", "auto"),)},),
    "content_dropped": ({"on_dropped": "count"},),
}
"""What a row that is refused for a reason is tried with as well."""


class Result(NamedTuple):
    """What became of one conversation.

    outcome  exact, split, composed, behind, refused, wrong or lost
    setting  the recipe keys, empty for the defaults
    reason   why it was refused
    views    what the oracle says of the refusal; `unexplained` where it sees nothing
    detail   what is wrong or lost, or the message of the refusal
    """

    file: str
    kind: str
    outcome: str
    setting: str = ""
    reason: str = ""
    views: str = ""
    detail: str = ""


@cache
def survey(file: str, kinds: tuple[str, ...] = tuple(KINDS)) -> tuple[Result, ...]:
    """What becomes of every kind of conversation with a template: by the defaults, then as they are refused."""
    with frozen_date():
        return tuple(result for kind in kinds for result in _results(file, kind))


def _results(file: str, kind: str) -> Iterator[Result]:
    first = result_of(file, kind)
    yield first
    for settings in OTHERWISE.get(first.reason, ()):
        if "template_kwargs" not in settings or "enable_thinking" in source_of(file):
            yield result_of(file, kind, **settings)


def result_of(file: str, kind: str, **settings: Any) -> Result:
    """What becomes of a kind of conversation with a template, by recipe keys."""
    chat = KINDS[kind]
    setting = ", ".join(_setting(key, value) for key, value in settings.items())
    inferences = list(_inferences(file, chat, settings))
    try:
        samples = samples_of(file, chat, **settings)
    except RowError as error:
        seen = {view for inference in inferences for view in views(inference)}
        why = "; ".join(sorted(seen)) or "unexplained"
        return Result(file, kind, "refused", setting, error.reason, why, error.detail)
    except RecipeError as error:
        return Result(
            file, kind, "refused", setting, "recipe", "the template has no such argument", str(error)
        )
    except Exception as error:  # noqa: BLE001  a crash is a finding like others
        return Result(file, kind, "wrong", setting, detail=f"crash: {type(error).__name__}: {error}")
    behind = settings.get("open_reasoning") == "as-rendered"
    verdicts = [judge(each, texts_of(samples, chat), endings_of(file), behind=behind) for each in inferences]
    verdict = min(verdicts, key=lambda each: (len(each.wrong), len(each.lost)))
    return Result(file, kind, _outcome(samples, verdict), setting, detail=_detail(verdict))


def _setting(key: str, value: Any) -> str:
    return ", ".join(f"{k}: {v}" for k, v in value) if isinstance(value, tuple) else f"{key}: {value}"


def _inferences(file: str, chat: Chat, settings: Mapping[str, Any]) -> Iterator[Inference]:
    """The renders of all right readings of a chat."""
    modes: list[dict[str, Any]] = [{}]
    if "template_kwargs" in settings:
        modes = [{"enable_thinking": True}, {"enable_thinking": False}]
    for mode in modes:
        variables = {**variables_of(file), **mode}
        yield Inference(source_of(file), variables, chat)
        if chat.other is not None:
            yield Inference(source_of(file), variables, chat, chat.other)


def _outcome(samples: tuple[Sample, ...], verdict: Verdict) -> str:
    if verdict.wrong:
        return "wrong"
    if verdict.lost:
        return "lost"
    if verdict.behind:
        return "behind"
    if any(sample.proof == "composed" for sample in samples):
        return "composed"
    return "split" if len(samples) > 1 else "exact"


def _detail(verdict: Verdict) -> str:
    return "; ".join([*verdict.wrong, *(f"{loss} is lost in silence" for loss in verdict.lost)])
