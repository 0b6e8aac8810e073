"""The awkward rows that `shared/corpus/edge_shared.md` lists, each with what has to become of it, and bad input
made by ourselves: every row is kept as it stands or refused with its reason, and none ends a run.

Files that the list names and the corpus lacks are made here, in their form: hh-rlhf, SWE-agent's trajectories.
"""

from __future__ import annotations

import gzip
import json
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml
from commands import TOKENIZER, chat, premask, write_rows
from inputs import CORPUS, needs_corpus, values_of, write, write_parquet
from labelling import kept, masked
from outputs import rows_of
from premask.core.errors import RowError, SourceError
from premask.core.recipe import Repair
from premask.core.records import Conversation, Message, Row
from premask.dialects import conversations, normalize, recognize_file
from premask.dialects.repair import repair
from premask.sources.inspection import inspect_source
from premask.sources.reading import peek

TEMPLATES = CORPUS.parent / "templates"


@cache
def values(name: str) -> tuple[str, list[Any]]:
    """The dialect of a corpus file and the values of its rows."""
    source = (CORPUS / name).as_posix()
    return recognize_file(peek(inspect_source(source)), source=source), values_of(source)


def read(name: str, row: int = 0) -> Conversation:
    dialect, rows = values(name)
    return normalize(rows[row], dialect)


def reason(name: str, row: int = 0) -> str:
    with pytest.raises(RowError) as caught:
        read(name, row)
    return caught.value.reason


def roles(conversation: Conversation) -> list[str]:
    return [message.role for message in conversation.messages]


# ==== Files ====


@needs_corpus
@pytest.mark.parametrize("name", ["preference_sample.jsonl", "rlvr_sample.jsonl", "sft_sample.jsonl"])
def test_a_git_lfs_pointer_is_named(name: str) -> None:
    with pytest.raises(SourceError, match=f"{name} is a git-lfs pointer, not the data; run 'git lfs pull'"):
        values(f"open-instruct/open_instruct/test_data/{name}")


def test_a_git_lfs_pointer_under_the_name_of_a_gzip_file(tmp_path: Path) -> None:
    """hh-rlhf's files, which are not in the corpus, are such pointers."""
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n"
    source = write(tmp_path / "train.jsonl.gz", pointer)
    with pytest.raises(SourceError, match=r"train.jsonl.gz is a git-lfs pointer"):
        inspect_source(source)


HH = [
    {"chosen": "\n\nHuman: Hi\n\nAssistant: Hello\n\nHuman: Bye\n\nAssistant: Ciao", "rejected": "x"},
    {"chosen": "\n\nHuman: a\n\nHuman: b\n\nAssistant: c", "rejected": "x"},
]


def test_hh_rlhf_transcripts_are_read_on_their_chosen_side(tmp_path: Path) -> None:
    """Made here: the corpus has no file of hh-rlhf. A turn that cannot be told from text is refused."""
    lines = "".join(f"{json.dumps(row)}\n" for row in HH)
    source = write(tmp_path / "test.jsonl.gz", gzip.compress(lines.encode()))
    rows = values_of(source)
    assert recognize_file(rows, source=source) == "preference"

    assert [message.content for message in normalize(rows[0], "preference").messages] == [
        "Hi", "Hello", "Bye", "Ciao",
    ]  # fmt: skip
    with pytest.raises(RowError, match="bad_transcript: turns 0 and 1 are both by the user"):
        normalize(rows[1], "preference")


@needs_corpus
def test_lines_under_a_json_name_and_an_object_beside_them() -> None:
    assert inspect_source((CORPUS / "gorilla/data/BFCL_v4_irrelevance.json").as_posix()).format == "jsonl"
    assert len(values("gorilla/data/BFCL_v4_irrelevance.json")[1]) == 240
    with pytest.raises(SourceError, match="holds no known conversation format"):
        values("gorilla/data/BFCL_v4_format_sensitivity.json")


@needs_corpus
def test_a_blank_line_is_no_row() -> None:
    assert len(values("llamafactory/v1_multimodal_demo.jsonl")[1]) == 24


@needs_corpus
@pytest.mark.parametrize(("name", "count"), [("korean/science.yml", 11), ("english/greetings.yml", 5)])
def test_statements_of_chatterbot(tmp_path: Path, name: str, count: int) -> None:
    """YAML is no format of sources (recipes are YAML); as JSON such a corpus is read, each list by itself."""
    text = (CORPUS / "chatterbot" / name).read_text(encoding="utf-8-sig")
    corpus = yaml.load(text, Loader=yaml.BaseLoader)  # noqa: S506  the safest there is: all scalars are strings
    source = write(tmp_path / "a.json", json.dumps(corpus))
    (row,) = values_of(source)
    assert recognize_file([row], source=source) == "statements"
    found = conversations(row, "statements")

    assert len(found) == len(corpus["conversations"]) >= count
    assert [message.content for message in found[0].messages] == corpus["conversations"][0]


@needs_corpus
def test_one_conversation_as_an_object() -> None:
    for name in ("axolotl-fixtures/conversation.json", "functionary/test_case_v1.json"):
        assert len(values(name)[1]) == 1
        assert len(read(name).messages) > 7


@needs_corpus
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("open-assistant/history/cocktail_recipes.parquet", "each one of title, source"),
        ("llamafactory/dataset_info.json", "it is one object; if its values are the rows"),
        ("llamafactory/c4_demo.jsonl", "a text alone says not who speaks"),
    ],
)
def test_files_that_are_no_conversations(name: str, words: str) -> None:
    with pytest.raises(SourceError, match="holds no known conversation format") as caught:
        values(name)
    assert words in str(caught.value)


@needs_corpus
def test_an_answer_of_two_characters_is_an_answer() -> None:
    dialect, rows = values("universal-ner/eval/test_data/CrossNER_AI.json")
    texts = Counter(
        m.content for row in rows for m in normalize(row, dialect).messages if m.role == "assistant"
    )

    assert texts["[]"] == 4817


# ==== Dialects and keys ====


@needs_corpus
def test_cells_stay_strings_and_empty_ones_are_missing() -> None:
    assert [message.content for message in read("ms-swift/alpaca.csv").messages] == [
        "00000",
        "11111\n\n22222",
        "3.3",
    ]
    assert [message.content for message in read("ms-swift/alpaca.csv", 1).messages] == ["aaaaa", "ccccc"]


@needs_corpus
def test_pairs_with_a_system_text_beside_them() -> None:
    assert [(m.role, m.content) for m in read("ms-swift/sharegpt.jsonl").messages] == [
        ("system", "00000"), ("user", "11111"), ("assistant", "22222"),
    ]  # fmt: skip
    assert [m.content for m in read("ms-swift/swift_multi.json", 2).messages] == [
        "AAAAA", "BBBBB", "CCCCC", "DDDDD", "EEEEE", "FFFFF",
    ]  # fmt: skip


@needs_corpus
def test_questions_alone_are_refused() -> None:
    assert reason("gorilla/data/BFCL_v4_multi_turn_base.json") == "no_assistant"
    assert reason("open-instruct/history/rlvr_sample.jsonl") == "no_assistant"


@needs_corpus
def test_lists_of_lists_of_messages() -> None:
    name = "toolbench/data_example/answer/G3_answer/13_ChatGPT_DFS_woFilter_w2.json"
    dialect, (row,) = values(name)
    lists = row["answer_generation"]["train_messages"]
    found = conversations(row, dialect, every=True)

    assert len(read(name).messages) == len(lists[-1])
    assert len(found) == len(lists) == 5
    answers = [m for c in found for m in c.messages if m.role == "assistant"]
    trained = [m for m in answers if m.train is not False]
    assert len({repr(m) for m in trained}) <= len(trained) < len(answers)
    assert reason(name.replace("/13_", "/8_")) == "rejected_answer"


@needs_corpus
def test_trees_give_the_best_path_or_all_of_them() -> None:
    name = "open-assistant/model/model_eval/manual/data/en_100_tree.jsonl"
    dialect, rows = values(name)
    found = conversations(rows[0], dialect, every=True)

    assert read(name).messages[0].content == rows[0]["prompt"]["text"]
    assert (
        read(name).messages[1].content
        == min(rows[0]["prompt"]["replies"], key=lambda each: each["rank"])["text"]
    )
    assert len(found) == len(rows[0]["prompt"]["replies"]) > 1
    assert read(name).id == rows[0]["message_tree_id"]
    assert sum(len(conversations(row, dialect, every=True)) for row in rows) == 546


@needs_corpus
def test_messages_with_their_replies_are_trees() -> None:
    """The corpus has each tree's messages below its first one; single ones are in `test_message_trees.py`."""
    name = "open-assistant/model/model_eval/manual/data/en_100_message.jsonl"
    assert roles(read(name)) == ["user", "assistant"]
    dialect, rows = values(name)
    texts = [m.content or "" for each in conversations(rows[86], dialect, every=True) for m in each.messages]
    assert any("Assistant:" in text for text in texts)


@needs_corpus
def test_the_system_of_a_dialogue_is_the_assistant() -> None:
    found = read("sgd/train/dialogues_001.json")

    assert roles(found) == ["user", "assistant"] * 12
    assert found.messages[0].content == "I am feeling hungry so I would like to find a place to eat."


@needs_corpus
def test_spellings_of_columns() -> None:
    assert roles(read("gpteacher/Codegen/codegen-instruct.json")) == ["user", "assistant"]
    assert "\n\nVirgin Australia, the" in (read("litgpt/dolly.json").messages[0].content or "")
    assert read("litgpt/dolly.json", 1).messages[0].content == "Which is a species of fish? Tope or Rope"
    alpaca = read("torchtune/alpaca_tiny.json")
    assert alpaca.messages[0].content == "Give three tips for staying healthy."


@needs_corpus
def test_a_transcript_that_lost_its_tool_calls_is_refused() -> None:
    assert reason("tau-bench/few_shot_data/MockRetailDomainEnv-few_shot.jsonl") == "bad_tool_call"


@needs_corpus
def test_instruction_and_output_in_one_text() -> None:
    found = read("gorilla/data/apibench/huggingface_eval.json")

    assert roles(found) == ["user", "assistant"]
    assert (found.messages[0].content or "").startswith("Design a feature")
    assert (found.messages[1].content or "").startswith("<<<domain>>>")
    for row, words in ((64, "[MASK]"), (118, "[CLS]"), (148, "<|mask|>")):
        text = " ".join(
            m.content or "" for m in read("gorilla/data/apibench/huggingface_eval.json", row).messages
        )
        assert words in text or words in json.dumps(
            values("gorilla/data/apibench/huggingface_eval.json")[1][row]
        )


@needs_corpus
def test_labels_and_chosen_answers() -> None:
    dialect, rows = values("llamafactory/kto_en_demo.json")
    bad = next(i for i, row in enumerate(rows) if row["label"] is False)

    assert (dialect, reason("llamafactory/kto_en_demo.json", bad)) == ("kto", "rejected_answer")
    assert roles(read("llamafactory/dpo_en_demo.json")) == ["user", "assistant"]
    chosen = values("llamafactory/dpo_en_demo.json")[1][0]["chosen"]["value"]
    assert read("llamafactory/dpo_en_demo.json").messages[-1].content == chosen


@needs_corpus
def test_tool_schemas_of_odd_types_are_passed_on() -> None:
    """BFCL's types are no JSON Schema; its questions have no answers, so one is given here."""
    row = values("gorilla/data/BFCL_v4_simple_python.json")[1][0]
    answered = {**row, "question": [*row["question"], [{"role": "assistant", "content": "25"}]]}
    (tool,) = normalize(answered, "bfcl").tools or ()

    assert tool["function"]["parameters"]["type"] == "dict"


# ==== Turns ====


@needs_corpus
def test_an_empty_answer_is_kept_or_repaired() -> None:
    name = "axolotl-fixtures/conversation.missingturns.json"
    (whole,) = conversations(values(name)[1][0], "sharegpt")
    mended, applied = repair(whole, [Repair.strip_empty_turns])

    assert applied == ("strip_empty_turns",)
    assert len(mended.messages) == len(whole.messages) - 1


@needs_corpus
def test_tool_calls_of_a_real_agent() -> None:
    dialect, rows = values("tau-bench/historical_trajectories/gpt-4o-airline.json")
    found = [normalize(row, dialect) for row in rows]
    calls = [call for each in found for message in each.messages for call in message.tool_calls]

    assert len(calls) == 1164
    assert all(isinstance(call["function"]["arguments"], dict) for call in calls)
    assert found[0].messages[23] == Message(
        "tool", "", tool_call_id=found[0].messages[23].tool_call_id, name=found[0].messages[23].name
    )
    assert len({each.messages[0].content for each in found}) == 1


@needs_corpus
def test_functions_of_functionary() -> None:
    """Two calls at once, then two results; the arguments of its last tool are Python, which is refused."""
    assert reason("functionary/test_case.json") == "bad_tool_call"
    row = values("functionary/test_case.json")[1][0]
    found = normalize({**row, "messages": row["messages"][:11]}, "openai")
    assert [len(m.tool_calls) for m in found.messages if m.tool_calls] == [2, 1]
    assert roles(found)[3:6] == ["assistant", "tool", "tool"]
    old = read("functionary/test_case_v1.json")
    assert [m.tool_calls[0]["function"]["arguments"] for m in old.messages if m.tool_calls][0]["car_name"]  # noqa: RUF015
    assert "tool" in roles(old)


@needs_corpus
def test_two_turns_of_one_speaker_stay_two_unless_merged() -> None:
    """The counselor speaks twice somewhere in SMILE's files; so does the user in SWE-agent's, made here."""
    folder = CORPUS / "smile" / "data"
    found = [read(f"smile/data/{path.name}") for path in sorted(folder.glob("*.json"))]
    twice = [
        each for each in found if any(a == b for a, b in zip(roles(each), roles(each)[1:], strict=False))
    ]
    mended = [repair(each, [Repair.merge_consecutive])[0] for each in twice]

    assert all({"user", "assistant"} == {*roles(each)} for each in found)
    assert all(a != b for each in mended for a, b in zip(roles(each), roles(each)[1:], strict=False))
    swe = {
        "history": [
            {"role": "system", "content": "s"},
            *chat("demo")["messages"],
            *chat("task", "act")["messages"],
        ]
    }
    assert roles(normalize(swe, recognize_file([swe], source="a.traj"))) == [
        "system",
        "user",
        "user",
        "assistant",
    ]


@needs_corpus
def test_content_parts_and_weights() -> None:
    parts = read("llamafactory/v1_sft_demo.jsonl")
    assert (parts.messages[0].content, parts.messages[0].train, parts.messages[1].train) == (
        "hi",
        False,
        True,
    )
    dialect, rows = values("llamafactory/reason_tool_use_demo_50.jsonl")
    mixed = [normalize(row, dialect) for row in rows]
    answers = [m for each in mixed for m in each.messages if m.role == "assistant"]
    assert sum(len(m.tool_calls) for m in answers) == 41 + 2 * 9 + 3 * 3
    assert all(m.reasoning for m in answers)
    assert any("</think>" in (m.content or "") + (m.reasoning or "") for m in answers)


@needs_corpus
@pytest.mark.parametrize("name", ["functionary/test_case_vision.json", "llamafactory/mllm_demo.json"])
def test_images_are_refused(name: str) -> None:
    assert reason(name) == "unsupported_content"


@needs_corpus
def test_ids_that_stand_twice_are_kept() -> None:
    dialect, rows = values("open-instruct/human_eval/data/eval_instances_tulu_1.jsonl")
    ids = Counter(normalize(row, dialect).id for row in rows)

    assert ids.total() == 996
    assert ids.most_common(1)[0][1] > 1


@needs_corpus
def test_tools_in_a_string() -> None:
    dialect, rows = values("llamafactory/glaive_toolcall_en_demo.json")
    found = [normalize(row, dialect) for row in rows]

    assert sum(each.tools is None for each in found) == 109
    assert {m.role for each in found for m in each.messages} == {"user", "assistant", "tool"}


# ==== Texts ====


@needs_corpus
@pytest.mark.parametrize(
    ("name", "row", "words"),
    [
        ("llamafactory/kto_en_demo.json", 257, "<|user|>"),
        ("llamafactory/kto_en_demo.json", 139, "</s>"),
        ("open-instruct/history/preference_sample.jsonl", 53, "### Response:"),
        ("alpaca-cleaned-ext/gsm_8k/gsm_8k_train.json", 2381, "\u2028"),
        ("llamafactory/dpo_en_demo.json", 67, "\ufeff"),
        ("llamafactory/dpo_en_demo.json", 286, "\f"),
        ("llamafactory/dpo_en_demo.json", 15, "\x80"),
        ("medicalgpt/reward/dpo_zh_500.jsonl", 20, "\ufffd"),
    ],
)
def test_texts_are_kept_to_the_character(name: str, row: int, words: str) -> None:
    """Whether such a row is kept or not, nothing in its texts is changed."""
    dialect, rows = values(name)
    whole = json.dumps(rows[row], ensure_ascii=False)
    assert json.dumps(words, ensure_ascii=False)[1:-1] in whole
    (found,) = conversations({**rows[row], "label": True} if dialect == "kto" else rows[row], dialect)

    assert all(json.dumps(m.content, ensure_ascii=False)[1:-1] in whole for m in found.messages)


@needs_corpus
def test_surrounding_newlines_are_kept() -> None:
    row = values("llamafactory/kto_en_demo.json")[1][12]
    text = normalize({**row, "label": True}, "kto").messages[0].content or ""

    assert text != text.strip()


def odd_texts() -> dict[str, str]:
    """Texts that a careless reader changes: those of the corpus where it is there, others made here."""
    texts = {
        "SWE-agent: control characters, escapes": "a\x03b\x04c\ufffd \x1b[31mred\x1b[0m\r\n\tend",
        "zero-width and joiners": "\u200bhi\u200d\ufe0f \ufe0f\u200d\u200c \U0001f468\u200d\U0001f469\u200d\U0001f467",
        "not NFC": "\u09af\u09bc \u09a1\u09bc e\u0301",
    }
    judge = CORPUS / "fastchat" / "llm_judge" / "data" / "judge_prompts.jsonl"
    bengali = CORPUS / "chatterbot" / "bengali" / "botprofile.yml"
    if judge.is_file():
        row = json.loads(judge.read_text(encoding="utf-8").splitlines()[3])
        texts["judge_prompts row 3"] = row["system_prompt"] + row["prompt_template"]
    if bengali.is_file():
        texts["botprofile.yml"] = bengali.read_text(encoding="utf-8").removeprefix("\ufeff")
    return texts


@pytest.mark.parametrize("name", odd_texts())
def test_odd_texts_reach_the_training_text_unchanged(make_labeller: Any, name: str) -> None:
    text = f"x{odd_texts()[name]}x"  # the sample's template trims its messages
    row = Row("a.jsonl", 0, {"messages": chat_messages(text, text)})
    (sample,) = kept(make_labeller("sample"), row, "openai")

    assert sample.text.count(text) == 2
    (stretch,) = masked(sample)
    assert stretch.startswith(text)


def chat_messages(*texts: str) -> list[dict[str, str]]:
    return [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(texts)]


@pytest.mark.skipif(not TEMPLATES.is_dir(), reason="the corpus of templates is not here")
def test_a_template_as_the_text_of_a_message(tmp_path: Path) -> None:
    """It holds all special tokens of its family, and braces: text, and nothing else."""
    texts = [
        path.read_text(encoding="utf-8") for path in sorted((TEMPLATES / "llamacpp").glob("*.jinja"))[:8]
    ]
    source = write_rows(tmp_path / "a.jsonl", [chat(f"Explain: {text}", text) for text in texts])
    done = run(tmp_path / "out", source, "--max-length", 100_000)

    assert done.code == 0, done.err
    assert ledger(tmp_path / "out") == Counter()


# ==== Made by ourselves ====


def run(out: Path, source: str, *words: object) -> Any:
    return premask("run", source, "--tokenizer", TOKENIZER, "--output", out, "--workers", 1, *words)


def ledger(out: Path) -> Counter[str]:
    counts = json.loads((out / "manifest.json").read_text())["counts"]
    found = Counter(line["reason"] for line in rows_of(out, "rejects"))
    assert counts["rows"] == counts["kept"] + counts["rejected"] == counts["kept"] + found.total()
    return found


DEEP = "[" * 200 + "]" * 200
OURS: list[tuple[str, str | None]] = [
    (json.dumps(chat("a\0b", "c\0d")), None),
    ('{"messages": [{"role": "user", "content": "\\ud83d"}, {"role": "assistant", "content": "x"}]}', "invalid_text"),
    ('{"messages": [{"role": "user", "content": "x"}], "score": NaN}', "invalid_json"),
    ('{"messages": [{"role": "user", "content": "x"}], "score": -Infinity}', "invalid_json"),
    ('{"messages": [{"role": "user", "content": "x"}], "score": 1e999}', "invalid_json"),
    ('{"messages": 1, "messages": [{"role": "user", "role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]}', None),
    (json.dumps(chat("\u202eevil\u202c \u2066x\u2069", "\u200fy"), ensure_ascii=False), None),
    ('{"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}], "meta": ' + DEEP + "}", None),
    ('{"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}], "tools": [{"name": "f", "parameters": ' + DEEP + "}]}", "template_error"),
    ('{"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}], "meta": ' + "[" * 300 + "]" * 300 + "}", "invalid_json"),
    ('{"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "  \\n"}]}', "empty_assistant"),
    ('{"messages": {"role": "user"}}', "wrong_type"),
    ("[]", "no_messages"),
    ("null", "not_an_object"),
    ('"\\ud800"', "not_an_object"),
    ("{", "invalid_json"),
]  # fmt: skip


def test_bad_rows_of_ours(tmp_path: Path) -> None:
    """Which are kept and which refused; each refused one stands in the ledger as it was."""
    source = write_rows(tmp_path / "a.jsonl", [text for text, _ in OURS])
    done = run(tmp_path / "out", source)
    assert done.code == 0, done.err
    found = {line["row"]: line for line in rows_of(tmp_path / "out", "rejects")}

    assert {row: line["reason"] for row, line in found.items()} == {
        row: reason for row, (_, reason) in enumerate(OURS) if reason is not None
    }
    assert all(line["original"] == OURS[row][0] for row, line in found.items())
    assert ledger(tmp_path / "out").total() == len(found)


def test_a_message_of_50_mb(tmp_path: Path) -> None:
    """It is read and refused for its length; the rows beside it are kept."""
    text = "many words " * (50_000_000 // 11)
    source = write_rows(tmp_path / "a.jsonl", [chat("Hi", "Hello"), chat(text, "Hello"), chat("Hi", "Hello")])
    done = run(tmp_path / "out", source, "--verify", 0)

    assert done.code == 0, done.err
    assert ledger(tmp_path / "out") == Counter(too_long=1)


def test_a_conversation_of_100_000_turns(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "a.jsonl", [chat(*["a", "b"] * 50_000), chat("Hi", "Hello")])
    done = run(tmp_path / "out", source, "--verify", 0)

    assert done.code == 0, done.err
    assert ledger(tmp_path / "out") == Counter(too_long=1)


def test_nulls_that_arrow_adds_are_no_arguments(tmp_path: Path) -> None:
    """In a table all structs have all fields: those of other rows are null, in calls and in schemas."""
    schema = {"type": "object", "properties": {"a": {"type": "string"}}}
    other = {"type": "object", "properties": {"b": {"type": "string", "enum": ["x"]}}}
    rows = [
        {"messages": [*chat("Hi")["messages"], _calling({name: "1"})], "tools": [_tool(name, parameters)]}
        for name, parameters in (("a", schema), ("b", other))
    ]
    source = write_parquet(tmp_path / "a.parquet", rows)
    stored = pq.read_table(source).to_pylist()[0]
    assert stored["messages"][1]["tool_calls"][0]["function"]["arguments"] == {"a": "1", "b": None}
    found = [normalize(value, "openai") for value in values_of(source)]

    assert [each.messages[1].tool_calls[0]["function"]["arguments"] for each in found] == [
        {"a": "1"},
        {"b": "1"},
    ]
    assert [each.tools[0]["function"]["parameters"] for each in found if each.tools] == [schema, other]


def _calling(arguments: dict[str, str]) -> dict[str, Any]:
    call = {"type": "function", "function": {"name": "f", "arguments": arguments}}
    return {"role": "assistant", "content": None, "tool_calls": [call]}


def _tool(name: str, parameters: dict[str, Any]) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": parameters}}
