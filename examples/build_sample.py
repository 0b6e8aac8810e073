"""Build the sample: 300 invented conversations and a small tokenizer trained on them.

    python examples/build_sample.py            write pipeline/premask/sample/
    python examples/build_sample.py --check    compare with what is there; exit code 1 on a difference

All text stands in `sample_text/`, one file a topic, in blocks that open with a line `%% KIND`:

    %% system     a system message that fits the topic
    %% ask        a question that opens a thread; `%% then` asks on within the same thread
    %% answer     the answer to the question before it
    %% story      a paragraph of a longer history, in order
    %% genre      types, then sentences with slots; `{person1}` is the same name throughout a passage
    %% passage    types, then a whole passage that marks its names: `{location=Tolvenna}`
    %% names      names for one kind of slot

Three files are different: `awkward.jsonl` holds whole conversations with odd characters, `broken.txt` the
lines that no reader should accept, and `problems.py` word problems.

`[[one|other]]` stands for either wording. Everything drawn by chance is drawn from one seed, so a second
run gives the same bytes; another release of `tokenizers` may train otherwise. It takes half a second.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from sample_text.problems import PROBLEMS, Exchange
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

ROOT = Path(__file__).resolve().parent.parent
TEXT = Path(__file__).resolve().parent / "sample_text"
SAMPLE = ROOT / "pipeline" / "premask" / "sample"
CHAT_TEMPLATE = ROOT / "pipeline" / "premask" / "masking" / "templates" / "chatml.jinja"
SEED = "premask sample 1"

TOPICS = ("cooking", "gardening", "travel", "astronomy", "bicycle", "letters", "library", "music", "weather")
ROWS = {**dict.fromkeys(TOPICS, 11), "languages": 24, "python": 20, "maths": 20, "town": 12, "entities": 100}
"""Topic -> number of conversations; with the 17 of `awkward.jsonl` these are the 292 good rows."""

MAX_EXCHANGES = 6
VOCABULARY = 8000
SPECIAL_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
# Words with the character before them, single digits, runs of signs, runs of white space: as in Qwen2.
SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

Messages = list[dict[str, str]]


class Block(NamedTuple):
    """One block of a text file: `%% KIND ARGUMENTS`, then its text."""

    kind: str
    arguments: tuple[str, ...]
    text: str


# ==== Text files ====


def read_blocks(topic: str) -> list[Block]:
    """The blocks of `sample_text/TOPIC.txt`, in order."""
    text = (TEXT / f"{topic}.txt").read_text(encoding="utf-8")
    blocks = []
    for chunk in re.split(r"^%% ", text, flags=re.MULTILINE)[1:]:
        head, _, body = chunk.partition("\n")
        kind, *arguments = head.split()
        blocks.append(Block(kind, tuple(arguments), body.rstrip("\n")))
    return blocks


def of_kind(blocks: Sequence[Block], kind: str) -> list[str]:
    """The texts of all blocks of one kind."""
    return [block.text for block in blocks if block.kind == kind]


def threads_of(blocks: Sequence[Block]) -> list[list[Exchange]]:
    """Group questions and answers into threads: an `ask` opens one, a `then` goes on with it."""
    threads: list[list[Exchange]] = []
    for block, following in itertools.pairwise(blocks):
        if block.kind == "ask":
            threads.append([])
        if block.kind in ("ask", "then"):
            threads[-1].append((block.text, following.text))
    return threads


def choose_wording(text: str, rng: random.Random) -> str:
    """Replace each `[[one|other]]` with one of its wordings."""
    return re.sub(r"\[\[(.*?)\]\]", lambda match: rng.choice(match[1].split("|")), text, flags=re.DOTALL)


def deck(items: Sequence[list[Exchange]], rng: random.Random) -> Iterator[list[Exchange]]:
    """Deal the items in shuffled order, again and again, so that all are used about equally often."""
    while True:
        yield from rng.sample(items, len(items))


# ==== Talks ====

GREETINGS = ("", "", "", "Hello! ", "Good evening. ", "Hi, a quick question. ", "I need help.\n\n")
BRIDGES = ("", "", "Thank you! Something else: ", "Good to know. ", "One more thing.\n", "Next. ")
ENDINGS = (
    ("Thank you, that helped.", "You are welcome. Come back whenever you like."),
    ("Great, I will try that tomorrow.", "Good luck! Tell me how it went."),
    ("That was all I wanted to know.", "Then have a pleasant day."),
    ("Are you sure?", "Fairly sure. Where it matters, ask a second person before you act on it."),
    ("ok thx", "With pleasure."),
)


def to_messages(exchanges: Sequence[Exchange], system: str | None = None) -> Messages:
    """ShareGPT messages of some exchanges, after a system message if there is one."""
    messages = [{"from": "system", "value": system}] if system is not None else []
    for question, answer in exchanges:
        messages += [{"from": "human", "value": question}, {"from": "gpt", "value": answer}]
    return messages


def talks(topic: str, count: int, rng: random.Random) -> Iterator[Messages]:
    """Conversations of one topic, each made of one to three threads."""
    blocks = read_blocks(topic)
    systems, dealt = of_kind(blocks, "system"), deck(threads_of(blocks), rng)
    for number in range(count):
        if number % 6 == 5 and topic in TOPICS:
            exchanges = [bundle([next(dealt) for _ in range(rng.randint(3, 5))])]
        else:
            exchanges = chat([next(dealt) for _ in range(rng.choice((1, 1, 2, 2, 3)))], topic, rng)
        system = rng.choice(systems) if systems and rng.random() < 0.4 else None
        yield to_messages([(choose_wording(q, rng), choose_wording(a, rng)) for q, a in exchanges], system)


def chat(threads: Sequence[list[Exchange]], topic: str, rng: random.Random) -> list[Exchange]:
    """Join threads into one talk, with a greeting, bridges between threads and sometimes an ending."""
    exchanges: list[Exchange] = []
    for thread in threads:
        lead = "" if topic == "languages" else rng.choice(BRIDGES if exchanges else GREETINGS)
        (question, answer), *rest = thread
        exchanges += [(lead + question, answer), *rest]
    if topic != "languages" and rng.random() < 0.25:
        exchanges = [*exchanges[: MAX_EXCHANGES - 1], rng.choice(ENDINGS)]
    return exchanges[:MAX_EXCHANGES]


def bundle(threads: Sequence[list[Exchange]]) -> Exchange:
    """One message with several questions, and one long answer to all of them."""
    firsts = [thread[0] for thread in threads]
    question = "\n".join(f"{i}. {question}" for i, (question, _) in enumerate(firsts, 1))
    answer = "\n\n".join(f"**{i}.** {answer}" for i, (_, answer) in enumerate(firsts, 1))
    return f"Readers of our newsletter ask these questions. Please answer all.\n\n{question}", answer


def histories(count: int, rng: random.Random) -> Iterator[Messages]:
    """Talks about the invented town; each begins with a long answer of several paragraphs."""
    blocks = read_blocks("town")
    stories, (system,) = of_kind(blocks, "story"), of_kind(blocks, "system")
    dealt = deck(threads_of(blocks), rng)
    for number in range(count):
        first = rng.randint(0, len(stories) - 3)
        last = rng.randint(first + 3, len(stories))
        question = f"Tell me the history of Harrowmere in about {last - first} paragraphs, please."
        exchanges = [(question, "\n\n".join(stories[first:last])), *next(dealt)]
        yield to_messages(exchanges[: rng.randint(1, 2)], system if number % 2 else None)


# ==== Maths ====


def maths(count: int, rng: random.Random) -> Iterator[Messages]:
    """One to four problems with worked answers."""
    system = "Solve the problem step by step. Put the result at the end, and check it where you can."
    for number in range(count):
        problems = rng.sample(PROBLEMS, rng.randint(1, 4))
        yield to_messages([problem(rng) for problem in problems], system if number % 3 == 0 else None)


# ==== Entities ====

TYPE_NAMES = {
    "date": "calendar date",
    "work": "work of art",
    "animal": "animal species",
    "instrument": "musical instrument",
}
"""How a type is called in a question, where that is not its own name."""

ABSENT_TYPES = ("programming language", "medical condition", "planet", "chess opening")
SLOT_TYPES = {
    "loc": "location",
    "society": "organization",
    "firm": "organization",
    "ensemble": "organization",
    "dessert": "dish",
}
"""Kinds of slot that are not types themselves: their names fit certain sentences only."""

MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip


class Passage(NamedTuple):
    """A text, the types that are marked in it completely, and its entities as (type, name) in order."""

    text: str
    types: tuple[str, ...]
    entities: tuple[tuple[str, str], ...]


def fill(template: str, names: dict[str, Iterator[str]]) -> tuple[str, list[tuple[str, str]]]:
    """Fill the slots of a template; the same slot gets the same name.

    >>> fill("{person1} met {person2}, and {person1} left {loc=Pellin}.", {"person": iter("AB")})[0]
    'A met B, and A left Pellin.'
    """
    chosen: dict[str, str] = {}
    found: list[tuple[str, str]] = []

    def replace(match: re.Match[str]) -> str:
        kind, slot, literal = match.groups()
        if literal is None and kind + slot not in chosen:
            chosen[kind + slot] = next(names[kind])
        name = literal or chosen[kind + slot]
        found.append((SLOT_TYPES.get(kind, kind), name))
        return name

    return re.sub(r"\{([a-z]+)(\d*)(?:=([^}]*))?\}", replace, template), found


def shuffled_names(blocks: Sequence[Block], rng: random.Random) -> dict[str, Iterator[str]]:
    """Slot kind -> its names in random order, without repeats within a passage."""
    names = {block.arguments[0]: block.text.split("\n") for block in blocks if block.kind == "names"}
    shuffled = {kind: iter(rng.sample(values, len(values))) for kind, values in names.items()}
    return {**shuffled, "date": rising_dates(rng)}


def rising_dates(rng: random.Random) -> Iterator[str]:
    """Dates, each one to three months after the one before."""
    month = rng.randint(1880 * 12, 2040 * 12)
    while True:
        yield f"{rng.randint(1, 28)} {MONTHS[month % 12]} {month // 12}"
        month += rng.randint(1, 3)


def invent_passage(blocks: Sequence[Block], rng: random.Random) -> Passage:
    """A passage of one or two genres; the first sentence of each stays, of the others some are left out."""
    genres = rng.sample([block for block in blocks if block.kind == "genre"], rng.choice((1, 1, 2)))
    names = shuffled_names(blocks, rng)
    paragraphs, entities = [], []
    for genre in genres:
        first, *rest = genre.text.split("\n")
        kept = sorted(rng.sample(range(len(rest)), rng.randint(6, len(rest))))
        text, found = fill(" ".join([first, *(rest[i] for i in kept)]), names)
        paragraphs.append(text)
        entities += found
    types = tuple(t for t in genres[0].arguments if all(t in genre.arguments for genre in genres))
    return Passage("\n\n".join(paragraphs), types, tuple(entities))


def marked_passages(blocks: Sequence[Block]) -> list[Passage]:
    """The passages that are written out in full, most of them not in English."""
    full = [block for block in blocks if block.kind == "passage"]
    filled = [(fill(block.text, {}), block.arguments) for block in full]
    return [Passage(text, types, tuple(found)) for (text, found), types in filled]


def find(passage: Passage, kind: str) -> str:
    """The names of one type as a JSON list, each once, in the order of their first mention."""
    names = dict.fromkeys(name for type_, name in passage.entities if type_ == kind)
    return json.dumps(list(names), ensure_ascii=False)


def entities(count: int, rng: random.Random) -> Iterator[Messages]:
    """Conversations about a passage: what describes a person, a location, ... in it?"""
    blocks = read_blocks("passages")
    passages = marked_passages(blocks)
    passages += [invent_passage(blocks, rng) for _ in range(count - len(passages))]
    for passage in passages:
        kinds = rng.sample(passage.types, rng.randint(1, len(passage.types)))
        questions = [(TYPE_NAMES.get(kind, kind), find(passage, kind)) for kind in kinds]
        if rng.random() < 0.3:
            questions.insert(rng.randint(0, len(questions)), (rng.choice(ABSENT_TYPES), "[]"))
        asked = [(f"What describes {name} in the text?", answer) for name, answer in questions]
        yield to_messages([(f"Text: {passage.text}", "I've read this text."), *asked])


# ==== Conversations ====


def build_rows(rng: random.Random) -> list[dict[str, object]]:
    """All good rows, shuffled; the id of a row names its topic."""
    makers = {"maths": maths, "town": histories, "entities": entities}
    rows: list[tuple[str, Messages]] = []
    for topic, count in ROWS.items():
        made = makers[topic](count, rng) if topic in makers else talks(topic, count, rng)
        rows += [(f"{topic}-{i:03d}", messages) for i, messages in enumerate(made, 1)]
    awkward = (TEXT / "awkward.jsonl").read_text(encoding="utf-8").split("\n")
    rows += [(f"awkward-{i:03d}", json.loads(line)) for i, line in enumerate(filter(None, awkward), 1)]
    rng.shuffle(rows)
    return [{"id": id_, "conversations": messages} for id_, messages in rows]


def with_broken(lines: Sequence[str]) -> list[str]:
    """Spread the lines of `broken.txt` evenly through the file."""
    result = list(lines)
    broken = (TEXT / "broken.txt").read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(broken):
        result.insert(20 + number * (len(lines) // len(broken)), line)
    return result


# ==== Tokenizer ====


def train_tokenizer(texts: Sequence[str], size: int = VOCABULARY) -> Tokenizer:
    """Train a byte-level BPE tokenizer: all 256 bytes, no normalizer, control tokens first (ids 0 to 2)."""
    tokenizer = Tokenizer(models.BPE())
    split = pre_tokenizers.Split(Regex(SPLIT), behavior="isolated", invert=False)
    to_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, to_bytes])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(add_prefix_space=False, trim_offsets=False)
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def tokenizer_config() -> dict[str, object]:
    """What `AutoTokenizer` needs beside `tokenizer.json`."""
    return {
        "add_prefix_space": False,
        "bos_token": None,
        "clean_up_tokenization_spaces": False,
        "eos_token": "<|im_end|>",
        "model_max_length": 131072,
        "pad_token": "<|endoftext|>",
        "tokenizer_class": "PreTrainedTokenizerFast",
        "unk_token": None,
    }


# ==== Files ====


def training_texts(rows: Sequence[dict[str, object]]) -> list[str]:
    """The text of all good messages, then the text pieces themselves, so that each of them occurs."""
    messages = [message for row in rows for message in row["conversations"]]  # type: ignore[attr-defined]
    topics = (*TOPICS, "languages", "python", "town", "passages")
    return [message["value"] for message in messages] + [b.text for t in topics for b in read_blocks(t)]


def build() -> dict[Path, bytes]:
    """Every file of the sample, as path -> bytes."""
    rows = build_rows(random.Random(SEED))
    lines = with_broken([json.dumps(row, ensure_ascii=False) for row in rows])
    tokenizer = train_tokenizer(training_texts(rows)).to_str(pretty=True)
    files = {
        "conversations.jsonl": "\n".join(lines) + "\n",
        "tokenizer/tokenizer.json": tokenizer + "\n",
        "tokenizer/tokenizer_config.json": json.dumps(tokenizer_config(), indent=2) + "\n",
        "tokenizer/chat_template.jinja": CHAT_TEMPLATE.read_text(encoding="utf-8"),
    }
    return {SAMPLE / name: text.encode("utf-8") for name, text in files.items()}


def differing(files: dict[Path, bytes]) -> list[str]:
    """The files that are missing or differ from what stands in the repository."""
    return [
        str(path.relative_to(ROOT))
        for path, content in files.items()
        if not path.is_file() or path.read_bytes() != content
    ]


def main() -> int:
    """Write the sample, or with `--check` compare it."""
    parser = argparse.ArgumentParser(description="Build the sample conversations and their tokenizer.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a file differs")
    check = parser.parse_args().check
    files = build()
    if check:
        for name in differing(files):
            print(f"{name} differs; run: python examples/build_sample.py", file=sys.stderr)
        return 1 if differing(files) else 0
    for path, content in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        print(f"{len(content):8d}  {path.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
