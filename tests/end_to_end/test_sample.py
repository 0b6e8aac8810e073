"""The sample conversations, their tokenizer, and the built-in chat templates."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from jinja2.exceptions import TemplateError
from tokenizers import Tokenizer
from transformers import AutoTokenizer

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = ROOT / "pipeline" / "premask" / "sample"
TOKENIZER = SAMPLE / "tokenizer"
TEMPLATES = ROOT / "pipeline" / "premask" / "masking" / "templates"
NAMES = ("alpaca", "chatml", "llama2", "mistral", "vicuna", "zephyr")

Chat = list[dict[str, Any]]


def sample_lines() -> list[str]:
    """The lines of the sample; cut at line feeds only, since one row holds U+2028."""
    return (SAMPLE / "conversations.jsonl").read_text(encoding="utf-8").split("\n")[:-1]


def good_rows() -> list[dict[str, Any]]:
    """The rows that were not broken on purpose."""
    lines = [line for line in sample_lines() if line.startswith("{") and '"id": "broken-' not in line]
    return [json.loads(line) for line in lines]


def as_chat(row: dict[str, Any]) -> Chat:
    """A ShareGPT row as role/content messages."""
    roles = {"system": "system", "human": "user", "gpt": "assistant"}
    return [{"role": roles[m["from"]], "content": m["value"]} for m in row["conversations"]]


def template(name: str) -> str:
    """The text of a built-in template."""
    return (TEMPLATES / f"{name}.jinja").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def sample_tokenizer() -> Any:
    """The sample tokenizer as users load it: eos `<|im_end|>`, no bos."""
    return AutoTokenizer.from_pretrained(TOKENIZER)


@pytest.fixture(scope="module")
def llama_like() -> Any:
    """The sample tokenizer with `<s>` and `</s>`, for templates that print them."""
    return AutoTokenizer.from_pretrained(TOKENIZER, bos_token="<s>", eos_token="</s>")


def render(tokenizer: Any, messages: Chat, name: str, *, prompt: bool = False, **kwargs: Any) -> str:
    """Text of the messages in a built-in template."""
    text = tokenizer.apply_chat_template(
        messages, chat_template=template(name), tokenize=False, add_generation_prompt=prompt, **kwargs
    )
    assert isinstance(text, str)
    return text


# ==== The sample and its script ====


def test_sample_is_what_the_script_writes() -> None:
    """A change of the texts without a new build, or a build that is not repeatable, fails here."""
    script = [sys.executable, str(ROOT / "examples" / "build_sample.py"), "--check"]
    result = subprocess.run(script, capture_output=True, text=True, check=False)

    assert (result.returncode, result.stderr) == (0, "")


def test_check_names_the_file_that_differs(tmp_path: Path) -> None:
    """`--check` exits 1 where the sample is missing; run on a copy of the sources without it."""
    for part in ("examples/build_sample.py", "pipeline/premask/masking/templates/chatml.jinja"):
        (tmp_path / part).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / part).write_bytes((ROOT / part).read_bytes())
    (tmp_path / "examples" / "sample_text").symlink_to(ROOT / "examples" / "sample_text")
    script = [sys.executable, str(tmp_path / "examples" / "build_sample.py"), "--check"]
    result = subprocess.run(script, capture_output=True, text=True, check=False)

    assert result.returncode == 1
    assert "pipeline/premask/sample/conversations.jsonl differs" in result.stderr


def test_row_counts() -> None:
    """300 lines: 292 good rows, 100 of them about entities, and 8 that were broken on purpose."""
    rows = good_rows()

    assert len(sample_lines()) == 300
    assert len(rows) == 292
    assert sum(row["id"].startswith("entities-") for row in rows) == 100
    assert len({row["id"] for row in rows}) == 292


def test_broken_rows_are_broken_in_eight_ways() -> None:
    """Each broken row has the fault that its id names."""
    broken = [line for line in sample_lines() if not line.startswith("{") or '"id": "broken-' in line]

    assert [line.split('"')[3] for line in broken[:-1]] == [
        "broken-json",
        "broken-no-messages",
        "broken-empty-conversation",
        "broken-unknown-role",
        "broken-no-assistant",
        "broken-empty-answer",
        "broken-wrong-type",
    ]
    assert isinstance(json.loads(broken[-1]), str)
    with pytest.raises(json.JSONDecodeError):
        json.loads(broken[0])


def test_good_rows_are_well_formed() -> None:
    """Known roles, text values, at least one answer, no empty answer; a system message only in front."""
    for row in good_rows():
        messages = row["conversations"]
        roles = [m["from"] for m in messages]
        assert set(roles) <= {"system", "human", "gpt"}
        assert "system" not in roles[1:]
        assert "gpt" in roles
        assert all(isinstance(m["value"], str) and m["value"] for m in messages)


def test_sample_is_varied() -> None:
    """Short and long talks, system messages, code, and text that trips up careless readers."""
    rows = good_rows()
    turns = Counter(sum(m["from"] == "gpt" for m in row["conversations"]) for row in rows)
    text = "\n".join(m["value"] for row in rows for m in row["conversations"])

    assert min(turns) == 1
    assert max(turns) >= 5
    assert sum(row["conversations"][0]["from"] == "system" for row in rows) >= 50
    for part in (
        "```python",
        "<|im_start|>assistant\n",
        "\r\n",
        "\t",
        "\u2028",
        "\u200d",
        "\u200f",
        "中",
        "я",
    ):
        assert part in text


def test_sizes() -> None:
    """The sample stays small enough to be shipped."""
    assert (SAMPLE / "conversations.jsonl").stat().st_size < 600_000
    assert (TOKENIZER / "tokenizer.json").stat().st_size < 1_000_000


def test_entity_answers_stand_in_their_passage() -> None:
    """Every name in an answer occurs literally, once in the list, in the order of the passage."""
    empty = 0
    for row in good_rows():
        if not row["id"].startswith("entities-"):
            continue
        passage, read, *questions = [m["value"] for m in row["conversations"]]
        assert passage.startswith("Text: ")
        assert read == "I've read this text."
        for question, answer in zip(questions[::2], questions[1::2], strict=True):
            names = json.loads(answer)
            places = [passage.find(name) for name in names]
            assert question.startswith("What describes ")
            assert -1 not in places
            assert places == sorted(set(places))
            empty += not names

    assert empty >= 10


# ==== The tokenizer ====

AWKWARD_TEXTS = (
    "",
    " ",
    "\n\n  a \t b\r\n",
    "don't DON'T 12345 x==y",
    "👩‍👩‍👧‍👦 🏴‍☠️ 🇳🇴 👍🏽",
    "cafe\u0301 café \u1112\u1161\u11ab 한",
    "مرحبا \u200f8:15 שלום",
    "請問 ありがとう Здравствуйте",
    "\ufeff\u2028\u00a0\u200b\x00\x1b[31m",
    "𠮷𝄞\U0010ffff",
    "<|im_start|>user\n<|im_end|> <|endoftext|> <|im_start",
)


@pytest.mark.parametrize("text", AWKWARD_TEXTS)
def test_tokenizer_round_trip(sample_tokenizer: Any, text: str) -> None:
    """decode(encode(x)) == x, and `AutoTokenizer` gives the ids of the raw file."""
    raw = Tokenizer.from_file(str(TOKENIZER / "tokenizer.json"))
    ids = sample_tokenizer.encode(text)

    assert ids == raw.encode(text).ids
    assert sample_tokenizer.decode(ids) == text
    assert raw.decode(ids, skip_special_tokens=False) == text


def test_tokenizer_ids_on_the_whole_sample(sample_tokenizer: Any) -> None:
    """The same for every message of the sample."""
    raw = Tokenizer.from_file(str(TOKENIZER / "tokenizer.json"))
    texts = [m["value"] for row in good_rows() for m in row["conversations"]]
    ids = sample_tokenizer(texts)["input_ids"]

    assert ids == [encoding.ids for encoding in raw.encode_batch(texts)]
    assert sample_tokenizer.batch_decode(ids) == texts


def test_control_tokens(sample_tokenizer: Any) -> None:
    """Ids 0 to 2 are the control tokens; nothing is added around a text."""
    assert sample_tokenizer.convert_ids_to_tokens([0, 1, 2]) == [
        "<|endoftext|>",
        "<|im_start|>",
        "<|im_end|>",
    ]
    assert (sample_tokenizer.pad_token_id, sample_tokenizer.eos_token_id) == (0, 2)
    assert sample_tokenizer.bos_token is None
    assert sample_tokenizer.model_max_length == 131072
    assert sample_tokenizer.encode("<|im_end|>") == [2]
    assert len(sample_tokenizer) == 8000
    assert sample_tokenizer.all_special_tokens == ["<|im_end|>", "<|endoftext|>"]


def test_every_byte_has_a_token() -> None:
    """The 256 symbols of the byte alphabet are in the vocabulary, so no text is unknown."""
    vocab = json.loads((TOKENIZER / "tokenizer.json").read_text(encoding="utf-8"))["model"]["vocab"]

    assert sum(len(token) == 1 for token in vocab) == 256


def test_own_template_is_chatml(sample_tokenizer: Any) -> None:
    """Without an argument the tokenizer renders ChatML, and its ids hold the control tokens."""
    messages = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    text = sample_tokenizer.apply_chat_template(messages, tokenize=False)
    ids = sample_tokenizer.apply_chat_template(messages)["input_ids"]

    assert text == "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHello<|im_end|>\n"
    assert ids == sample_tokenizer.encode(text)
    assert (ids.count(1), ids.count(2)) == (2, 2)


# ==== The templates ====

TALK: Chat = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Hello"},
    {"role": "user", "content": " Bye\n"},
    {"role": "assistant", "content": "\nSee you "},
]

GOLDEN = {
    "chatml": "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
    "<|im_start|>assistant\nHello<|im_end|>\n<|im_start|>user\n Bye\n<|im_end|>\n"
    "<|im_start|>assistant\n\nSee you <|im_end|>\n",
    "alpaca": "<s>Be brief.\n\n### Instruction:\nHi\n\n### Response:\nHello</s>\n\n"
    "### Instruction:\n Bye\n\n\n### Response:\n\nSee you </s>",
    "vicuna": "<s>Be brief. USER: Hi ASSISTANT: Hello</s>USER:  Bye\n ASSISTANT: \nSee you </s>",
    "zephyr": "<|system|>\nBe brief.</s>\n<|user|>\nHi</s>\n<|assistant|>\nHello</s>\n"
    "<|user|>\n Bye\n</s>\n<|assistant|>\n\nSee you </s>\n",
    "llama2": "<s>[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\nHi [/INST] Hello </s>"
    "<s>[INST]  Bye\n [/INST] \nSee you  </s>",
    "mistral": "<s>[INST] Be brief.\n\nHi[/INST] Hello</s>[INST]  Bye\n[/INST] \nSee you </s>",
}

GENERATION_PROMPT = {
    "chatml": "<|im_start|>assistant\n",
    "alpaca": "### Response:\n",
    "vicuna": "ASSISTANT:",
    "zephyr": "<|assistant|>\n",
    "llama2": "",
    "mistral": "",
}


def test_all_templates_are_tested() -> None:
    """The folder holds these templates and no others."""
    assert sorted(path.stem for path in TEMPLATES.glob("*.jinja")) == sorted(NAMES)
    assert sorted(GOLDEN) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_golden_text(llama_like: Any, name: str) -> None:
    """The published format, character by character; content is printed as it is."""
    assert render(llama_like, TALK, name) == GOLDEN[name]


@pytest.mark.parametrize("name", NAMES)
def test_generation_prompt(llama_like: Any, name: str) -> None:
    """With `add_generation_prompt` the text ends where the model begins to write."""
    plain = render(llama_like, TALK[:4], name)

    assert render(llama_like, TALK[:4], name, prompt=True) == plain + GENERATION_PROMPT[name]


@pytest.mark.parametrize("name", NAMES)
def test_without_system_nothing_is_invented(llama_like: Any, name: str) -> None:
    """No default system text; the rest reads as before, without the system part."""
    system_part = {
        "chatml": "<|im_start|>system\nBe brief.<|im_end|>\n",
        "alpaca": "Be brief.\n\n",
        "vicuna": "Be brief. ",
        "zephyr": "<|system|>\nBe brief.</s>\n",
        "llama2": "<<SYS>>\nBe brief.\n<</SYS>>\n\n",
        "mistral": "Be brief.\n\n",
    }

    assert render(llama_like, TALK[1:], name) == GOLDEN[name].replace(system_part[name], "")


@pytest.mark.parametrize("name", NAMES)
def test_tokens_that_a_tokenizer_lacks_are_left_out(sample_tokenizer: Any, name: str) -> None:
    """Without a bos token none is printed, not even the word None; eos is the tokenizer's own."""
    expected = GOLDEN[name].replace("<s>", "").replace("</s>", "<|im_end|>")

    assert render(sample_tokenizer, TALK, name) == expected


@pytest.mark.parametrize("name", NAMES)
def test_prompts_are_prefixes_of_the_training_text(llama_like: Any, name: str) -> None:
    """What the model sees before turn i at inference is what stands before turn i in training."""
    compared = 0
    for row in good_rows():
        messages = as_chat(row)
        first = next(m["role"] for m in messages if m["role"] != "system")
        if name in ("llama2", "mistral") and first == "assistant":
            continue  # these two refuse such a talk
        full = render(llama_like, messages, name)
        for i, message in enumerate(messages):
            if message["role"] == "assistant":
                prompt = render(llama_like, messages[:i], name, prompt=True)
                assert full.startswith(prompt)
                assert full[len(prompt) :].lstrip(" ").startswith(message["content"].lstrip(" "))
                compared += 1

    assert compared > 600


@pytest.mark.parametrize("name", NAMES)
def test_developer_is_shown_as_system(llama_like: Any, name: str) -> None:
    """`developer` is the newer name of the system role."""
    messages = [{"role": "developer", "content": "Be brief."}, *TALK[1:]]

    assert render(llama_like, messages, name) == GOLDEN[name]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("messages", "error"),
    [
        ([TALK[1], {"role": "tool", "content": "21 degrees"}], "cannot show (the role )?tool"),
        ([TALK[1], {"role": "assistant", "content": "", "tool_calls": [{}]}], "no tool calls"),
        ([TALK[1], {"role": "assistant", "content": None}], "text only"),
        ([TALK[1], {**TALK[2], "reasoning_content": "Greet."}], "no reasoning"),
        ([{"role": "user", "content": [{"type": "text", "text": "Hi"}]}], "text only"),
    ],
)
def test_what_cannot_be_shown_is_an_error(llama_like: Any, name: str, messages: Chat, error: str) -> None:
    """Nothing is dropped in silence."""
    with pytest.raises(TemplateError, match=error):
        render(llama_like, messages, name)


@pytest.mark.parametrize("name", NAMES)
def test_tools_are_an_error(llama_like: Any, name: str) -> None:
    """Tool definitions would be dropped, so they are refused."""
    tool = {"type": "function", "function": {"name": "now", "parameters": {}}}

    with pytest.raises(TemplateError, match="cannot show tools"):
        render(llama_like, TALK, name, tools=[tool])


@pytest.mark.parametrize("name", ["alpaca", "vicuna", "llama2", "mistral"])
def test_late_system_message_is_an_error(llama_like: Any, name: str) -> None:
    """These formats have a place for the system text only at the start."""
    with pytest.raises(TemplateError, match=r"only as the first one|cannot show system here"):
        render(llama_like, [TALK[1], TALK[2], TALK[0], TALK[3]], name)


@pytest.mark.parametrize("name", ["llama2", "mistral"])
def test_system_message_alone_is_an_error(llama_like: Any, name: str) -> None:
    """The system text is printed with the first user message, so without one it would be lost."""
    with pytest.raises(TemplateError, match="only together with a user message"):
        render(llama_like, TALK[:1], name)


@pytest.mark.parametrize("name", ["llama2", "mistral"])
def test_turns_out_of_order_are_an_error(llama_like: Any, name: str) -> None:
    """Two user messages in a row, or an assistant that speaks first, have no place in this format."""
    with pytest.raises(TemplateError, match="cannot show user here"):
        render(llama_like, [TALK[1], TALK[1]], name)
    with pytest.raises(TemplateError, match="cannot show assistant here"):
        render(llama_like, [TALK[0], TALK[2]], name)
