"""What a type checker says of the public names; `make type` checks this file, and no test imports it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import premask
from premask.output.sending import PushResult
from premask.review.diff import Difference
from premask.review.verify import Report

if TYPE_CHECKING:
    from typing_extensions import assert_type


def single(messages: list[dict[str, Any]]) -> None:
    masker = premask.Masker("tokenizer", history="last")
    samples = masker(messages, enable_thinking=False)
    assert_type(samples[0], premask.MaskedSample)
    assert_type(samples[0].labels, list[int])
    assert_type(samples[0].spans, list[tuple[int, int]])
    assert_type(samples[0].as_dict(), dict[str, Any])


def many(rows: list[dict[str, Any]], columns: dict[str, list[Any]], frame: pl.DataFrame) -> None:
    masked = assert_type(premask.mask(rows, "tokenizer"), premask.SampleRows)
    assert_type(masked.rejects, list[dict[str, Any]])
    assert_type(premask.mask(columns, "tokenizer"), dict[str, list[Any]])
    assert_type(premask.prepare(rows, "tokenizer", max_length="8k"), premask.SampleRows)
    assert_type(premask.pack(masked, 8192), premask.SampleRows)
    assert_type(premask.pack(frame, 8192), Any)


def outputs(rows: list[dict[str, Any]]) -> None:
    result = assert_type(premask.run(sources=[rows], tokenizer="t", output="out"), premask.Result)
    assert_type(premask.open(Path("out")), premask.Result)
    assert_type(result.counts, dict[str, Any])
    assert_type(result.rejects, list[dict[str, Any]])
    assert_type(result.splits, list[str])
    assert_type(result.report(), Path)
    assert_type(result.push("org/name", private=True), PushResult)
    assert_type(premask.verify(result), Report)
    assert_type(premask.verify(result).ok, bool)
    assert_type(premask.diff("before", result), Difference)
