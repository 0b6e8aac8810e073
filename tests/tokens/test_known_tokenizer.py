"""A tokenizer that is kept as a fact is the one that transformers loads: same ids, same texts, same files."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import Any
from unittest import mock

import places
import pytest
from places import ROOT
from premask.core import facts, limits
from premask.core.errors import TokenizerError
from premask.tokens import token_bytes
from premask.tokens.engines import EngineProof
from premask.tokens.late_engine import LateEngine, shared_engine
from premask.tokens.quick_spec import quick_spec
from premask.tokens.tokenizer import LoadedTokenizer, load_tokenizer
from premask.tokens.tokenizer_files import TokenizerFiles

SAMPLE = places.SAMPLE / "tokenizer"
NAMES = ["sample", "gemma", "gemma_chatml", "llama3_2", "qwen3"]
TEXTS = [
    "Hello  world",
    "<|im_start|>user\nÉ e\u0301 👩‍👩‍👧‍👦<|im_end|>\n",
    " \u2581 x",
    "def f(x):\n\treturn 1234567 + x\n\n\n",
    "請問 <bos> <|begin_of_text|>",
    "",
]
TEMPLATE = "{% for m in messages %}{{ m.content }}<|im_end|>{% endfor %}"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PREMASK_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("PREMASK_FACTS")
    return tmp_path / "cache" / "facts"


def path_of(name: str) -> str:
    path = SAMPLE if name == "sample" else places.SHARED / "tokenizers" / name
    if not path.is_dir():
        pytest.skip(f"{path} is not there")
    return str(path)


def known(name: str) -> LoadedTokenizer:
    """The tokenizer, which must not be loaded by transformers."""
    with mock.patch("premask.tokens.tokenizer.in_watched_process", side_effect=AssertionError(name)):
        return load_tokenizer(name)


@contextmanager
def loads_again() -> Iterator[None]:
    """What is loaded in the block is loaded by transformers."""
    with mock.patch(
        "premask.tokens.tokenizer.in_watched_process", side_effect=limits.in_watched_process
    ) as loads:
        yield
    assert loads.call_count


def files_in(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def saved(tokenizer: LoadedTokenizer, folder: Path, template: Any = TEMPLATE) -> dict[str, bytes]:
    folder.mkdir()
    tokenizer.save(folder, template)
    return files_in(folder)


@pytest.mark.parametrize("name", NAMES)
def test_a_known_tokenizer_is_the_loaded_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    path = path_of(name)
    monkeypatch.setenv("PREMASK_FACTS", "off")
    reference = load_tokenizer(path)
    expected = saved(reference, tmp_path / "reference")
    monkeypatch.delenv("PREMASK_FACTS")
    first = load_tokenizer(path)
    first_saved = saved(first, tmp_path / "first")
    second = known(path)

    for each in (first, second):
        for field in fields(LoadedTokenizer):
            if field.name not in ("backend", "files"):
                assert getattr(each, field.name) == getattr(reference, field.name), field.name
        assert list(each.variables) == list(reference.variables)
        assert list(each.added) == list(reference.added)
        assert each.vocab_size == reference.vocab_size
        assert each.pad_id == reference.pad_id
        assert each.sha256() == reference.sha256()
        assert each.json == reference.json == each.backend.to_str()
        ids = [[found.ids for found in one.backend.encode_batch(TEXTS)] for one in (each, reference)]
        assert ids[0] == ids[1]
    with mock.patch.object(LoadedTokenizer, "hf", new=None):  # the saved files are known, too
        assert saved(second, tmp_path / "second") == first_saved == expected


@pytest.mark.parametrize("name", ["sample", "qwen3"])
def test_a_known_tokenizer_in_another_process(name: str) -> None:
    path = path_of(name)
    reference = load_tokenizer(path)
    for each in (reference, known(path)):
        sent = pickle.loads(pickle.dumps(each))  # noqa: S301  as it is sent to workers

        assert "hf" not in sent.__dict__
        assert sent.json == sent.backend.to_str() == reference.json
        assert (sent.sha256(), sent.added, sent.stops) == (
            reference.sha256(),
            reference.added,
            reference.stops,
        )


def test_the_object_of_transformers_is_loaded_when_it_is_asked_for() -> None:
    load_tokenizer(path_of("sample"))
    tokenizer = known(path_of("sample"))

    assert tokenizer.hf.backend_tokenizer.to_str() == tokenizer.json


def test_another_template_is_saved_as_it_is(tmp_path: Path) -> None:
    tokenizer = load_tokenizer(path_of("sample"))
    one = saved(tokenizer, tmp_path / "one")
    other = saved(tokenizer, tmp_path / "other", "{{ messages }}")
    several = saved(tokenizer, tmp_path / "several", {"default": TEMPLATE, "tool_use": "{{ tools }}"})
    with mock.patch.object(LoadedTokenizer, "hf", new=None):
        again = saved(
            known(path_of("sample")), tmp_path / "again", {"default": TEMPLATE, "tool_use": "{{ tools }}"}
        )

    assert one["chat_template.jinja"].decode() == TEMPLATE
    assert other["chat_template.jinja"].decode() == "{{ messages }}"
    assert len(several) == len(one) + 1
    assert again == several


@pytest.mark.parametrize("name", ["../outside", "/outside", "", "a/b", "..", "x" * 300, "a\nb"])
def test_names_of_saved_files_stay_in_their_folder(tmp_path: Path, name: str) -> None:
    """A template whose name leads elsewhere is not written, whoever made the fact."""
    tokenizer = load_tokenizer(path_of("sample"))
    with pytest.raises(TokenizerError, match=r"the name .* is none; use letters") as error:
        saved(tokenizer, tmp_path / "to", {"default": TEMPLATE, name: TEMPLATE})

    assert "\n" not in str(error.value)
    assert not files_in(tmp_path / "to")


# ==== What decides whether it is known ====


def copy_of(tmp_path: Path) -> Path:
    return Path(shutil.copytree(SAMPLE, tmp_path / "tok"))


def another_eos(path: Path) -> None:
    file = path / "tokenizer_config.json"
    config = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps({**config, "eos_token": "<|endoftext|>"}), encoding="utf-8")


def another_template(path: Path) -> None:
    (path / "chat_template.jinja").write_text(TEMPLATE, encoding="utf-8")


def another_stop(path: Path) -> None:
    (path / "generation_config.json").write_text('{"eos_token_id": 0}', encoding="utf-8")


def another_vocabulary(path: Path) -> None:
    file = path / "tokenizer.json"
    spec = json.loads(file.read_text(encoding="utf-8"))
    spec["added_tokens"].append({**spec["added_tokens"][-1], "id": 8000, "content": "<|more|>"})
    file.write_text(json.dumps(spec), encoding="utf-8")


def another_named_template(path: Path) -> None:
    (path / "additional_chat_templates").mkdir()
    (path / "additional_chat_templates" / "tool_use.jinja").write_text("{{ tools }}", encoding="utf-8")


@pytest.mark.parametrize(
    "change", [another_eos, another_template, another_stop, another_vocabulary, another_named_template]
)
def test_other_files_are_another_tokenizer(tmp_path: Path, change: Callable[[Path], None]) -> None:
    path = copy_of(tmp_path)
    before = load_tokenizer(str(path))
    change(path)
    with loads_again():
        after = load_tokenizer(str(path))
    again = known(str(path))

    different = [
        field.name
        for field in fields(LoadedTokenizer)
        if field.name not in ("backend", "files")
        and getattr(before, field.name) != getattr(after, field.name)
    ]
    assert different
    assert [getattr(again, name) for name in different] == [getattr(after, name) for name in different]


def test_weights_beside_a_tokenizer_do_not_count(tmp_path: Path) -> None:
    path = copy_of(tmp_path)
    before = load_tokenizer(str(path))
    (path / "model.safetensors").write_bytes(b"weights")

    assert known(str(path)).sha256() == before.sha256()


def test_a_tokenizer_that_changes_while_it_is_loaded_is_not_kept(tmp_path: Path, folder: Path) -> None:
    path = copy_of(tmp_path)
    of, calls = TokenizerFiles.of, []

    def changing(name: str, *, only_cached: bool) -> TokenizerFiles | None:
        found = of(name, only_cached=only_cached)
        calls.append(name)
        if len(calls) == 1:
            another_eos(path)
        return found

    with mock.patch.object(TokenizerFiles, "of", changing):
        tokenizer = load_tokenizer(str(path))

    assert tokenizer.files is None
    assert not list(folder.glob("tokenizer-*"))
    assert tokenizer.variables["eos_token"] == "<|endoftext|>"  # noqa: S105  a token of text


def test_files_that_the_hub_adds_to_a_commit_are_no_change() -> None:
    before = TokenizerFiles("org/name", Path("/hub/snapshots/abc"), {"a": "1"})

    assert before.is_of_hub
    assert before.are_those_of(replace(before, digests={"a": "1", "b": "2"}))
    assert not before.are_those_of(replace(before, digests={"a": "2", "b": "2"}))
    assert not before.are_those_of(replace(before, folder=Path("/hub/snapshots/def")))
    assert not before.are_those_of(None)
    local = TokenizerFiles("/tok", Path("/tok"), {"a": "1"})
    assert not local.are_those_of(replace(local, digests={"a": "1", "b": "2"}))


def test_warnings_are_kept(tmp_path: Path) -> None:
    """Who uses a tokenizer a second time must know, too."""
    path = copy_of(tmp_path)
    file = path / "tokenizer_config.json"
    config = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps({**config, "tokenizer_class": "GPT2Tokenizer"}), encoding="utf-8")
    spec = json.loads((path / "tokenizer.json").read_text(encoding="utf-8"))
    spec["pre_tokenizer"] = {
        "type": "ByteLevel",
        "add_prefix_space": False,
        "trim_offsets": True,
        "use_regex": False,
    }
    (path / "tokenizer.json").write_text(json.dumps(spec), encoding="utf-8")
    first = load_tokenizer(str(path))

    assert len(first.warnings) == 1
    assert known(str(path)).warnings == first.warnings


def test_errors_are_not_kept(tmp_path: Path, folder: Path) -> None:
    path = copy_of(tmp_path)
    (path / "tokenizer.json").write_text("{", encoding="utf-8")
    for _ in range(2):
        with pytest.raises(TokenizerError, match="cannot be loaded"):
            load_tokenizer(str(path))

    assert not folder.exists()


def test_a_fact_of_another_tokenizer_is_not_used(tmp_path: Path) -> None:
    """It is whole and of the right type, but its parts do not belong together."""
    path = copy_of(tmp_path)
    reference = load_tokenizer(str(path))
    files = TokenizerFiles.of(str(path))
    assert files is not None
    kept = facts.find("tokenizer", files.about(), dict)
    assert kept is not None
    for wrong in ({"added": {"<|other|>": 0}}, {"vocab_size": 7}, {"spec": "{}"}, {"spec": ""}):
        facts.keep("tokenizer", files.about(), {**kept, **wrong})
        with loads_again():
            again = load_tokenizer(str(path))

        assert (again.json, again.added) == (reference.json, reference.added)


# ==== Its parts ====


def test_a_quick_spec_has_merges_in_one_text(load: Callable[[str], LoadedTokenizer]) -> None:
    whole = load("sample").json
    quick = json.loads(quick_spec(whole))

    assert all(isinstance(merge, str) for merge in quick["model"]["merges"])
    assert [merge.split(" ") for merge in quick["model"]["merges"]] == json.loads(whole)["model"]["merges"]


def test_merges_with_spaces_stay_pairs(load: Callable[[str], LoadedTokenizer]) -> None:
    spec = json.loads(load("sample").json)
    spec["model"]["vocab"] |= {"a b": 8000, " b": 8001}
    spec["model"]["merges"] = [["a", " b"]]
    text = json.dumps(spec)

    assert quick_spec(text) == text


def test_a_model_without_merges_stays_as_it_is(load: Callable[[str], LoadedTokenizer]) -> None:
    spec = json.loads(load("sample").json)
    spec["model"] = {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "a"}
    text = json.dumps(spec)

    assert quick_spec(text) == text


@pytest.mark.parametrize("name", NAMES)
def test_byte_tables_are_kept(load: Callable[[str], LoadedTokenizer], name: str) -> None:
    whole = load(name).json
    token_bytes.byte_tables.cache_clear()
    spec, lengths = token_bytes.byte_tables(whole)
    token_bytes.byte_tables.cache_clear()
    with mock.patch("msgspec.json.decode", side_effect=AssertionError):
        again, same = token_bytes.byte_tables(whole)
    token_bytes.byte_tables.cache_clear()

    assert again == spec
    assert lengths is not None
    assert same is not None
    assert (same.dtype, same.tolist()) == (lengths.dtype, lengths.tolist())
    same[0] += 1  # it can be written, as before


def test_the_fast_engine_is_loaded_for_large_batches(load: Callable[[str], LoadedTokenizer]) -> None:
    tokenizer = load("sample")
    texts = ["Hello world. " * 10] * 10
    with mock.patch("premask.tokens.late_engine._loaded", set()) as loaded:
        late = LateEngine(tokenizer.json, backend=tokenizer.backend)
        few, few_offsets = late.encode(texts)
        assert not loaded
        shared_engine.cache_clear()
        many, many_offsets = late.encode(texts * 400)
        assert loaded == {tokenizer.json}
        again, _ = late.encode(texts)

    assert many.tolist() == few.tolist() * 400
    assert many_offsets[:11].tolist() == few_offsets.tolist()
    assert again.tolist() == few.tolist()


SCRIPT = """
import sys
from premask.tokens.tokenizer import load_tokenizer
load_tokenizer(sys.argv[1]).backend.encode("Hello")
print(*{"transformers", "huggingface_hub", "torch", "datasets"} & {*sys.modules})
"""


def test_the_process_that_loads_a_tokenizer_needs_no_transformers() -> None:
    """An unknown one is loaded in another process, a known one without the library."""

    def imported() -> str:
        environ = {**os.environ, "PYTHONPATH": str(ROOT / "pipeline")}
        words = [sys.executable, "-c", SCRIPT, str(SAMPLE)]
        return subprocess.run(words, env=environ, capture_output=True, text=True, check=True).stdout

    assert imported() == "\n"
    assert imported() == "\n"


def test_the_engine_check_is_kept(make_labeller: Any) -> None:
    """A proof is; a refusal may have had a passing cause."""
    refused = EngineProof("tokenizers", "memory is short")
    with mock.patch("premask.tokens.engine_check.prove_engine", return_value=refused):
        assert make_labeller("sample").proof == refused
    first = make_labeller("sample").proof
    with mock.patch("premask.tokens.engine_check.prove_engine", side_effect=AssertionError):
        again = make_labeller("sample").proof

    assert first.fast
    assert again == first
