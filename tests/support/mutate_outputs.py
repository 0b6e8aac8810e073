"""Outputs as a stranger could send them: finished ones with something changed, through all commands that read.

    python tests/support/mutate_outputs.py --mutations 2000 [--seed 0] [--only manifest,links]

Each mutation changes one thing of a real output, or of its work in progress: a value of a JSON file, bytes or
cells of a shard, the card's YAML, a file of the tokenizer; or a file becomes a link, a FIFO, a device, a folder.
Then every command that reads outputs is run on a copy, in a process of its own with a limit of its memory and
of its time. A command may take the output or refuse it, with one line. What must not happen is counted:

    traceback   any exception but those of premask
    hang        more than HANG_S seconds
    crash       the process is ended by a signal
    outside     a file outside the command's target was made, changed or removed
    leak        a private file, to which the output links, is in what was written or sent
    lost        a file of somebody else that lay in the output was changed or removed
    memory      more than MOST_BYTES above what the process had before
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import shutil
import signal
import socket
import stat
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

sys.path.insert(0, str(Path(__file__).parent))
os.environ.setdefault("HF_HUB_DISABLE_XET", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

HANG_S = 60
MOST_BYTES = 1 << 30
ADDRESS_SPACE = 6 << 30
MINE = "a file of somebody else"
PRIVATE = "a private text that is nobody's business"

Mutate = Callable[[random.Random, Path], str]
"""Changes something in a folder that holds `chats` and `.chats.partial`; returns what, in words."""


class Fault(NamedTuple):
    """What a command did that it must not do."""

    kind: str
    mutation: str
    command: str
    what: str


# ==== Values ====

DEEP = 100_000
HOSTILE: list[Any] = [
    None, True, False, 0, -1, 1, 0.5, -0.0, 2**31, 2**63 - 1, 2**63, 2**64, -(2**63) - 1, 10**30,
    float("nan"), float("inf"), 1e308, "", " ", "x", "x" * 100_000, "\0", "a\0b", "\ud800", "\x1b[31mred", "a\nb",
    "/etc/passwd", "../../x", "..", ".", "/", "./x", "packed/../../x", "packed/train-00000-of-00001.parquet/..",
    "/dev/zero", "train", "<script>alert(1)</script>", "{{ 1/0 }}", "%s%n", "é" * 300, "hf://datasets/a/b",
    "http://127.0.0.1:9/x", "nul", "a" * 300 + ".parquet", [], {}, [[]], [None], {"": None}, [1] * 1000, {"a": {"b": {}}},
]  # fmt: skip
RAW = [
    "[" * DEEP + "]" * DEEP, '{"a":' * DEEP + "1" + "}" * DEEP, "9" * 5000, "1e999999", "NaN", "-Infinity", "0x10",
    '"\\ud800"', '"\\u0000"', "1.0", "1E2", "-0", "tru", '"' + "x" * (1 << 22) + '"',
]  # fmt: skip
"""Values that JSON's text can have and Python's values cannot."""


def _places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in items:
        yield from _places(each, (*path, key))


def _parent(value: Any, path: tuple[Any, ...]) -> Any:
    for key in path[:-1]:
        value = value[key]
    return value


def change_json(rng: random.Random, text: str) -> tuple[str, str]:
    """A JSON text with one thing changed, and what was."""
    data = json.loads(text)
    paths = [path for path in _places(data) if path]
    if not paths:
        return rng.choice(RAW), "the whole"
    path = rng.choice(paths)
    parent, key, where = _parent(data, path), path[-1], ".".join(map(str, path))
    how = rng.choice(["value", "value", "value", "raw", "near", "drop", "add", "twice", "swap", "name"])
    if how == "raw":
        parent[key] = "@raw@"
        raw = rng.choice(RAW)
        return json.dumps(data).replace('"@raw@"', raw), f"{where} = {raw[:30]}"
    if how == "value":
        parent[key] = rng.choice(HOSTILE)
    elif how == "near":
        parent[key] = _near(rng, parent[key])
    elif how == "drop":
        del parent[key]
    elif how == "add":
        target = parent if isinstance(parent, dict) else {}
        target[rng.choice(["x", "", "../x", "packed", "__class__", "sources", "x" * 5000])] = rng.choice(HOSTILE)
    elif how == "twice" and isinstance(parent, dict):
        one = json.dumps({key: rng.choice(HOSTILE)})
        return json.dumps(data).replace("{", "{" + one[1:-1] + ",", 1), f"{where} twice"
    elif how == "name" and isinstance(parent, dict):
        parent[rng.choice(["/tmp/x", "../../x", ".", "..", "\0", "\ud800", "a/b", "-", ""])] = parent.pop(key)
    elif isinstance(parent, list) and len(parent) > 1:
        other = rng.randrange(len(parent))
        parent[key], parent[other] = parent[other], parent[key]
    else:
        parent[key] = rng.choice(HOSTILE)
    return json.dumps(data), f"{how} {where}"


def _near(rng: random.Random, value: Any) -> Any:
    """A value that is nearly the same."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return rng.choice([value + 1, value - 1, value * 2, -value, value + (1 << 40), float(value), str(value)])
    if isinstance(value, str):
        at = rng.randrange(len(value) + 1)
        return rng.choice([value[:at] + rng.choice(["/", "..", "\0", "é", "9", "a"]) + value[at:], value[:at], value * 2])
    if isinstance(value, list):
        return rng.choice([value * 2, value[:-1], [*value, None], [value]])
    return rng.choice([{**value, "more": 1}, {}, [value]]) if isinstance(value, dict) else [value]


def change_bytes(rng: random.Random, data: bytes) -> tuple[bytes, str]:
    """Bytes with some of them changed."""
    if not data:
        return b"\0", "one byte more"
    at, much = rng.randrange(len(data)), rng.choice([1, 1, 2, 8, 64, 500])
    changed = bytearray(data)
    how = rng.choice(["flip", "flip", "cut", "insert", "zero", "ones", "repeat", "end", "drop"])
    if how == "flip":
        for _ in range(much):
            changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    elif how == "cut":
        del changed[at:]
    elif how == "drop":
        del changed[at : at + much]
    elif how == "insert":
        changed[at:at] = rng.randbytes(much)
    elif how in {"zero", "ones"}:
        changed[at : at + much] = (b"\0" if how == "zero" else b"\xff") * len(changed[at : at + much])
    elif how == "repeat":
        changed[at:at] = changed[max(0, at - much) : at] * 50
    else:
        changed += rng.randbytes(much)
    return bytes(changed), f"{how} at {at}"


# ==== Outputs ====


def _write(path: Path, data: str | bytes) -> None:
    path.unlink(missing_ok=True)
    path.write_bytes(data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data)


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def settle(out: Path, rng: random.Random | None = None) -> None:
    """Make the manifest say of every shard what is there, as whoever changes shards would."""
    from premask.output.dataset import raw_bytes
    from premask.output.shards import sha256_file

    path = out / "manifest.json"
    data = json.loads(path.read_text())
    for line in data["shards"]:
        file = out / line["path"]
        line["bytes"], line["sha256"] = file.stat().st_size, sha256_file(file)
        try:
            footer = pq.read_metadata(file)
            line["rows"], line["raw_bytes"] = footer.num_rows, raw_bytes(footer)
        except Exception:  # noqa: BLE001, S112  a broken one keeps its numbers
            continue
    _write(path, json.dumps(data))


def _rekey(out: Path) -> None:
    """Give a changed manifest the run key of what it says, if it can have one."""
    from premask.output.identity import key_of

    path = out / "manifest.json"
    try:
        data = json.loads(path.read_text(errors="surrogatepass"))
        keys = ("contract", "premask", "recipe", "tokenizer", "template", "versions")
        inputs = [{k: each[k] for k in ("source", "bytes", "sha256", "version") if k in each} for each in data["inputs"]]
        data["run_key"] = key_of({**{key: data[key] for key in keys}, "inputs": inputs})
        _write(path, json.dumps(data))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return


def manifest(rng: random.Random, folder: Path) -> str:
    """A value of the manifest."""
    path = folder / "chats/manifest.json"
    text, what = change_json(rng, path.read_text())
    _write(path, text)
    if rng.random() < 0.5:
        _rekey(folder / "chats")
    return what


SPLITS = ["..", ".", "/tmp/x", "../../x", "a/b", "", "\0", "train-00000", "Train", "x" * 5000, "-", "test\n", "*", "[x]"]


def names(rng: random.Random, folder: Path) -> str:
    """A name of a split or a file, everywhere in the manifest and in the folder."""
    out, name = folder / "chats", rng.choice([*SPLITS, str(folder / "outside/x")])
    text = (out / "manifest.json").read_text()
    how = rng.choice(["split", "shard", "picture", "source"])
    if how == "split":
        text = text.replace('"test"', json.dumps(name)).replace("/test-", f"/{json.dumps(name)[1:-1]}-")
        for path in [path for path in _files(out) if path.name.startswith("test-")]:
            target = path.with_name(path.name.replace("test-", f"{name}-"))
            if "\0" not in name and "/" not in name and len(target.name) < 250:
                path.rename(target)
    elif how == "source":
        text = text.replace('"data.jsonl"', json.dumps(rng.choice([name, "/dev/zero", "/dev/stdin", "/proc/kmsg"])))
    else:
        data = json.loads(text)
        line = rng.choice(data["shards" if how == "shard" else "pictures"])
        line["path"] = rng.choice([name, f"packed/{name}", f"{line['path']}/../../../x", f"/{line['path']}", str(folder / "private/secret.txt")])
        text = json.dumps(data)
    _write(out / "manifest.json", text)
    _rekey(out)
    return f"{how} {name[:30]!r}"


def bytes_of_files(rng: random.Random, folder: Path) -> str:
    """Bytes of any file."""
    path = rng.choice(_files(folder / "chats"))
    data, what = change_bytes(rng, path.read_bytes())
    _write(path, data)
    return f"{path.relative_to(folder)}: {what}"


def _shard(rng: random.Random, folder: Path, *kinds: str) -> Path:
    return rng.choice([path for kind in kinds for path in _files(folder / "chats" / kind)])


def footers(rng: random.Random, folder: Path) -> str:
    """Bytes of a footer, with numbers that are huge; the manifest agrees."""
    path = _shard(rng, folder, "packed", "unpacked", "lineage", "rejects")
    data = bytearray(path.read_bytes())
    size = int.from_bytes(data[-8:-4], "little")
    start = len(data) - 8 - size
    footer = data[start:-8]
    for _ in range(rng.choice([1, 1, 2, 5])):
        at = rng.randrange(len(footer))
        how = rng.choice(["flip", "varint", "varint", "byte", "list"])
        if how == "varint":  # a number of many bits
            footer[at : at + rng.choice([0, 1, 4])] = b"\xff" * rng.choice([3, 4, 8]) + bytes([rng.randrange(1, 128)])
        elif how == "list":
            footer[at : at + 1] = bytes([0xF0 | rng.randrange(16)]) + b"\xff" * 4 + b"\x0f"
        else:
            footer[at] = rng.randrange(256) if how == "byte" else footer[at] ^ (1 << rng.randrange(8))
    length = rng.choice([len(footer)] * 6 + [2**31 - 1, 2**32 - 1, 0, len(data)])
    _write(path, bytes(data[:start] + footer + length.to_bytes(4, "little") + data[-4:]))
    settle(folder / "chats")
    return f"footer of {path.relative_to(folder)}"


CELLS: list[Any] = [
    None, -1, 0, 1, 2**31 - 1, -(2**31), 2**62, -(2**62), "", "x" * 100_000, "\0", "/dev/zero", "../../x", "http://127.0.0.1:9/x",
    "duplicate", "crashed", "no_such_reason", "{" * 5000, "[" * 100_000, '{"a": NaN}', "9" * 5000, [], [None], [-1], [2**31 - 1],
    [0] * 10_000, [2**31 - 1] * 3, "\x1b[2J", "<b>", "test", "train",
]  # fmt: skip


def cells(rng: random.Random, folder: Path) -> str:
    """A cell, column or row of a shard; the manifest agrees."""
    path = _shard(rng, folder, "packed", "unpacked", "lineage", "lineage", "rejects", "rejects")
    table = pq.read_table(path, use_threads=False)
    rows, schema = table.to_pylist(), table.schema
    column = rng.choice(schema.names)
    how = rng.choice(["cell", "cell", "cell", "column", "type", "drop", "twice", "order", "rows", "none"])
    if how in {"cell", "column"} and rows:
        at = range(len(rows)) if how == "column" else [rng.randrange(len(rows))]
        value = rng.choice([*CELLS, str(folder / "pipe"), str(folder / "private/secret.txt")])
        for i in at:
            rows[i][column] = value
        try:
            table = pa.Table.from_pylist(rows, schema)
        except (pa.ArrowException, TypeError, ValueError, OverflowError):
            return cells(rng, folder)
    elif how == "type":
        other = rng.choice([pa.string(), pa.int64(), pa.float32(), pa.bool_(), pa.list_(pa.int64()), pa.binary(), pa.null()])
        table = table.set_column(schema.get_field_index(column), column, pa.nulls(len(table), other))
    elif how == "drop":
        table = table.drop_columns([column])
    elif how == "twice":
        table = table.append_column(rng.choice([column, "more"]), table[column])
    elif how == "order":
        table = table.select(rng.sample(schema.names, len(schema.names))) if rng.random() < 0.5 else table.take(list(reversed(range(len(table)))))
    elif how == "rows":
        table = pa.concat_tables([table] * rng.choice([2, 50]))
    else:
        table = table.slice(0, rng.choice([0, max(0, len(table) - 1)]))
    path.unlink()
    pq.write_table(table.replace_schema_metadata({"premask.contract": "1"}), path)
    settle(folder / "chats")
    return f"{how} {column} of {path.relative_to(folder)}"


def bombs(rng: random.Random, folder: Path) -> str:
    """A shard of few bytes that is large once it is read; the manifest agrees."""
    path = _shard(rng, folder, "packed", "unpacked", "lineage", "rejects")
    schema = pq.read_schema(path)
    how = rng.choice(["values", "text", "groups", "columns", "rows", "metadata", "nested"])
    rows = max(1, pq.read_metadata(path).num_rows)
    path.unlink()
    count = rng.choice([20_000_000, 60_000_000])

    def column(field: pa.Field) -> pa.Array:
        if pa.types.is_list(field.type):
            inner = pa.array([0], field.type.value_type).take(pa.array([0] * (count // 20)))
            values = pa.concat_arrays([inner] * 20) if how == "values" else inner.slice(0, rows)
            sizes = [0, len(values)] if how == "values" else list(range(rows + 1))
            return pa.ListArray.from_arrays(pa.array(sizes, pa.int32()), values).cast(field.type)
        n = 1 if how == "values" else rows
        if pa.types.is_string(field.type):
            return pa.array(["a" * (count * 5 if how == "text" else 1)] * (1 if how == "text" else n), pa.string()).take(pa.array([0] * n))
        return pa.array([1] * n, field.type)

    if how == "columns":
        schema = pa.schema([*schema, *(pa.field(f"c{i}", pa.int32()) for i in range(3000))])
    if how == "nested":
        kind = pa.int32()
        for _ in range(rng.choice([20, 200])):
            kind = pa.list_(kind)
        schema = schema.set(0, pa.field(schema.names[0], kind))
    many = {"premask.contract": "1", **({"x": "y" * (1 << 26)} if how == "metadata" else {})}
    empty = schema.empty_table()
    with pq.ParquetWriter(path, schema.with_metadata(many), compression="zstd", store_schema=how != "nested") as writer:
        if how in {"columns", "metadata", "nested"}:
            writer.write_table(empty)
        elif how == "groups":
            one = pa.Table.from_arrays([column(field) for field in schema], schema=schema).slice(0, 1)
            for _ in range(3000):
                writer.write_table(one)
        elif how == "rows":
            small = pa.Table.from_arrays([pa.array([[]] * 1, f.type) if pa.types.is_list(f.type) else pa.array(["a"] if pa.types.is_string(f.type) else [1], f.type) for f in schema], schema=schema)
            writer.write_table(small.take(pa.array([0] * (count // 10))))
        else:
            writer.write_table(pa.Table.from_arrays([column(field) for field in schema], schema=schema))
    settle(folder / "chats")
    return f"bomb of {how} in {path.relative_to(folder)}"


LAUGHS = "a: &a [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [{','.join([f'*{chr(97 + i)}'] * 10)}]\n" for i in range(9)
)
MERGES = "a: &a {x: 1}\n" + "".join(f"b{i}: &b{i} {{<<: [{', '.join(['*a'] + [f'*b{k}' for k in range(i)])}]}}\n" for i in range(24))
YAMLS = [
    LAUGHS, MERGES, "a: " + "[" * 5000 + "]" * 5000, "a: " + "[" * 200_000, "? " * 3000 + "x", "a: !!python/object/apply:os.system ['true']",
    "a: 2001-99-99", "a: 0x" + "f" * 10_000, "a: " + "9" * 5000, "configs: " + LAUGHS.splitlines()[0], "&a a: *a", "a: &a [*a]", "- " * 5000 + "x",
    "a: !!binary x", "a: 190:20:30.15" + ":59" * 2000, "'\\ud800': 1", '"\\ud800": 1', "{[1]: 2}", "{{a: b}: c}", "a: \t b", "%YAML 9.9", "a: 1\na: 2", "configs: *x",
    "dataset_info: {config_name: [1]}", "configs: [{config_name: {a: b}, data_files: 1}]", "#" + "x" * 5_000_000, "a: |\n" + "  x\n" * 200_000,
    "dataset_info: [{config_name: packed, splits: [{name: train, num_examples: [1, {a: 2}]}]}]", ("k" * 2000 + ": ") * 50 + "1", "a: " + "{a: " * 3000,
    "!!set {a, b}", "!!timestamp 9999-12-31 25:61:61", "a: .inf", "a: 1e99999", "a: !!int 'x'", "a: !!float 'x'", "<<: 1", "<<: [1]", "a: !!null x", "a: !!omap 1",
]  # fmt: skip


def card(rng: random.Random, folder: Path) -> str:
    """The card."""
    path = folder / "chats/README.md"
    _, front, body = path.read_text().split("---\n", 2)
    how = rng.choice(["yaml", "yaml", "value", "bytes"])
    if how == "yaml":
        front = rng.choice(YAMLS) + "\n" + (front if rng.random() < 0.5 else "")
    elif how == "value":
        text, _ = change_json(rng, json.dumps(yaml.safe_load(front)))
        front = text + "\n"
    text = f"---\n{front}---\n{body}"
    _write(path, change_bytes(rng, text.encode())[0] if how == "bytes" else text)
    return f"{how} {front[:30]!r}"


def kinds(rng: random.Random, folder: Path) -> str:
    """A file or folder that becomes something else: a link, FIFO, device, socket, folder, or huge."""
    root = folder / rng.choice(["chats", "chats", "chats", ".chats.partial"])
    every = [path for path in sorted(root.rglob("*")) if not path.is_symlink()]
    top = [path for path in every if path.parent == root or path.name == "tokenizer.json"]
    path = rng.choice(rng.choice([every, top]))
    if rng.random() < 0.25:
        extra = ["zzz.parquet", "secret.txt", "code.py", ".report.html.tmp", "report.html", "README.md.0000aaaa.tmp", "train-00000-of-00009.parquet"]
        path = (path if path.is_dir() else path.parent) / rng.choice(extra)
    return f"{path.relative_to(folder)} is {_become(rng, path, folder)}"


def _become(rng: random.Random, path: Path, folder: Path) -> str:
    targets = [folder / "private/secret.txt", folder / "private", folder / "outside", folder / "outside/new", "/dev/zero", "/dev/stdin", path.name, "..", folder / "pipe", "/etc/hostname"]
    how = rng.choice(["link"] * 5 + ["fifo", "device", "socket", "folder", "huge", "full", "hard", "denied"])
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    if how == "link":
        target = rng.choice(targets)
        path.symlink_to(target)
        return f"a link to {str(target).removeprefix(str(folder))}"
    if how == "fifo":
        os.mkfifo(path)
    elif how == "device":
        try:
            os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 5))  # zeros without end
        except OSError:
            os.mkfifo(path)
    elif how == "socket":
        with socket.socket(socket.AF_UNIX) as made:
            here = os.open(path.parent, os.O_RDONLY)
            made.bind(f"/proc/self/fd/{here}/{path.name}")
            os.close(here)
    elif how == "folder":
        path.mkdir()
        (path / "x").write_text("x")
    elif how == "huge":
        with path.open("wb") as file:
            file.write(b"{" if rng.random() < 0.5 else b"---\n")
            file.truncate(rng.choice([1 << 29, 1 << 33, 1 << 40]))
    elif how == "full":
        path.mkdir()
        for i in range(3000):
            (path / f"{i}.json").touch()
    elif how == "hard":
        path.write_bytes(b"\xff" * 5000)
    else:
        path.write_bytes(b"x")
        path.chmod(0)
    return f"a {how}"


def tokenizer(rng: random.Random, folder: Path) -> str:
    """A file of the tokenizer: a value or bytes."""
    path = rng.choice(_files(folder / "chats/tokenizer"))
    if path.suffix == ".json" and rng.random() < 0.7:
        text = path.read_text()
        data = json.loads(text)
        if path.name == "tokenizer.json":  # most of it is the vocabulary
            model = data.pop("model")
            text, what = change_json(rng, json.dumps(data))
            text = f'{text[:-1]},"model":{json.dumps(model)}}}' if text.endswith("}") and rng.random() < 0.9 else text
        else:
            text, what = change_json(rng, text)
        _write(path, text)
        return f"{path.name}: {what}"
    data, what = change_bytes(rng, path.read_bytes())
    _write(path, data)
    return f"{path.name}: {what}"


def work(rng: random.Random, folder: Path) -> str:
    """A file of the work in progress: a value or bytes."""
    shutil.rmtree(folder / "chats") if rng.random() < 0.8 else None
    path = rng.choice(_files(folder / ".chats.partial"))
    if rng.random() < 0.2:
        part = folder / ".chats.partial"
        extra = {
            "distrust.json": '{"row": "x"}', "failures/00000.json": '{"tries": 1, "last": "x", "rows": [], "all_rows": ""}',
            "failures/00001.json": '{"tries": 9, "last": "x", "rows": [{"piece": 0, "line": {"source": "x", "row": 1, "id": null, "reason": "crashed", "detail": "x", "original": null}}], "all_rows": ""}',
        }  # fmt: skip
        path = part / rng.choice([*extra])
        path.write_text(extra[str(path.relative_to(part))])
    if path.suffix == ".json" and rng.random() < 0.8:
        text, what = change_json(rng, path.read_text())
        _write(path, text)
    else:
        data, what = change_bytes(rng, path.read_bytes())
        _write(path, data)
    return f"{path.relative_to(folder)}: {what}"


def planted(rng: random.Random, folder: Path) -> str:
    """Files of somebody else in the folder, and a manifest that says they are its own."""
    out = folder / "chats"
    mine = rng.choice(["notes.txt", "packed/notes.txt", "packed/mine.parquet", "tokenizer/mine.txt", "src/main.py", ".git/config", "README.md", "pictures/lengths.svg", "rejects/rejects-00000-of-00009.parquet"])
    path = out / mine
    path.parent.mkdir(exist_ok=True)
    _write(path, MINE)
    data = json.loads((out / "manifest.json").read_text())
    how = rng.choice(["beside", "listed", "hashed"])
    if how != "beside":
        import hashlib

        content = path.read_bytes()
        line = {**data["shards"][0], "path": mine, "bytes": len(content)}
        line["sha256"] = hashlib.sha256(content).hexdigest() if how == "hashed" else line["sha256"]
        data["shards"].append(line)
        _write(out / "manifest.json", json.dumps(data))
    return f"{mine} {how}"


MUTATIONS: dict[str, Mutate] = {
    "manifest": manifest,
    "names": names,
    "bytes": bytes_of_files,
    "footers": footers,
    "cells": cells,
    "bombs": bombs,
    "card": card,
    "kinds": kinds,
    "tokenizer": tokenizer,
    "work": work,
    "planted": planted,
}
SHARES = {"manifest": 6, "names": 2, "bytes": 3, "footers": 4, "cells": 4, "bombs": 1, "card": 2, "kinds": 5, "tokenizer": 3, "work": 4, "planted": 1}

SELDOM = {
    "verify --full": (0.2, {"cells"}),
    "show test": (0.2, {"cells"}),
    "diff back": (0.3, set[str]()),
    "push hub": (0.1, {"planted"}),
    "run --overwrite": (0.2, {"work", "planted"}),
}
"""Commands that are run for a share of the mutations, and for all of some kinds."""


# ==== Commands ====

Words = list[object]


def commands(folder: Path, hub: bool) -> dict[str, tuple[Words, tuple[str, ...]]]:
    """The commands that read an output, each with what it may write, relative to the folder."""
    out, to = folder / "chats", folder / "to"
    run = ["run", folder / "recipe.yaml", "--workers", "1"]
    found: dict[str, tuple[Words, tuple[str, ...]]] = {
        "verify": (["verify", out], ()),
        "verify --full": (["verify", out, "--full", "--format", "json"], ()),
        "stats": (["stats", out], ()),
        "show": (["show", out, "--tokens"], ()),
        "show test": (["show", out, "--split", "test", "--pack", "1"], ()),
        "rejects": (["rejects", out], ()),
        "rejects --export": (["rejects", out, "--export", to / "rejects.jsonl"], ("to/rejects.jsonl",)),
        "diff": (["diff", folder / "base", out], ()),
        "diff back": (["diff", out, folder / "base", "--format", "json"], ()),
        "export arrow": (["export", out, to / "arrow", "--layout", "unpacked"], ("to/arrow",)),
        "export jsonl": (["export", out, to / "rows.jsonl", "--format", "jsonl", "--split", "train"], ("to/rows.jsonl",)),
        "report": (["report", out], ("chats/report.html",)),
        "push": (["push", out, f"file://{to}/store"], ("to/store",)),
        "train": ([], ()),
        "finish": (["finish", out], ("chats", ".chats.partial", ".chats.lock", ".chats.old")),
        "run": (run, ("chats", ".chats.partial", ".chats.lock", ".chats.old")),
        "run --overwrite": ([*run, "--max-length", "300", "--overwrite"], ("chats", ".chats.partial", ".chats.lock", ".chats.old")),
    }  # fmt: skip
    if hub:
        found["push hub"] = (["push", out, "alice/chats"], ())
    return found


def look(folder: Path) -> dict[str, tuple[int, ...]]:
    """All that is in a folder: mode, size, time of change, number and links of each file."""
    found = {}
    for path in [path for root, folders, files in os.walk(folder) for path in (Path(root, each) for each in [*folders, *files])]:
        info = path.lstat()
        own = (info.st_mode, info.st_ino) if stat.S_ISDIR(info.st_mode) else (info.st_mode, info.st_size, info.st_mtime_ns, info.st_ino)
        found[str(path.relative_to(folder))] = own
    return found


def changed(before: dict[str, Any], after: dict[str, Any], allowed: Sequence[str]) -> list[str]:
    """What changed in a folder, but for what is allowed to."""
    differ = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
    return sorted(name for name in differ if not any(name == each or name.startswith(f"{each}/") for each in allowed))


# ==== One process a mutation ====


def attempt(name: str, words: Words, folder: Path) -> tuple[str, str]:
    """Run a command here; returns which fault it has (empty if none), and what."""
    from commands import premask

    try:
        done = premask(*words) if words else _train(folder / "chats")
    except MemoryError as error:
        return "memory", repr(error)[:200]
    except BaseException as error:  # noqa: BLE001  that is what is looked for
        last = traceback.extract_tb(error.__traceback__)
        where = next((f"{Path(each.filename).name}:{each.lineno}" for each in reversed(last) if "premask" in each.filename), "")
        return "traceback", f"{type(error).__name__} at {where}: {str(error)[:150]!r}"
    if done.code not in (0, 1, 2):
        return "traceback", f"exit code {done.code}"
    lines = done.err.strip().splitlines()
    if "Traceback" in done.err:
        return "traceback", lines[-1][:200]
    if done.code == 2 and (not lines or not lines[-1].startswith(("premask: ", "Error: "))):
        return "traceback", f"no line of premask: {lines[-1:]}"
    return "", ""


class _Read(NamedTuple):
    code: int
    err: str


def _train(out: Path) -> _Read:
    """Read an output as `train` does, but for what needs torch."""
    with mock.patch.dict(sys.modules, {name: mock.MagicMock() for name in ("torch", "torch.nn", "torch.nn.functional", "torch.utils", "torch.utils.data")}):
        from premask import train

    try:
        shards = train.open_shards(str(out), None, "train")
        if shards is not None:
            for file, groups in zip(shards.files, shards.groups, strict=True):
                for group in range(len(groups)):
                    train._parquet(file, lambda it, group=group: it.read_row_group(group, list(shards.columns)))  # noqa: SLF001
    except train.TrainError as error:
        return _Read(2, f"premask: {error}")
    return _Read(0, "")


def in_child(work: Callable[[Callable[[Any], None]], None]) -> tuple[list[Any], int]:
    """Call `work` in a process of its own; returns what it reported, and the number of its signal or 0."""
    reads, writes = os.pipe()
    child = os.fork()
    if not child:
        os.close(reads)
        code = 1
        try:
            os.setpgid(0, 0)
            with os.fdopen(writes, "w") as pipe:
                work(lambda line: print(json.dumps(line), file=pipe, flush=True))
            code = 0
        except BaseException:  # noqa: BLE001
            traceback.print_exc()
        finally:
            os._exit(code)
    os.close(writes)
    with os.fdopen(reads) as pipe:
        lines = [json.loads(line) for line in pipe]
    _, status = os.waitpid(child, 0)
    return lines, os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0


def try_commands(folder: Path, todo: dict[str, tuple[Words, tuple[str, ...]]], report: Callable[[Any], None], *, planted_: bool) -> None:
    """Run commands one after another, and report each: before it, and what was wrong after it."""
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + ADDRESS_SPACE, size + ADDRESS_SPACE))
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    os.chdir(folder)
    os.fsync = lambda _: None  # the files are not needed after a crash of the machine
    os.environ["TMPDIR"] = str(folder / "tmp")
    tempfile.tempdir = None
    before = look(folder)
    foreign = [path for path in _files(folder / "chats") if path.read_bytes()[:99] == MINE.encode()] if planted_ else []
    for name, (words, allowed) in todo.items():
        report([name])
        start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        signal.alarm(HANG_S)
        kind, what = attempt(name, words, folder)
        signal.alarm(0)
        faults = [(kind, what)] if kind else []
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - start) * 1024
        if grown > MOST_BYTES:
            faults.append(("memory", f"{grown >> 20} MB"))
        after = look(folder)
        if wrong := changed(before, after, allowed):
            faults.append(("outside", ", ".join(wrong)[:300]))
        if any(leaks(folder / each) for each in allowed if each.startswith("to")):
            faults.append(("leak", "a private file was written or sent"))
        if any(not path.is_file() or path.read_bytes() != MINE.encode() for path in foreign):
            faults.append(("lost", "a file of somebody else"))
        before = after
        report([name, faults])


def leaks(target: Path) -> bool:
    """Whether what was written holds a private file."""
    files = _files(target) if target.is_dir() else [target] if target.is_file() else []
    return any(PRIVATE.encode() in path.read_bytes() for path in files if path.stat().st_size < 1 << 27)


def try_mutation(folder: Path, label: str, hub: Any) -> tuple[list[Fault], int]:
    """Run all commands on a folder; returns what was wrong, and how many were run."""
    todo, found, ran = commands(folder, hub is not None), list[Fault](), 0
    name_ = label.split()[0]
    for each, (share, always) in SELDOM.items():  # those that take half a second each
        if name_ not in always and random.Random(f"{label} {each}").random() > share:
            todo.pop(each, None)
    while todo:
        rest = dict(todo)
        lines, ended = in_child(lambda report: try_commands(folder, rest, report, planted_=name_ == "planted"))
        last = ""
        for name, *faults in lines:
            if not faults:
                last, ran = name, ran + 1
                continue
            todo.pop(name)
            last = ""
            found += [Fault(kind, label, name, what) for kind, what in faults[0]]
        if not last:
            if todo and not ended:
                raise RuntimeError(f"{label}: the process ended before {next(iter(todo))}")
            break
        todo.pop(last)
        kind = "hang" if ended == signal.SIGALRM else "crash"
        found.append(Fault(kind, label, last, f"signal {ended}"))
    if hub is not None:
        repos = [commit.files for repo in hub.repos.values() for commit in repo.history]
        texts = [each.get("content", b"") for tree in repos for each in tree.values()]
        stored = [content for repo in hub.repos.values() for content in repo.stored.values()]
        if any(PRIVATE.encode() in text for text in [*texts, *stored]):
            found.append(Fault("leak", label, "push hub", "a private file was sent"))
        hub.repos.clear()
        hub.forget()
    return found, ran


# ==== The whole ====


def make_base(base: Path) -> None:
    """A folder as each mutation gets it: sources, an output, the same once more, its work in progress."""
    import subprocess

    from commands import SAMPLE, TOKENIZER, command_line

    for name in ("private", "outside", "to", "tmp"):
        (base / name).mkdir(parents=True)
    (base / "private/secret.txt").write_text(PRIVATE)
    (base / "private/tokenizer.json").write_text(PRIVATE)
    os.mkfifo(base / "pipe")
    lines = (SAMPLE / "conversations.jsonl").read_text(encoding="utf-8").splitlines()[:12]
    odd = ['{"conversations": []}', '{"conversations": [{"from": "human", "value": "Hi"}]}', lines[0]]
    (base / "data.jsonl").write_text("\n".join([*lines, *odd]) + "\n", encoding="utf-8")
    recipe = {
        "sources": ["data.jsonl"], "tokenizer": TOKENIZER, "output": "chats", "layout": ["packed", "unpacked"],
        "max_length": 512, "unit_rows": 8, "splits": {"test": 0.3}, "duplicates": "drop", "engine": "tokenizers",
    }  # fmt: skip
    (base / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    for words in (["run", "recipe.yaml"], ["run", "recipe.yaml", "--output", "other", "--rank", "0", "--world", "1"]):
        done = subprocess.run(command_line(*words), cwd=base, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(done.stderr)
    shutil.copytree(base / "chats", base / "base")
    (base / ".other.partial").rename(base / ".chats.partial")
    (base / ".other.lock").unlink(missing_ok=True)


def fill(base: Path, folder: Path) -> None:
    """Copy the base; texts that name it name the copy."""
    shutil.copytree(base, folder, copy_function=shutil.copy2, ignore=shutil.ignore_patterns("pipe"))
    os.mkfifo(folder / "pipe")
    for path in [folder / "recipe.yaml", *folder.glob("*/manifest.json"), *folder.glob(".chats.partial/**/*.json")]:
        text = path.read_text()
        if str(base) in text:
            path.write_text(text.replace(str(base), str(folder)))


def _digest(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted(folder.iterdir())] if len(list(folder.iterdir())) == 3 else []


def share_tokenizer(base: Path) -> None:
    """Load the tokenizer once for all that do not change it."""
    import commands

    load, known, digest = commands._loaded, commands._loaded(commands.TOKENIZER), _digest(base / "base/tokenizer")  # noqa: SLF001
    own = load(str(base / "base/tokenizer"))

    def loaded(name: str) -> Any:
        if name == commands.TOKENIZER:
            return known
        try:
            regular = all(stat.S_ISREG(path.lstat().st_mode) and path.stat().st_size < 1 << 24 for path in Path(name).iterdir())
            return own if regular and _digest(Path(name)) == digest else load(name)
        except OSError:
            return load(name)

    commands._loaded = loaded  # type: ignore[assignment]  # noqa: SLF001


def warm_up(base: Path) -> None:
    """Import what the commands import, so that each process need not."""
    import importlib

    share_tokenizer(base)

    from premask.cli import app

    for name in app.COMMANDS:
        if name != "train":
            importlib.import_module(f"premask.cli.{name}")
    for name in (
        "review.verify", "review.terminal_outputs", "review.stats", "review.diff", "review.rejects", "review.report.page", "publish.export",
        "publish.push_store", "publish.push_hub", "running.run", "running.ranks", "running.runners.process", "cli.results", "tokens.transformers_library",
    ):  # fmt: skip
        importlib.import_module(f"premask.{name}")
    import premask.core.schemas
    import pyarrow.compute  # noqa: F401
    import transformers
    from transformers import AutoTokenizer  # noqa: F401
    from commands import premask

    scratch = base.parent / "warm"
    shutil.copytree(base / "base", scratch)
    for words in (["verify", scratch], ["show", scratch, "--tokens"], ["report", scratch]):
        if premask(*words).code:
            raise RuntimeError(f"{words[0]} refuses an output without a mutation")


def survey(mutations: int, seed: int, only: Sequence[str] = (), *, hub: Any = None, say: Callable[[str], None] = partial(print, flush=True)) -> tuple[dict[str, Counter[str]], list[Fault]]:
    """Try mutations; returns by their kind how many there were, how many commands were run, and what was
    wrong, and each fault."""
    kinds_ = [name for name in MUTATIONS if not only or name in only]
    weights = [SHARES[name] for name in kinds_]
    table: dict[str, Counter[str]] = {name: Counter() for name in kinds_}
    faults: list[Fault] = []
    with tempfile.TemporaryDirectory(prefix="premask-mutations-") as scratch:
        base = Path(scratch) / "base"
        make_base(base)
        warm_up(base)
        for number in range(mutations):
            rng = random.Random(f"{seed} {number}")
            name = rng.choices(kinds_, weights)[0]
            folder = Path(scratch) / "a/b/c" / f"m{number}"
            fill(base, folder)
            lines, ended = in_child(lambda report: report(MUTATIONS[name](rng, folder)))
            if not lines:
                raise RuntimeError(f"{name} {number}: it could not be made ({ended})")
            label = f"{name} {number}: {lines[0]}"
            found, ran = try_mutation(folder, label, hub)
            table[name].update({"mutations": 1, "commands": ran})
            for fault in found:
                table[name][fault.kind] += 1
                say(f"{fault.kind}: {fault.mutation} | {fault.command} | {fault.what}")
            faults += found
            shutil.rmtree(folder, ignore_errors=True)
    return table, faults


COLUMNS = ("mutations", "commands", "traceback", "hang", "crash", "outside", "lost", "leak", "memory")


def show(table: dict[str, Counter[str]]) -> str:
    """The table as text."""
    total = sum(table.values(), Counter[str]())
    rows = [("kind", *COLUMNS), *((name, *(str(row[c]) for c in COLUMNS)) for name, row in [*table.items(), ("all", total)])]
    return "\n".join("  ".join(cell.rjust(10) for cell in row) for row in rows)


def main() -> int:
    """The command; exit code 1 if anything was wrong."""
    parser = argparse.ArgumentParser(description="Hostile outputs through all commands that read outputs.")
    parser.add_argument("--mutations", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="kinds, with commas")
    options = parser.parse_args()
    from hub_server import HubServer

    begin = time.monotonic()
    with HubServer() as hub:
        home = tempfile.mkdtemp(prefix="premask-home-")
        os.environ.update(HF_ENDPOINT=hub.url, HF_TOKEN=hub.token, HF_HOME=home, NO_PROXY="*", HF_HUB_DISABLE_TELEMETRY="1")
        table, faults = survey(options.mutations, options.seed, [each for each in options.only.split(",") if each], hub=hub)
        shutil.rmtree(home, ignore_errors=True)
    print(show(table))
    print(f"{time.monotonic() - begin:.0f} s")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
