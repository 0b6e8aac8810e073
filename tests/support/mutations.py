"""Mutations of an output, for `mutate_outputs.py`: each changes one thing of a folder with an output and its work.

    MUTATIONS["manifest"](random.Random(1), folder)     # "value counts.rows"

The folder holds `chats`, an output, `.chats.partial`, its work in progress, `private` files and a `pipe`.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import socket
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from premask.core.atomic_files import sha256_file
from premask.output.dataset import raw_bytes
from premask.output.identity import key_of

MINE = "a file of somebody else"
PRIVATE = "a private text that is nobody's business"

Mutate = Callable[[random.Random, Path], str]
"""Changes something in the folder; returns what, in words."""


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
        target[rng.choice(["x", "", "../x", "packed", "__class__", "sources", "x" * 5000])] = rng.choice(
            HOSTILE
        )
    elif how == "twice" and isinstance(parent, dict):
        one = json.dumps({key: rng.choice(HOSTILE)})
        return json.dumps(data).replace("{", "{" + one[1:-1] + ",", 1), f"{where} twice"
    elif how == "name" and isinstance(parent, dict):
        parent[rng.choice(["/new/x", "../../x", ".", "..", "\0", "\ud800", "a/b", "-", ""])] = parent.pop(key)
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
        return rng.choice(
            [value + 1, value - 1, value * 2, -value, value + (1 << 40), float(value), str(value)]
        )
    if isinstance(value, str):
        at = rng.randrange(len(value) + 1)
        return rng.choice(
            [value[:at] + rng.choice(["/", "..", "\0", "é", "9", "a"]) + value[at:], value[:at], value * 2]
        )
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


def files_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def settle(out: Path) -> None:
    """Make the manifest say of every shard what is there, as whoever changes shards would."""
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
    path = out / "manifest.json"
    try:
        data = json.loads(path.read_text(errors="surrogatepass"))
        keys = ("contract", "premask", "recipe", "tokenizer", "template", "versions")
        inputs = [
            {k: each[k] for k in ("source", "bytes", "sha256", "version") if k in each}
            for each in data["inputs"]
        ]
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


SPLITS = [
    "..",
    ".",
    "/new/x",
    "../../x",
    "a/b",
    "",
    "\0",
    "train-00000",
    "Train",
    "x" * 5000,
    "-",
    "test\n",
    "*",
    "[x]",
]


def names(rng: random.Random, folder: Path) -> str:
    """A name of a split or a file, everywhere in the manifest and in the folder."""
    out, name = folder / "chats", rng.choice([*SPLITS, str(folder / "outside/x")])
    text = (out / "manifest.json").read_text()
    how = rng.choice(["split", "shard", "picture", "source"])
    if how == "split":
        text = text.replace('"test"', json.dumps(name)).replace("/test-", f"/{json.dumps(name)[1:-1]}-")
        for path in [path for path in files_in(out) if path.name.startswith("test-")]:
            renamed = path.name.replace("test-", f"{name}-")
            if "\0" not in name and "/" not in name and len(renamed) < 250:
                path.rename(path.with_name(renamed))
    elif how == "source":
        text = text.replace(
            '"data.jsonl"', json.dumps(rng.choice([name, "/dev/zero", "/dev/stdin", "/proc/kmsg"]))
        )
    else:
        data = json.loads(text)
        line = rng.choice(data["shards" if how == "shard" else "pictures"])
        line["path"] = rng.choice(
            [
                name,
                f"packed/{name}",
                f"{line['path']}/../../../x",
                f"/{line['path']}",
                str(folder / "private/secret.txt"),
            ]
        )
        text = json.dumps(data)
    _write(out / "manifest.json", text)
    _rekey(out)
    return f"{how} {name[:30]!r}"


def bytes_of_files(rng: random.Random, folder: Path) -> str:
    """Bytes of any file."""
    path = rng.choice(files_in(folder / "chats"))
    data, what = change_bytes(rng, path.read_bytes())
    _write(path, data)
    return f"{path.relative_to(folder)}: {what}"


def _shard(rng: random.Random, folder: Path, *kinds: str) -> Path:
    return rng.choice([path for kind in kinds for path in files_in(folder / "chats" / kind)])


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
            footer[at : at + rng.choice([0, 1, 4])] = b"\xff" * rng.choice([3, 4, 8]) + bytes(
                [rng.randrange(1, 128)]
            )
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
        other = rng.choice(
            [pa.string(), pa.int64(), pa.float32(), pa.bool_(), pa.list_(pa.int64()), pa.binary(), pa.null()]
        )
        table = table.set_column(schema.get_field_index(column), column, pa.nulls(len(table), other))
    elif how == "drop":
        table = table.drop_columns([column])
    elif how == "twice":
        table = table.append_column(rng.choice([column, "more"]), table[column])
    elif how == "order":
        table = (
            table.select(rng.sample(schema.names, len(schema.names)))
            if rng.random() < 0.5
            else table.take(list(reversed(range(len(table)))))
        )
    elif how == "rows":
        table = pa.concat_tables([table] * rng.choice([2, 50]))
    else:
        table = table.slice(0, rng.choice([0, max(0, len(table) - 1)]))
    path.unlink()
    pq.write_table(table.replace_schema_metadata({"premask.contract": "1"}), path)
    settle(folder / "chats")
    return f"{how} {column} of {path.relative_to(folder)}"


def _filled(field: pa.Field, how: str, rows: int, count: int) -> pa.Array:
    """A column that compresses to nothing."""
    if pa.types.is_list(field.type):
        inner = pa.array([0], field.type.value_type).take(pa.array([0] * (count // 20)))
        values = pa.concat_arrays([inner] * 20) if how == "values" else inner.slice(0, rows)
        sizes = [0, len(values)] if how == "values" else list(range(rows + 1))
        return pa.ListArray.from_arrays(pa.array(sizes, pa.int32()), values).cast(field.type)
    n = 1 if how == "values" else rows
    if pa.types.is_string(field.type):
        return pa.array(["a" * (count * 5 if how == "text" else 1)], pa.string()).take(pa.array([0] * n))
    return pa.array([1] * n, field.type)


def _one_row(field: pa.Field) -> pa.Array:
    plain = "a" if pa.types.is_string(field.type) else 1
    return pa.array([[] if pa.types.is_list(field.type) else plain], field.type)


def _tables(how: str, schema: pa.Schema, rows: int, count: int) -> Iterator[pa.Table]:
    """The tables of a bomb."""
    if how in {"columns", "metadata", "nested"}:
        yield schema.empty_table()
    elif how == "rows":
        one = pa.Table.from_arrays([_one_row(field) for field in schema], schema=schema)
        yield one.take(pa.array([0] * (count // 10)))
    else:
        table = pa.Table.from_arrays([_filled(field, how, rows, count) for field in schema], schema=schema)
        yield from [table.slice(0, 1)] * 3000 if how == "groups" else [table]


def bombs(rng: random.Random, folder: Path) -> str:
    """A shard of few bytes that is large once it is read; the manifest agrees."""
    path = _shard(rng, folder, "packed", "unpacked", "lineage", "rejects")
    schema, rows = pq.read_schema(path), max(1, pq.read_metadata(path).num_rows)
    how, count = (
        rng.choice(["values", "text", "groups", "columns", "rows", "metadata", "nested"]),
        rng.choice([2, 6]),
    )
    if how == "columns":
        schema = pa.schema([*schema, *(pa.field(f"c{i}", pa.int32()) for i in range(3000))])
    if how == "nested":
        kind = pa.int32()
        for _ in range(rng.choice([20, 200])):
            kind = pa.list_(kind)
        schema = schema.set(0, pa.field(schema.names[0], kind))
    many = {"premask.contract": "1", **({"x": "y" * (1 << 26)} if how == "metadata" else {})}
    path.unlink()
    options = {"compression": "zstd", "store_schema": how != "nested"}
    with pq.ParquetWriter(path, schema.with_metadata(many), **options) as writer:
        for table in _tables(how, schema, rows, count * 10_000_000):
            writer.write_table(table)
    settle(folder / "chats")
    return f"bomb of {how} in {path.relative_to(folder)}"


LAUGHS = "a: &a [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [{','.join([f'*{chr(97 + i)}'] * 10)}]\n" for i in range(9)
)
MERGES = "a: &a {x: 1}\n" + "".join(
    f"b{i}: &b{i} {{<<: [{', '.join(['*a'] + [f'*b{k}' for k in range(i)])}]}}\n" for i in range(24)
)
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
        extra = [
            "zzz.parquet",
            "secret.txt",
            "code.py",
            ".report.html.tmp",
            "report.html",
            "README.md.0000aaaa.tmp",
            "train-00000-of-00009.parquet",
        ]
        path = (path if path.is_dir() else path.parent) / rng.choice(extra)
    return f"{path.relative_to(folder)} is {_become(rng, path, folder)}"


def _become(rng: random.Random, path: Path, folder: Path) -> str:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    how = rng.choice([*BECOME, *["link"] * 4])
    return f"a {how}{BECOME[how](rng, path, folder)}"


def _link(rng: random.Random, path: Path, folder: Path) -> str:
    private, outside = folder / "private", folder / "outside"
    targets = [
        private / "secret.txt",
        private,
        outside,
        outside / "new",
        "/dev/zero",
        "/dev/stdin",
        path.name,
        "..",
    ]
    target = rng.choice([*targets, folder / "pipe", "/etc/hostname"])
    path.symlink_to(target)
    return f" to {str(target).removeprefix(str(folder))}"


def _pipe(_: random.Random, path: Path, __: Path) -> str:
    os.mkfifo(path)
    return ""


def _device(rng: random.Random, path: Path, folder: Path) -> str:
    try:
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 5))  # zeros without end
    except OSError:
        return _pipe(rng, path, folder)
    return ""


def _socket(_: random.Random, path: Path, __: Path) -> str:
    with socket.socket(socket.AF_UNIX) as made:
        here = os.open(path.parent, os.O_RDONLY)
        made.bind(f"/proc/self/fd/{here}/{path.name}")
        os.close(here)
    return ""


def _folder(rng: random.Random, path: Path, _: Path) -> str:
    path.mkdir()
    for i in range(rng.choice([1, 3000])):
        (path / f"{i}.json").touch()
    return ""


def _huge(rng: random.Random, path: Path, _: Path) -> str:
    with path.open("wb") as file:
        file.write(rng.choice([b"{", b"---\n"]))
        file.truncate(rng.choice([1 << 29, 1 << 33, 1 << 40]))
    return " file"


def _odd(_: random.Random, path: Path, __: Path) -> str:
    path.write_bytes(b"\xff" * 5000)
    return " file"


def _denied(_: random.Random, path: Path, __: Path) -> str:
    path.write_bytes(b"x")
    path.chmod(0)
    return " file"


BECOME: dict[str, Callable[[random.Random, Path, Path], str]] = {
    "link": _link,
    "pipe": _pipe,
    "device": _device,
    "socket": _socket,
    "folder": _folder,
    "huge": _huge,
    "odd": _odd,
    "denied": _denied,
}
"""What a file or folder can become."""


def tokenizer(rng: random.Random, folder: Path) -> str:
    """A file of the tokenizer: a value or bytes."""
    path = rng.choice(files_in(folder / "chats/tokenizer"))
    if path.suffix == ".json" and rng.random() < 0.7:
        text = path.read_text()
        data = json.loads(text)
        if path.name == "tokenizer.json":  # most of it is the vocabulary
            model = data.pop("model")
            text, what = change_json(rng, json.dumps(data))
            text = (
                f'{text[:-1]},"model":{json.dumps(model)}}}'
                if text.endswith("}") and rng.random() < 0.9
                else text
            )
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
    path = rng.choice(files_in(folder / ".chats.partial"))
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
    mine = rng.choice(
        [
            "notes.txt",
            "packed/notes.txt",
            "packed/mine.parquet",
            "tokenizer/mine.txt",
            "src/main.py",
            ".git/config",
            "README.md",
            "pictures/lengths.svg",
            "rejects/rejects-00000-of-00009.parquet",
        ]
    )
    path = out / mine
    path.parent.mkdir(exist_ok=True)
    _write(path, MINE)
    data = json.loads((out / "manifest.json").read_text())
    how = rng.choice(["beside", "listed", "hashed"])
    if how != "beside":
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
SHARES = {
    "manifest": 6,
    "names": 2,
    "bytes": 3,
    "footers": 4,
    "cells": 4,
    "bombs": 1,
    "card": 2,
    "kinds": 5,
    "tokenizer": 3,
    "work": 4,
    "planted": 1,
}
