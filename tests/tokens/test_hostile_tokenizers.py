"""Tokenizers from strangers: one line or it loads; no code runs; what they cannot encode costs a row alone.

The rest of the mutations is a command: `python tests/support/fuzz_tokenizers.py 2000`.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest import mock

import fuzz_tokenizers
import numpy as np
import pytest
from fuzz_tokenizers import SMALL, by_hand, random_ones, tried
from hypothesis import given
from hypothesis import strategies as st
from places import SHARED, MakeLabeller
from premask.core.errors import OutputError, TokenizerError
from premask.core.recipe import EngineChoice
from premask.core.records import TEMPLATE, Conversation, Message, Sample
from premask.masking.segments import masked_texts
from premask.tokens.encode import Encoded, Encoder
from premask.tokens.engine_check import prove_engine
from premask.tokens.engines import EngineProof, TwoEngines
from premask.tokens.plain_parts import reason_to_watch
from premask.tokens.token_text import TokenTexts
from premask.tokens.tokenizer import load_tokenizer
from premask.tokens.watched_texts import RAISES, refused_texts
from tokenizers import Tokenizer, models
from watching import watched

EVIL = {"type": "Split", "pattern": {"Regex": "(a+)+$"}, "behavior": "Isolated", "invert": False}
BAD = "a" * 3000 + "!"


@pytest.fixture(autouse=True, scope="module")
def _watched() -> Iterator[None]:
    with watched():
        yield


@pytest.fixture(scope="module")
def _libraries() -> None:
    fuzz_tokenizers.load_libraries()


def folder_of(tmp_path: Path, name: str = "sample", **spec: Any) -> Path:
    """A small tokenizer, with other parts in its tokenizer.json."""
    folder = tmp_path / name
    folder.mkdir()
    SMALL[name](folder)
    path = folder / "tokenizer.json"
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **spec}), encoding="utf-8")
    return folder


def configured(folder: Path, **values: Any) -> Path:
    path = folder / "tokenizer_config.json"
    config = {**json.loads(path.read_text(encoding="utf-8")), **values}
    path.write_text(json.dumps(config), encoding="utf-8")
    return folder


def one_line(folder: Path) -> str:
    with pytest.raises(TokenizerError) as error:
        load_tokenizer(str(folder))
    assert str(error.value).strip()
    assert len(str(error.value).splitlines()) == 1
    return str(error.value)


# ==== Folders ====


@pytest.mark.usefixtures("_libraries")
@pytest.mark.parametrize("kind", ["template", "file", "code"])
def test_odd_folders_by_hand(kind: str) -> None:
    chosen = [each for each in by_hand() if each.kind == kind][::3]
    faults = [ended for each in chosen if (ended := tried(each)).is_fault]

    assert len(chosen) > 8
    assert faults == []


@pytest.mark.usefixtures("_libraries")
@pytest.mark.parametrize("kind", ["regex", "growth", "vocabulary"])
def test_odd_parts_by_hand(kind: str) -> None:
    chosen = [each for each in by_hand() if each.kind == kind][::8]
    faults = [ended for each in chosen if (ended := tried(each)).is_fault]

    assert len(chosen) > 2
    assert faults == []


@pytest.mark.usefixtures("_libraries")
def test_random_mutations() -> None:
    assert [ended for each in random_ones(30, 5) if (ended := tried(each)).is_fault] == []


@pytest.mark.parametrize("name", ["tokenizer.json", "generation_config.json", "further.txt"])
def test_a_link_out_of_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    folder, secret = folder_of(tmp_path), tmp_path / "secret.json"
    secret.write_text("{}", encoding="utf-8")
    (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to(secret)

    assert f"{name} is a link that leads out of the folder" in one_line(folder)


def test_links_of_the_cache_of_the_hub_are_followed(tmp_path: Path) -> None:
    made = folder_of(tmp_path)
    snapshot, blobs = tmp_path / "repo" / "snapshots" / "abc", tmp_path / "repo" / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for path in made.iterdir():
        path.rename(blobs / path.name)
        (snapshot / path.name).symlink_to(blobs / path.name)

    assert load_tokenizer(str(snapshot)).vocab_size == 8000


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    os.mkfifo(folder / "config.json")

    assert "config.json is no regular file" in one_line(folder)


# ==== Code ====


def test_code_of_a_tokenizer_is_neither_run_nor_saved(tmp_path: Path) -> None:
    folder, trace = folder_of(tmp_path), tmp_path / "trace"
    code = f"open({str(trace)!r}, 'w')\nclass Own:\n    pass\n"
    (folder / "own.py").write_text(code, encoding="utf-8")
    (folder / "vocab.pkl").write_bytes(b"pickled")
    configured(folder, auto_map={"AutoTokenizer": ["own.Own", "own.Own"]}, tokenizer_class="Own")
    with mock.patch("builtins.input", side_effect=AssertionError("asked")):
        tokenizer = load_tokenizer(str(folder))
    tokenizer.save(tmp_path / "saved", "{{ messages }}")
    saved = tmp_path / "saved"

    assert not trace.exists()
    assert any("its code is not run, tokenizer.json is used as it is" in each for each in tokenizer.warnings)
    assert sorted(path.name for path in saved.iterdir()) == [
        *("chat_template.jinja", "tokenizer.json", "tokenizer_config.json")
    ]
    assert "auto_map" not in json.loads((saved / "tokenizer_config.json").read_text(encoding="utf-8"))
    assert load_tokenizer(str(saved)).json == tokenizer.json


def test_a_tokenizer_of_code_alone_is_refused(tmp_path: Path) -> None:
    folder = configured(
        folder_of(tmp_path), auto_map={"AutoTokenizer": ["own.Own", None]}, tokenizer_class="Own"
    )
    (folder / "tokenizer.json").unlink()

    assert "needs code of its own (auto_map), which is never run" in one_line(folder)


# ==== Texts that a tokenizer does not encode ====


def test_a_text_at_which_the_library_panics_costs_its_row_alone(
    tmp_path: Path, make_labeller: MakeLabeller
) -> None:
    folder = folder_of(tmp_path, pre_tokenizer=EVIL)
    labeller = make_labeller(str(folder))
    contents = ["Hello", BAD, "there", "", "bb"]
    samples = [
        sample
        for text in contents
        for sample in labeller.decide(Conversation((Message("user", text), Message("assistant", f"{text}."))))
    ]
    masked = masked_texts(samples, range(len(samples)))
    encoded = labeller.encoder.encode(masked)
    counts = np.diff(encoded.tokens.offsets)

    assert not labeller.proof.fast
    assert "whose time is not known to be bounded" in labeller.proof.reason
    assert {at: str(error) for at, error in encoded.errors.items()} == {1: f"tokenizer_error: {RAISES}"}
    assert (counts == 0).tolist() == [False, True, False, False, False]
    whole = labeller.encoder.encode(masked.taken(np.array([0, 2, 3, 4]))).tokens
    assert encoded.tokens.ids.tolist() == whole.ids.tolist()


def test_a_text_that_takes_too_much_is_refused(tmp_path: Path) -> None:
    grows = {"type": "Replace", "pattern": {"String": "q"}, "content": "q" * 3000}
    folder = folder_of(tmp_path, normalizer={"type": "Sequence", "normalizers": [grows, grows, grows]})
    backend = load_tokenizer(str(folder)).backend
    found = refused_texts(backend, ["a", "q", "b", *"cdefgh"], "it grows")

    assert list(found) == [1]
    assert "too much memory" in found[1] or "too much CPU time" in found[1]
    with pytest.raises(TokenizerError, match="and for many others; it grows"):
        refused_texts(backend, ["q"] * 9, "it grows")


def test_errors_of_the_library_cost_their_rows_alone() -> None:
    """No part is odd, but the token for unknown characters is not in the vocabulary."""
    backend = Tokenizer(models.BPE({"a": 0, "b": 1}, [], unk_token="nowhere"))
    encoder = Encoder(backend)
    for texts in (["a", "x", "", "ab"], ["x", "a"], ["x"], ["ba"]):
        samples = [Sample(text, (), ((len(text), TEMPLATE),) if text else (), "inference") for text in texts]
        encoded = encoder.encode(masked_texts(samples, range(len(samples))))

        assert {at: error.reason for at, error in encoded.errors.items()} == {
            at: "tokenizer_error" for at, text in enumerate(texts) if text == "x"
        }
        sizes = np.diff(encoded.tokens.offsets).tolist()
        assert sizes == [0 if text == "x" else len(text) for text in texts]


def test_the_tokenizers_of_chat_models_are_not_watched() -> None:
    paths = [fuzz_tokenizers.SAMPLE, *(sorted((SHARED / "tokenizers").glob("*")) if SHARED.is_dir() else [])]
    for path in paths:
        spec = json.loads((path / "tokenizer.json").read_text(encoding="utf-8"))

        assert reason_to_watch(spec) == "", path


@pytest.mark.parametrize(
    "part",
    [
        EVIL,
        {**EVIL, "pattern": {"Regex": r"\s*[\r\n]+"}},
        {**EVIL, "pattern": {"Regex": r"\s+|\s*[\r\n]+|(a|a)*b"}},
        {"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}] * 40},
        {"type": "Unknown"},
    ],
)
def test_what_is_watched(part: Any) -> None:
    assert reason_to_watch({"pre_tokenizer": part})


def test_the_texts_of_hostile_tokens(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    spec = json.loads((fuzz_tokenizers.SAMPLE / "tokenizer.json").read_text(encoding="utf-8"))
    decoder = {"type": "Replace", "pattern": {"Regex": "(a+)+$"}, "content": "b"}
    path.write_text(json.dumps({**spec, "decoder": decoder}), encoding="utf-8")
    assert TokenTexts(path).bytes_of(500)
    charsmap = {"type": "Precompiled", "precompiled_charsmap": "AAAA"}
    path.write_text(json.dumps({**spec, "normalizer": charsmap}), encoding="utf-8")
    with pytest.raises(OutputError, match="cannot be read: "):
        TokenTexts(path)


# ==== Batches of odd texts ====

ODD = [
    "",
    " ",
    "\u2581",
    "  Hello",
    "<|im_end|>",
    "e\u0301",
    "\U0001f642",
    "\n\n",
    "a" * 50,
    "</s> <s>",
    "\0",
]


def encoders() -> Iterator[tuple[str, Encoder]]:
    """Encoders of all small tokenizers: without a fast engine, with it, and with one that takes no text."""
    for name in SMALL:
        with fuzz_tokenizers.made(name) as folder:
            backend = Tokenizer.from_file(str(folder / "tokenizer.json"))
        control = ["<|im_start|>", "<|im_end|>"]
        yield f"{name} reference", Encoder(backend, control=control, generated=control)
        proof = prove_engine(backend, EngineChoice.auto)
        if proof.fast:
            everything = EngineProof(proof.engine, excluded=((0, 0x10FFFF),))
            for label, each in (("fast", proof), ("none", everything)):
                engines = TwoEngines(backend, each)
                yield f"{name} {label}", Encoder(backend, control=control, generated=control, engines=engines)


@pytest.fixture(scope="module")
def all_encoders() -> dict[str, Encoder]:
    return dict(encoders())


def encoded(encoder: Encoder, texts: Sequence[str], *, reference: bool) -> Encoded:
    samples = [Sample(text, (), ((len(text), TEMPLATE),) if text else (), "inference") for text in texts]
    return encoder.encode(masked_texts(samples, range(len(samples))), reference=reference)


def agrees(encoder: Encoder, texts: Sequence[str]) -> None:
    """A batch gives what each text gives alone, by both engines."""
    both = [encoded(encoder, texts, reference=which) for which in (False, True)]
    alone = [encoded(encoder, [text], reference=False).tokens.ids.tolist() for text in texts]
    for each in both:
        ids, offsets, starts, ends = each.tokens
        assert each.errors == {}
        assert len(offsets) == len(texts) + 1
        assert [ids[a:b].tolist() for a, b in pairwise(offsets)] == alone
        assert len(starts) == len(ends) == len(ids)


def test_batches_of_every_kind(all_encoders: dict[str, Encoder]) -> None:
    chance = random.Random(3)  # noqa: S311  repeatable
    batches = [[], [""], [""] * 7, ["Hello"], ["Hello", *ODD], ODD, *([each] for each in ODD)]
    batches += [chance.choices(ODD, k=size) for size in (2, 3, 40)]
    assert len(all_encoders) > 5
    for encoder in all_encoders.values():
        for texts in batches:
            agrees(encoder, texts)


@given(texts=st.lists(st.one_of(st.sampled_from(ODD), st.text(max_size=12)), max_size=6))
def test_random_batches(all_encoders: dict[str, Encoder], texts: list[str]) -> None:
    for encoder in all_encoders.values():
        agrees(encoder, [text.encode("utf-8", "replace").decode() for text in texts])
