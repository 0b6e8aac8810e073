"""Loading tokenizers: what is wrong with them is said, what AutoTokenizer loses is found."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from places import MakeLabeller
from premask.core.errors import TemplateError, TokenizerError
from premask.masking.chat_template import built_in_templates
from premask.tokens.tokenizer import LoadedTokenizer, load_tokenizer
from premask.tokens.tokenizer_check import Listed, ListedModel, first_difference, read_listed
from tokenizers import Tokenizer
from tokenizers.normalizers import Lowercase
from transformers import AutoTokenizer, PreTrainedTokenizerFast

Load = Callable[[str], LoadedTokenizer]
SAMPLE = Path(__file__).resolve().parents[2] / "pipeline" / "premask" / "sample" / "tokenizer"


def copy(source: Path, target: Path, *, without: str = "", **config: Any) -> Path:
    """A tokenizer with other keys in its config; a key with value None is taken out."""
    target.mkdir()
    for path in source.iterdir():
        if path.name != without:
            shutil.copyfile(path, target / path.name)
    path = target / "tokenizer_config.json"
    merged = {**json.loads(path.read_text(encoding="utf-8")), **config}
    path.write_text(
        json.dumps({key: value for key, value in merged.items() if value is not None}), encoding="utf-8"
    )
    return target


def test_sample_tokenizer(load: Load) -> None:
    tokenizer = load("sample")

    assert tokenizer.vocab_size == 8000
    assert tokenizer.stops == ("<|im_end|>",)
    assert tokenizer.special == ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
    assert tokenizer.added == {"<|endoftext|>": 0, "<|im_start|>": 1, "<|im_end|>": 2}
    assert tokenizer.variables == {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}
    assert tokenizer.warnings == ()


def test_truncation_and_padding_are_off(tmp_path: Path) -> None:
    """A tokenizer.json may ask for both; a training text is neither cut nor filled up."""
    path = copy(SAMPLE, tmp_path / "tok") / "tokenizer.json"
    spec = json.loads(path.read_text(encoding="utf-8"))
    spec["truncation"] = {"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0}
    spec["padding"] = {
        "strategy": {"Fixed": 9},
        "direction": "Right",
        "pad_to_multiple_of": None,
        "pad_id": 0,
        "pad_type_id": 0,
        "pad_token": "<|endoftext|>",
    }
    path.write_text(json.dumps(spec), encoding="utf-8")
    tokenizer = load_tokenizer(str(path.parent))

    assert tokenizer.backend.decode(tokenizer.backend.encode("one two three").ids) == "one two three"


@pytest.mark.parametrize("name", ["/nowhere/tok", "./nowhere", "a/b/c"])
def test_missing_directory(name: str) -> None:
    with pytest.raises(TokenizerError, match=f"tokenizer directory {name} does not exist; check the path"):
        load_tokenizer(name)


def test_a_file_is_no_tokenizer() -> None:
    path = str(SAMPLE / "tokenizer.json")
    with pytest.raises(TokenizerError, match="is a file; give its directory"):
        load_tokenizer(path)


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"model": {"type": "BPE"}}'])
def test_broken_tokenizer_file(tmp_path: Path, content: str) -> None:
    path = copy(SAMPLE, tmp_path / "tok")
    (path / "tokenizer.json").write_text(content, encoding="utf-8")
    with pytest.raises(TokenizerError, match="cannot be loaded: ") as error:
        load_tokenizer(str(path))

    assert "\n" not in str(error.value)


def test_empty_directory(tmp_path: Path) -> None:
    with pytest.raises(TokenizerError, match="cannot be loaded: "):
        load_tokenizer(str(tmp_path))


def test_unknown_name_without_network() -> None:
    with pytest.raises(TokenizerError, match=r"tokenizer nobody/nothing cannot be loaded: "):
        load_tokenizer("nobody/nothing")


def test_slow_tokenizers_are_refused(tmp_path: Path) -> None:
    """ByT5 has no tokenizer.json: its Python code encodes."""
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "ByT5Tokenizer"}', encoding="utf-8")
    with pytest.raises(
        TokenizerError, match=r"has no fast implementation \(no tokenizer.json\); convert it first"
    ):
        load_tokenizer(str(tmp_path))


def test_no_chat_template_names_the_built_in_ones(tmp_path: Path, make_labeller: MakeLabeller) -> None:
    path = copy(SAMPLE, tmp_path / "tok", without="chat_template.jinja")
    with pytest.raises(TemplateError, match="has no chat template; set --chat-template") as error:
        make_labeller(str(path))

    assert ", ".join(built_in_templates()) in str(error.value)


def test_built_in_template_and_its_misspelling(make_labeller: MakeLabeller) -> None:
    labeller = make_labeller("sample", chat_template="zephyr")

    assert labeller.template.sources["default"].count("<|") > 0
    with pytest.raises(
        TemplateError, match="chat template zefyr is neither a file nor a built-in one; did you mean 'zephyr'"
    ):
        make_labeller("sample", chat_template="zefyr")
    with pytest.raises(TemplateError, match=r"chat template qqq is neither .* built-in: alpaca, chatml"):
        make_labeller("sample", chat_template="qqq")


def test_template_file(tmp_path: Path, make_labeller: MakeLabeller) -> None:
    path = tmp_path / "own.jinja"
    path.write_text(
        "{% for m in messages %}<{{ m.role }}>{{ m.content }}<|im_end|>{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}",
        encoding="utf-8",
    )
    labeller = make_labeller("sample", chat_template=str(path))

    assert labeller.template.source == path.read_text(encoding="utf-8")
    path.write_bytes(b"\xff\xfe{{")
    with pytest.raises(TemplateError, match="cannot be read"):
        make_labeller("sample", chat_template=str(path))
    path.write_text("{% for %}", encoding="utf-8")
    with pytest.raises(TemplateError, match="syntax error in line 1"):
        make_labeller("sample", chat_template=str(path))


def test_added_tokens_that_auto_tokenizer_drops() -> None:
    """Some classes rebuild a tokenizer from its parts; tokens that stand only in tokenizer.json are lost."""
    spec = json.loads((SAMPLE / "tokenizer.json").read_text(encoding="utf-8"))
    rebuilt = Tokenizer.from_str(json.dumps({**spec, "added_tokens": []}))
    hf = PreTrainedTokenizerFast(tokenizer_object=rebuilt)
    with mock.patch("transformers.AutoTokenizer.from_pretrained", return_value=hf):
        tokenizer = load_tokenizer(str(SAMPLE))
    (warning,) = tokenizer.warnings

    assert tokenizer.added == {"<|endoftext|>": 0, "<|im_start|>": 1, "<|im_end|>": 2}
    assert tokenizer.backend.encode("a<|im_end|>").ids[-1] == 2
    assert tokenizer.variables["eos_token"] == "<|im_end|>"  # noqa: S105  a token of text
    assert "loses added tokens of" in warning
    assert warning.endswith("(<|endoftext|>, <|im_start|>, <|im_end|>); tokenizer.json is used as it is")


def test_added_tokens_of_gemma_without_extra_special_tokens(tmp_path: Path, shared: Path) -> None:
    """They stand only in tokenizer.json: kept by AutoTokenizer or not, the file's ids are used, and saved."""
    path = copy(shared / "tokenizers" / "gemma_chatml", tmp_path / "tok", extra_special_tokens=None)
    tokenizer = load_tokenizer(str(path))
    tokenizer.save(tmp_path / "saved", "{{ messages[0].content }}")
    saved = AutoTokenizer.from_pretrained(tmp_path / "saved")

    assert tokenizer.added["<|im_start|>"] == 256000
    assert tokenizer.backend.encode("a<|im_end|>", add_special_tokens=False).ids[-1] == 256001
    assert tokenizer.variables["eos_token"] == "<eos>"  # noqa: S105  a token of text
    assert saved.encode("a<|im_end|>", add_special_tokens=False)[-1] == 256001


def test_added_tokens_that_get_other_ids(tmp_path: Path) -> None:
    """tokenizers numbers them on from the vocabulary, whatever the file says: the model's rows would not fit."""
    path = copy(SAMPLE, tmp_path / "tok") / "tokenizer.json"
    spec = json.loads(path.read_text(encoding="utf-8"))
    spec["added_tokens"].append({**spec["added_tokens"][-1], "id": 8005, "content": "<|late|>"})
    path.write_text(json.dumps(spec), encoding="utf-8")
    with pytest.raises(
        TokenizerError, match=r"gets other ids for added tokens \(<\|late\|>\) than its tokenizer.json lists"
    ):
        load_tokenizer(str(path.parent))


@pytest.mark.parametrize(
    ("config", "stops"),
    [
        ({"eos_token_id": [2, 0]}, ("<|im_end|>", "<|endoftext|>")),
        ({"eos_token_id": 0}, ("<|im_end|>", "<|endoftext|>")),
        ({"eos_token_id": [2, 77]}, ("<|im_end|>",)),  # 77 is a word, and no reason to stop at it
        ({"eos_token_id": None}, ("<|im_end|>",)),
        ({}, ("<|im_end|>",)),
        ([], ("<|im_end|>",)),
    ],
)
def test_stops_of_the_generation_config(tmp_path: Path, config: Any, stops: tuple[str, ...]) -> None:
    path = copy(SAMPLE, tmp_path / "tok")
    (path / "generation_config.json").write_text(json.dumps(config), encoding="utf-8")

    assert load_tokenizer(str(path)).stops == stops


def test_a_broken_generation_config_is_left_out(tmp_path: Path) -> None:
    path = copy(SAMPLE, tmp_path / "tok")
    (path / "generation_config.json").write_text("{", encoding="utf-8")

    assert load_tokenizer(str(path)).stops == ("<|im_end|>",)


@pytest.mark.parametrize("name", ["sample", "qwen3"])
def test_saved_tokenizer_loads_again(tmp_path: Path, load: Load, name: str) -> None:
    """What lies beside the shards gives the same ids and has the template that was used."""
    tokenizer = load(name)
    own = tokenizer.hf.chat_template
    template = "{% for m in messages %}{{ m.content }}<|im_end|>{% endfor %}"
    tokenizer.save(tmp_path / "saved", template)
    saved = AutoTokenizer.from_pretrained(tmp_path / "saved")
    texts = ["Hello  world", "<|im_start|>user\nÉ e\u0301 👩‍👩‍👧‍👦<|im_end|>\n", " \u2581 x"]

    assert saved.chat_template == template
    assert tokenizer.hf.chat_template == own
    for text in texts:
        assert (
            saved.encode(text, add_special_tokens=False)
            == tokenizer.backend.encode(text, add_special_tokens=False).ids
        )
    again = load_tokenizer(str(tmp_path / "saved"))
    assert (again.added, again.stops, again.warnings) == (tokenizer.added, tokenizer.stops, ())


def test_hash_tells_tokenizers_apart(tmp_path: Path, load: Load) -> None:
    other = load_tokenizer(str(copy(SAMPLE, tmp_path / "tok", eos_token="<|endoftext|>")))
    same = load_tokenizer(str(copy(SAMPLE, tmp_path / "same")))

    assert load("sample").sha256() == same.sha256()
    assert load("sample").sha256() != other.sha256()


# ==== Other ids than tokenizer.json ====


def digits_in_threes(path: Path) -> None:
    """Let a tokenizer.json cut digits in threes, as Llama 3's does."""
    spec = json.loads(path.read_text(encoding="utf-8"))
    split = {
        "type": "Split",
        "pattern": {"Regex": r"\p{N}{1,3}|[^\p{N}]+"},
        "behavior": "Isolated",
        "invert": False,
    }
    bytes_of = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    spec["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [split, bytes_of]}
    path.write_text(json.dumps(spec), encoding="utf-8")


@pytest.mark.parametrize("kind", ["GPT2Tokenizer", "Qwen2Tokenizer"])
def test_a_class_that_gives_other_ids_is_a_warning(tmp_path: Path, kind: str) -> None:
    """`AutoTokenizer` rebuilds it with the cuts of that class."""
    path = copy(SAMPLE, tmp_path / "tok", tokenizer_class=kind)
    digits_in_threes(path / "tokenizer.json")
    tokenizer = load_tokenizer(str(path))
    alone = Tokenizer.from_file(str(path / "tokenizer.json"))
    (warning,) = tokenizer.warnings
    text = warning.partition("tokenizer.json: ")[2].partition(" is [")[0]

    assert f"AutoTokenizer loads {path} as {kind}, which gives other ids than its tokenizer.json: " in warning
    assert "set tokenizer_class in tokenizer_config.json to PreTrainedTokenizerFast" in warning
    loaded, listed = (each.encode(text[1:-1]).ids for each in (tokenizer.backend, alone))
    assert loaded != listed
    assert (str(loaded[:3])[:-1] in warning, str(listed[:3])[:-1] in warning) == (True, True)
    assert "\n" not in warning


def test_what_the_warning_names_helps(tmp_path: Path) -> None:
    path = copy(SAMPLE, tmp_path / "tok", tokenizer_class="PreTrainedTokenizerFast")
    digits_in_threes(path / "tokenizer.json")
    tokenizer = load_tokenizer(str(path))

    assert tokenizer.warnings == ()
    assert tokenizer.backend.encode("650841823").ids == (
        Tokenizer.from_file(str(path / "tokenizer.json")).encode("650841823").ids
    )


@pytest.mark.parametrize("name", ["gemma", "gemma_chatml", "qwen3", "llama3_2"])
def test_real_tokenizers_have_the_ids_of_their_file(load: Load, name: str) -> None:
    """Parts of some are written differently, but cut the same; the whole file is not loaded for that."""
    tokenizer = load(name)
    path = Path(tokenizer.name) / "tokenizer.json"
    with mock.patch.object(Tokenizer, "from_file", side_effect=AssertionError):
        assert first_difference(tokenizer.backend, path, read_listed(path)) is None
    assert tokenizer.warnings == ()


def listed_sample(**changes: Any) -> tuple[Tokenizer, Listed]:
    """The sample's tokenizer, and its tokenizer.json with other parts."""
    path = SAMPLE / "tokenizer.json"
    listed = read_listed(path)
    for name, value in changes.items():
        setattr(listed, name, value)
    return Tokenizer.from_file(str(path)), listed


@pytest.mark.parametrize(
    "changes",
    [
        {"model": ListedModel(type="Unigram")},
        {"model": ListedModel(type="BPE", ignore_merges=True)},
        {"normalizer": {"type": "Lowercase"}},
        {"normalizer": {"type": "of another release"}},
        {"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": True}},
        {"added_tokens": [{"id": 2, "content": "<|im_end|>", "rstrip": True}]},
    ],
)
def test_parts_that_differ_are_compared_by_ids(changes: dict[str, Any]) -> None:
    """The file has the last word."""
    backend, listed = listed_sample(**changes)
    other = Tokenizer.from_str(backend.to_str())
    other.normalizer = Lowercase()
    with mock.patch.object(Tokenizer, "from_file", return_value=other):
        found = first_difference(backend, SAMPLE / "tokenizer.json", listed)

    assert found is not None
    assert found.text != found.text.lower()
    assert found.listed == backend.encode(found.text.lower()).ids
    assert first_difference(backend, SAMPLE / "tokenizer.json", listed) is None


def test_parts_that_cut_the_same_are_the_same() -> None:
    backend, listed = listed_sample(normalizer={"type": "Sequence", "normalizers": []})
    with mock.patch.object(Tokenizer, "from_file", side_effect=AssertionError):
        assert first_difference(backend, SAMPLE / "tokenizer.json", listed) is None
