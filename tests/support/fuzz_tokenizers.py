"""A fuzzer of tokenizer folders: each is changed in one way, loaded, and used for a few conversations.

    python tests/support/fuzz_tokenizers.py 2000 7        # mutations, seed; prints what became of them

    for folder in hostile(3):                             # the seeded share that the tests use
        ended = tried(folder)
        ended.how, ended.said

A folder may load, or be refused with one line. Anything else is a fault: a traceback, a process that ends, a
hang, memory without a bound, code of the folder that runs, a file of it that is saved. Each folder is tried
in a process of its own.
"""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import signal
import stat
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import transformers
from memory import resident_mb
from premask.core.errors import PremaskError, RowError, TemplateError
from premask.core.recipe import Recipe
from premask.core.records import Conversation, Message
from premask.labeller import Labeller
from premask.tokens.tokenizer import load_tokenizer
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = ROOT / "pipeline" / "premask" / "sample" / "tokenizer"

CPU_S = 60
"""CPU seconds for one folder; the same whatever else the machine does."""
HANG_S = 900
MOST_BYTES = 3 << 30
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
ROWS = [
    "Hello there, what is 12 + 345?",
    "a" * 3000,
    "  e\u0301 \u8acb\u554f \U0001f642 \u2581 <|im_end|> </s>\n\n\t x",
    "",
]

Change = Callable[[Path, random.Random], object]
"""Changes the files of a folder."""


# ==== Folders to begin with ====


def _sample(folder: Path) -> None:
    shutil.copytree(SAMPLE, folder, dirs_exist_ok=True)


def _write(folder: Path, tokenizer: Tokenizer, **config: Any) -> None:
    names = ["<unk>", "<s>", "</s>", "<|im_start|>", "<|im_end|>"]
    tokenizer.add_special_tokens([AddedToken(name, normalized=False, special=True) for name in names])
    tokenizer.save(str(folder / "tokenizer.json"))
    about = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": "<|im_end|>",
        "bos_token": "<s>",
        "unk_token": "<unk>",
        "chat_template": CHATML,
        **config,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(about), encoding="utf-8")
    (folder / "special_tokens_map.json").write_text(
        json.dumps({"eos_token": "<|im_end|>", "bos_token": {"content": "<s>", "lstrip": False}}),
        encoding="utf-8",
    )
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [1, 2]}), encoding="utf-8")
    (folder / "config.json").write_text(json.dumps({"model_type": "llama"}), encoding="utf-8")


def _fallback(folder: Path) -> None:
    pieces = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), *"\u2581abcdehlortw ", "he", "\u2581he"]
    vocabulary = {piece: index for index, piece in enumerate(dict.fromkeys(pieces))}
    merges = [("h", "e"), ("\u2581", "he")]
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, byte_fallback=True, unk_token="<unk>"))
    space = normalizers.Replace(" ", "\u2581")
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), space])
    steps = [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()]
    tokenizer.decoder = decoders.Sequence(steps)
    _write(folder, tokenizer)


def _word_piece(folder: Path) -> None:
    words = ["<unk>", *"abcdehlortw", *(f"##{letter}" for letter in "abcdehlortw"), "hello"]
    tokenizer = Tokenizer(models.WordPiece({word: at for at, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    _write(folder, tokenizer)


def _unigram(folder: Path) -> None:
    pieces = [("<unk>", 0.0), *((letter, -2.0) for letter in "\u2581abcdehlortw"), ("\u2581hello", -1.0)]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=0, byte_fallback=False))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    _write(folder, tokenizer)


SMALL: dict[str, Callable[[Path], None]] = {
    "sample": _sample,
    "fallback": _fallback,
    "word_piece": _word_piece,
    "unigram": _unigram,
}


# ==== Odd values anywhere in a JSON file ====

ODD: tuple[Any, ...] = (
    *(None, True, False, 0, 5, -1, 1.5, 2**31, 2**63, -(2**63), 10**40, 1e308, "", " ", "\0", "\ud800"),
    *([], {}, [[]], [None], ["a", 5], {"a": {"b": [1]}}, {"": ""}, "../../x", "/etc/passwd", "x" * 100_000),
    *({"content": 5}, {"type": "Nothing"}, "Sequence", "{{ 1 }}", "(a+)+$", "<|im_end|>", ["<|im_end|>"]),
    *({"__type": "AddedToken", "content": []}, {"String": ""}, {"Regex": "("}, {"Regex": ""}, "\U0010ffff"),
)
FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "generation_config.json")
FILES = (*FILES, "config.json", "added_tokens.json")
KEYS = (
    *("chat_template", "eos_token", "bos_token", "pad_token", "unk_token", "additional_special_tokens"),
    *("extra_special_tokens", "added_tokens_decoder", "auto_map", "tokenizer_class", "model_max_length"),
    *("init_inputs", "vocab_file", "merges_file", "tokenizer_file", "fast_tokenizer_files", "padding_side"),
    *("truncation_side", "clean_up_tokenization_spaces", "add_prefix_space", "model_input_names"),
    *("split_special_tokens", "response_schema", "model_type", "transformers_version", "processor_class"),
    *("gguf_file", "name_or_path", "special_tokens", "is_local", "tokenizer_object", "vocab", "merges"),
    *("added_tokens", "normalizer", "pre_tokenizer", "post_processor", "decoder", "model", "truncation"),
    *("padding", "version", "eos_token_id", "_commit_hash", "trust_remote_code", "backend", "unk_id"),
)
CLASSES = (
    *("LlamaTokenizer", "GPT2Tokenizer", "BertTokenizer", "T5Tokenizer", "Qwen2Tokenizer", "ByT5Tokenizer"),
    *("MistralCommonTokenizer", "GemmaTokenizer", "XLNetTokenizer", "WhisperTokenizer", "CLIPTokenizer"),
    *("Wav2Vec2CTCTokenizer", "RagTokenizer", "AutoTokenizer", "os.system", "../x", "PreTrainedModel", ""),
    *("TokenizersBackend", "PythonBackend", "SentencePieceBackend", "BertJapaneseTokenizer", "NllbTokenizer"),
)


def _paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the paths of values in a JSON value; of long lists and objects only some."""
    if path:
        yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in [*items][:12]:
        yield from _paths(child, (*path, key))


def _set(value: Any, path: tuple[Any, ...], new: Any) -> None:
    for key in path[:-1]:
        value = value[key]
    value[path[-1]] = new


def _load(path: Path) -> Any:
    with suppress(OSError, ValueError):
        return json.loads(path.read_text(encoding="utf-8"))
    return {}


def odd_value(folder: Path, chance: random.Random) -> object:
    """Replace a value of a file by an odd one."""
    file = chance.choice(FILES)
    whole = _load(folder / file)
    paths = list(_paths(whole))
    path = chance.choice(paths) if paths and chance.random() < 0.7 else (chance.choice(KEYS),)
    new = chance.choice(CLASSES) if path == ("tokenizer_class",) else chance.choice(ODD)
    _set(whole, path, new)
    (folder / file).write_text(json.dumps(whole), encoding="utf-8")
    return file, path, str(new)[:40]


def no_value(folder: Path, chance: random.Random) -> object:
    """Remove a value of a file."""
    file = chance.choice(FILES[:4])
    whole = _load(folder / file)
    paths = [path for path in _paths(whole) if isinstance(path[-1], str)]
    if not paths:
        return odd_value(folder, chance)
    path = chance.choice(paths)
    parent = whole
    for key in path[:-1]:
        parent = parent[key]
    del parent[path[-1]]
    (folder / file).write_text(json.dumps(whole), encoding="utf-8")
    return file, path


def odd_bytes(folder: Path, chance: random.Random) -> object:
    """Replace the content of a file, or some bytes of it."""
    file = chance.choice((*FILES, "chat_template.jinja", "vocab.json", "merges.txt", "tokenizer.model"))
    path = folder / file
    content = path.read_bytes() if path.is_file() else b"{}"
    at = chance.randrange(len(content) + 1)
    made = {
        "cut": content[:at],
        "flip": content[:at] + bytes([chance.randrange(256)]) + content[at + 1 :],
        "zeros": b"\0" * 1000,
        "latin": content[:at] + b"\xff\xfe" + content[at:],
        "deep": b"[" * 100_000,
        "deep object": b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
        "deep value": b'{"chat_template":' + b"[" * 20_000 + b"]" * 20_000 + b"}",
        "number": b'{"eos_token_id": ' + b"9" * 5000 + b"}",
        "list": b"[]",
        "text": b'"text"',
        "empty": b"",
        "doubled": content + content,
        "bom": b"\xef\xbb\xbf" + content,
        "nan": b'{"model_max_length": NaN, "eos_token": Infinity}',
    }
    kind = chance.choice(list(made))
    path.write_bytes(made[kind])
    return file, kind, at


# ==== Written by hand ====


def _config(**values: Any) -> Change:
    def change(folder: Path, _: random.Random) -> object:
        whole = {**_load(folder / "tokenizer_config.json"), **values}
        (folder / "chat_template.jinja").unlink(missing_ok=True)
        (folder / "tokenizer_config.json").write_text(json.dumps(whole), encoding="utf-8")
        return str(values)[:60]

    return change


def _spec(**values: Any) -> Change:
    def change(folder: Path, _: random.Random) -> object:
        whole = {**_load(folder / "tokenizer.json"), **values}
        (folder / "tokenizer.json").write_text(json.dumps(whole), encoding="utf-8")
        return str(values)[:60]

    return change


def _model(**values: Any) -> Change:
    def change(folder: Path, _: random.Random) -> object:
        whole = _load(folder / "tokenizer.json")
        whole["model"] |= values
        (folder / "tokenizer.json").write_text(json.dumps(whole), encoding="utf-8")
        return str(values)[:60]

    return change


def _file(name: str, make: Callable[[Path], object]) -> Change:
    def change(folder: Path, _: random.Random) -> object:
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.unlink(missing_ok=True)
        make(path)
        return name

    return change


def _sparse(size: int) -> Callable[[Path], object]:
    def make(path: Path) -> None:
        with path.open("wb") as file:
            file.truncate(size)

    return make


def _split(pattern: dict[str, str], behavior: str = "Isolated") -> Change:
    return _spec(pre_tokenizer={"type": "Split", "pattern": pattern, "behavior": behavior, "invert": False})


def _replace(pattern: dict[str, str], content: str) -> dict[str, Any]:
    return {"type": "Replace", "pattern": pattern, "content": content}


def _normalizer(*parts: dict[str, Any]) -> Change:
    return _spec(normalizer={"type": "Sequence", "normalizers": list(parts)})


def _code(folder: Path, _: random.Random) -> object:
    """A class of its own, with a module that leaves a trace when it runs, and a pickle."""
    (folder / "own.py").write_text(
        f"open({str(folder / 'TRACE')!r}, 'w')\nclass Own: pass\n", encoding="utf-8"
    )
    (folder / "vocab.pkl").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    return _config(auto_map={"AutoTokenizer": ["own.Own", "own.Own"]}, tokenizer_class="Own")(folder, _)


def _many_added(count: int) -> Change:
    def change(folder: Path, chance: random.Random) -> object:
        whole = _load(folder / "tokenizer.json")
        flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
        first = 1 + max((token["id"] for token in whole["added_tokens"]), default=0) + 8000
        more = [{"id": first + i, "content": f"<|n{i}|>", "special": True, **flags} for i in range(count)]
        whole["added_tokens"] += more
        (folder / "tokenizer.json").write_text(json.dumps(whole), encoding="utf-8")
        return count, chance.random()

    return change


def _far_id(index: int) -> Change:
    def change(folder: Path, _: random.Random) -> object:
        whole = _load(folder / "tokenizer.json")
        vocabulary = whole["model"]["vocab"]
        if isinstance(vocabulary, dict):
            vocabulary["far"] = index
        (folder / "tokenizer.json").write_text(json.dumps(whole), encoding="utf-8")
        return index

    return change


NAMES = ("../../x", "", "a/b", "x" * 5000, ".", "..", "/abs", "a\0b", "a\nb", "default ", "\ud800")
REGEXES = (
    *(
        "(a+)+$",
        "(a|a)*b",
        "(a|aa)+$",
        "(.*)*x",
        "^(([a-z])+.)+[A-Z]([a-z])+$",
        "(\\s*a\\s*)*b",
        "",
        "()",
        "^",
    ),
    *(
        "(?=a)*",
        "a{1,100000}{1,100000}",
        "(?:a?){5000}a{5000}",
        "\\1(a)",
        "(?<n>a|\\g<n>b)*c",
        "[",
        "\\p{Nope}",
    ),
    *(
        "(?:(?:(?:(?:a*)*)*)*)*b",
        "(x+x+)+y",
        "(.+)+\\d",
        "(?<=a+)b",
        "a*a*a*a*a*a*a*b",
        "(" * 500 + ")" * 500,
    ),
)
BY_HAND: dict[str, list[Change]] = {
    "template": [
        *(_config(chat_template=odd) for odd in ODD),
        *(_config(chat_template=[{"name": name, "template": CHATML}]) for name in NAMES),
        *(_config(chat_template={name: CHATML, "default": CHATML}) for name in NAMES),
        _config(chat_template=[{"name": 5, "template": 5}]),
        _config(chat_template=[{"name": "default"}]),
        _config(chat_template=[{"template": CHATML}]),
        _config(chat_template=[5, "x"]),
        _config(chat_template=[{"name": "default", "template": CHATML}] * 5000),
        _config(chat_template={f"t{i}": CHATML for i in range(5000)}),
        _file("additional_chat_templates/a b.jinja", lambda path: path.write_text("x")),
        _file("additional_chat_templates/x.jinja", lambda path: path.symlink_to("/etc/hostname")),
        _file("additional_chat_templates/x.jinja", os.mkfifo),
        _file("additional_chat_templates/.jinja", lambda path: path.write_text("x")),
    ],
    "file": [
        *(_file(name, os.mkfifo) for name in (*FILES, "chat_template.jinja", "vocab.json", "odd.bin")),
        *(_file(name, lambda path: path.symlink_to("/dev/zero")) for name in FILES),
        *(
            _file(name, lambda path: path.symlink_to("/etc/passwd"))
            for name in (*FILES, "chat_template.jinja")
        ),
        *(_file(name, Path.mkdir) for name in (*FILES, "chat_template.jinja")),
        *(_file(name, _sparse(6 << 30)) for name in (*FILES, "chat_template.jinja", "tokenizer.model")),
        _file("tokenizer.json", lambda path: path.symlink_to("tokenizer.json")),
        _file("tokenizer.json", lambda path: path.symlink_to("gone")),
    ],
    "code": [
        _code,
        _config(auto_map={"AutoTokenizer": ["a--b.C", None]}),
        _config(auto_map={"AutoTokenizer": [None, "stranger/repo--mod.C"]}),
        _config(auto_map=["mod.A", "mod.B"]),
        _config(auto_map="mod.A"),
        _config(auto_map={"AutoTokenizer": "mod.A"}),
        _config(auto_map={"AutoTokenizer": []}),
        _config(auto_map=5),
        _config(auto_map={"AutoProcessor": "mod.A"}),
        *(_config(tokenizer_class=name) for name in CLASSES),
    ],
    "regex": [
        *(_split({"Regex": regex}) for regex in REGEXES),
        *(_normalizer(_replace({"Regex": regex}, "b")) for regex in REGEXES),
        _split({"String": ""}),
        _split({"String": "a"}, "Removed"),
        _split({"String": "a" * 100_000}),
        _spec(pre_tokenizer={"type": "Sequence", "pretokenizers": [{"type": "ByteLevel"}] * 3000}),
        _spec(decoder={"type": "Replace", "pattern": {"Regex": "(a+)+$"}, "content": "b"}),
    ],
    "growth": [
        _normalizer(_replace({"String": "a"}, "a" * 10_000)),
        *(
            _normalizer(*[_replace({"String": "a"}, "a" * size)] * count)
            for size, count in ((10, 12), (2, 64))
        ),
        *(
            _normalizer(*[_replace({"Regex": "."}, "a" * size)] * count)
            for size, count in ((10, 12), (4, 24))
        ),
        _normalizer(_replace({"Regex": ""}, "a" * 1000), _replace({"String": "a"}, "a" * 1000)),
        _normalizer(_replace({"String": ""}, "a" * 1000)),
        _normalizer(*[{"type": "Prepend", "prepend": "a" * 100_000}] * 50),
        _normalizer(*[{"type": "NFKD"}] * 5000),
        _normalizer(*[{"type": "ByteLevel"}] * 40),
        _normalizer({"type": "Precompiled", "precompiled_charsmap": "AAAA"}),
        _normalizer({"type": "Precompiled", "precompiled_charsmap": "gICAgICAgICAgICAgICAgICAgIA="}),
        _normalizer({"type": "Precompiled", "precompiled_charsmap": ""}),
        _normalizer({"type": "Precompiled", "precompiled_charsmap": "A" * 400_000}),
        _spec(
            pre_tokenizer={
                "type": "Sequence",
                "pretokenizers": [{"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True}] * 40,
            }
        ),
        _spec(pre_tokenizer={"type": "Metaspace", "replacement": "a", "prepend_scheme": "always"}),
        _spec(pre_tokenizer={"type": "FixedLength", "length": 0}),
        _spec(
            truncation={"direction": "Right", "max_length": 2**63, "strategy": "LongestFirst", "stride": 9**9}
        ),
        _spec(
            padding={
                "strategy": {"Fixed": 10**12},
                "direction": "Left",
                "pad_to_multiple_of": 0,
                "pad_id": 0,
                "pad_type_id": 0,
                "pad_token": "x" * 9999,
            }
        ),
        _spec(
            post_processor={
                "type": "TemplateProcessing",
                "single": [{"Sequence": {"id": "A", "type_id": 0}}] * 50_000,
                "pair": [{"Sequence": {"id": "B", "type_id": 0}}],
                "special_tokens": {},
            }
        ),
        _spec(post_processor={"type": "TemplateProcessing", "single": [], "pair": [], "special_tokens": {}}),
        _model(byte_fallback=True),
        _model(unk_token="nowhere"),
        _model(dropout=0.9),
        _model(dropout=2),
        _model(continuing_subword_prefix="x" * 9999, end_of_word_suffix="\0"),
        _model(ignore_merges=True, fuse_unk=True),
        _model(max_input_chars_per_word=10**18),
    ],
    "vocabulary": [
        *(map(_many_added, (1000, 60_000, 300_000))),
        *(map(_far_id, (10**6, 10**8, 2**31, 2**32 - 1, 2**32, -1))),
        _model(vocab={}),
        _model(vocab={}, merges=[]),
        _model(vocab=[]),
        _model(merges=[["a", "b"]] * 1000),
        _model(merges=["a b c", "x"]),
        _spec(added_tokens=[]),
        _spec(added_tokens=[{"id": 0, "content": ""}]),
        _spec(added_tokens=[{"id": 2**40, "content": "x"}]),
        _config(added_tokens_decoder={str(2**40): {"content": "x"}}),
        _config(added_tokens_decoder={"x": {"content": "x"}}),
        _config(added_tokens_decoder={"99999999": {"content": "<far>", "special": True}}),
        _config(added_tokens_decoder={str(i): {"content": f"<d{i}>"} for i in range(20_000, 60_000)}),
        _config(extra_special_tokens=[f"<e{i}>" for i in range(30_000)]),
        _config(extra_special_tokens={f"e{i}": f"<e{i}>" for i in range(3000)}),
        _config(eos_token="x" * 1_000_000),
    ],
}


# ==== Folders, each tried in a process ====


class Ended(NamedTuple):
    """What became of a folder: `ok`, `line`, or what is wrong, and what was said."""

    how: str
    said: str
    seconds: float
    megabytes: int

    @property
    def is_fault(self) -> bool:
        """Whether this should not have been."""
        return self.how not in ("ok", "line")


class Hostile(NamedTuple):
    """One changed folder: the kind of change, the folder it was made of, and what was changed."""

    kind: str
    base: str
    what: str
    make: Callable[[Path], object]


def by_hand() -> Iterator[Hostile]:
    """Yield what is written by hand, of one folder each."""
    names = list(SMALL)
    for kind, changes in BY_HAND.items():
        for number, change in enumerate(changes):
            base = names[number % 2] if kind in ("regex", "growth", "vocabulary") else names[number % 4]
            yield _made(kind, base, change, number)


def random_ones(count: int, seed: int) -> Iterator[Hostile]:
    """Yield folders with random changes."""
    chance = random.Random(seed)  # noqa: S311  repeatable
    for _ in range(count):
        base = chance.choice(list(SMALL))
        change = chance.choice((odd_value, odd_value, odd_value, no_value, odd_bytes))
        yield _made(change.__name__, base, change, chance.randrange(2**32))


def _made(kind: str, base: str, change: Change, seed: int) -> Hostile:
    def make(folder: Path) -> object:
        SMALL[base](folder)
        return change(folder, random.Random(seed))  # noqa: S311  repeatable

    return Hostile(kind, base, str(seed), make)


def tried(hostile: Hostile, use: Callable[[Path], None] | None = None) -> Ended:
    """Make a folder and use it in a child process, which is limited in time and memory."""
    with tempfile.TemporaryDirectory(prefix="premask-fuzz-") as place:
        folder = Path(place) / "tokenizer"
        folder.mkdir()
        try:
            what = hostile.make(folder)
        except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
            return Ended("ok", f"not made: {error}", 0, 0)
        ended = _in_child(lambda: (use or use_folder)(folder))
        if (folder / "TRACE").exists():
            ended = ended._replace(how="code ran")
        return ended._replace(said=f"{hostile.kind} {hostile.base} {what}: {ended.said}")


def _in_child(work: Callable[[], None]) -> Ended:
    read, write = os.pipe()
    began = time.monotonic()
    child = os.fork()
    if not child:
        os.close(read)
        _child(work, write)
    os.close(write)
    os.set_blocking(read, False)
    status, usage = 0, None
    while usage is None:
        done, status, found = os.wait4(child, os.WNOHANG)
        if done:
            usage = found
        elif time.monotonic() - began > HANG_S:
            with suppress(ProcessLookupError):
                os.killpg(child, signal.SIGKILL)
            _, status, usage = os.wait4(child, 0)
            return Ended("hang", "", time.monotonic() - began, usage.ru_maxrss >> 10)
        else:
            time.sleep(0.01)
    said = b""
    with suppress(BlockingIOError):
        said = os.read(read, 65536)
    os.close(read)
    seconds, megabytes = time.monotonic() - began, max(0, (usage.ru_maxrss >> 10) - resident_mb())
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGXCPU:
        return Ended("hang", "", seconds, megabytes)
    if not os.WIFEXITED(status) or not said:
        return Ended("died", f"status {status}", seconds, megabytes)
    how, _, text = said.decode(errors="replace").partition("\n")
    if megabytes > MOST_BYTES >> 20:
        how = "memory"
    return Ended(how, text, seconds, megabytes)


def _child(work: Callable[[], None], write: int) -> None:
    os.setpgid(0, 0)
    size = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + 2 * MOST_BYTES, size + 2 * MOST_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S + 5))
    answers, asked = os.pipe()
    os.write(asked, b"y\n" * 20)
    os.dup2(answers, 0)
    sink = os.open(os.devnull, os.O_WRONLY)
    os.dup2(sink, 1)
    if not os.environ.get("FUZZ_LOUD"):
        os.dup2(sink, 2)
    try:
        work()
        said = "ok\n"
    except BaseException as error:  # noqa: BLE001  a panic of Rust is no Exception
        said = _said(error)
        if os.environ.get("FUZZ_LOUD"):
            sys.excepthook(type(error), error, error.__traceback__)
    os.write(write, said.encode("utf-8", "backslashreplace")[:60_000])
    os._exit(0)


def _said(error: BaseException) -> str:
    text = str(error)
    if isinstance(error, PremaskError) and text.strip() and len(text.splitlines()) == 1 and len(text) < 1500:
        return f"line\n{text}"
    if isinstance(error, PremaskError):
        return f"long line\n{len(text)} {text[:300]!r}"
    return f"traceback\n{type(error).__name__}: {text[:300]!r}"


def use_folder(folder: Path, engine: str = "tokenizers") -> None:
    """Load a tokenizer, label conversations with it, and save it as a run does."""
    tokenizer = load_tokenizer(str(folder))
    recipe = Recipe.model_validate(
        {"sources": ["-"], "tokenizer": str(folder), "output": "-", "engine": engine}
    )
    try:
        labeller = Labeller(recipe, tokenizer)
    except TemplateError:
        labeller = Labeller(recipe.model_copy(update={"chat_template": "chatml"}), tokenizer)
    for text in ROWS:
        with suppress(RowError):
            messages = (Message("user", text), Message("assistant", text + " yes"))
            labeller(Conversation(messages))
    saved = folder.parent / "saved"
    saved.mkdir()
    tokenizer.save(saved, labeller.template.source)
    for path in saved.rglob("*"):
        _check_saved(path)


def _check_saved(path: Path) -> None:
    if path.suffix not in (".json", ".jinja", "") or stat.S_IFMT(path.lstat().st_mode) not in (
        stat.S_IFREG,
        stat.S_IFDIR,
    ):
        raise AssertionError(f"{path.name} was saved")
    if path.name == "tokenizer_config.json" and "auto_map" in _load(path):
        raise AssertionError("auto_map was saved")


@contextmanager
def made(name: str) -> Iterator[Path]:
    """A folder of one of the small tokenizers, unchanged."""
    with tempfile.TemporaryDirectory(prefix="premask-fuzz-") as place:
        folder = Path(place) / "tokenizer"
        folder.mkdir()
        SMALL[name](folder)
        yield folder


def load_libraries() -> None:
    """Import what the children use, once."""
    for name in SMALL:
        with made(name) as folder:
            transformers.AutoTokenizer.from_pretrained(folder)
            use_folder(folder)


def main() -> None:
    """Try what is written by hand and as many random folders; print what became of them."""
    count, seed = (
        int(sys.argv[1]) if len(sys.argv) > 1 else 2000,
        int(sys.argv[2]) if len(sys.argv) > 2 else 0,
    )
    os.environ |= {"HF_HUB_OFFLINE": "1", "PREMASK_FACTS": "off", "PREMASK_CACHE": tempfile.mkdtemp()}
    load_libraries()
    found: Counter[tuple[str, str]] = Counter()
    longest, largest = 0.0, 0
    for hostile in [*by_hand(), *random_ones(count, seed)]:
        ended = tried(hostile)
        found[hostile.kind, ended.how] += 1
        longest, largest = max(longest, ended.seconds), max(largest, ended.megabytes)
        if ended.is_fault:
            sys.stdout.write(
                f"{ended.how:10} {ended.seconds:5.1f} s {ended.megabytes:5} MB  {ended.said[:300]}\n"
            )
            sys.stdout.flush()
    for (kind, how), number in sorted(found.items()):
        sys.stdout.write(f"{kind:12} {how:10} {number:6}\n")
    sys.stdout.write(f"{found.total()} folders; longest {longest:.1f} s, most memory {largest} MB\n")


if __name__ == "__main__":
    main()
