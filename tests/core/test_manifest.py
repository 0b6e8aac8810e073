"""The model of the manifest: what is read back is what was written, and nothing else is taken."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from outputs import make_output
from premask.core.errors import OutputError
from premask.core.manifest import Manifest, ManifestError, is_manifest, parse_manifest
from premask.output.identity import key_of

EXAMPLES = Path(__file__).parent.parent.parent / "schemas" / "examples"


def examples(kind: str) -> list[Any]:
    values = json.loads((EXAMPLES / f"manifest.{kind}.json").read_text(encoding="utf-8"))
    return [pytest.param(value, id=value["why"] if kind == "invalid" else None) for value in values]


def valid() -> dict[str, Any]:
    data: dict[str, Any] = json.loads((EXAMPLES / "manifest.valid.json").read_text(encoding="utf-8"))[0]
    return data


def refused(data: Any) -> str:
    with pytest.raises(OutputError) as caught:
        parse_manifest(json.dumps(data))
    return str(caught.value)


def test_what_was_written_is_read_back_key_for_key(tmp_path: Path) -> None:
    written = make_output(tmp_path / "out")
    text = (tmp_path / "out/manifest.json").read_text(encoding="utf-8")
    manifest = parse_manifest(text)

    assert manifest.as_dict() == json.loads(text) == written
    assert key_of(manifest.identity()) == manifest.run_key
    assert manifest.settings.max_length == 8


@pytest.mark.parametrize("data", examples("valid"))
def test_the_published_examples_are_read(data: dict[str, Any]) -> None:
    assert parse_manifest(json.dumps(data)).as_dict() == data


@pytest.mark.parametrize("example", examples("invalid"))
def test_the_published_counterexamples_are_refused(example: dict[str, Any]) -> None:
    missing = valid()["recipe"].keys() - example["value"]["recipe"].keys()
    if missing:  # older versions had fewer keys
        assert parse_manifest(json.dumps(example["value"])).settings.max_length
    else:
        refused(example["value"])


def into(*path: str | int) -> Callable[[dict[str, Any], Any], None]:
    """Put a value somewhere into a manifest."""

    def put(data: Any, value: Any) -> None:
        for step in path[:-1]:
            data = data[step]
        data[path[-1]] = value

    return put


@pytest.mark.parametrize(
    ("put", "value", "what"),
    [
        (into("counts", "rows"), "3", "at counts.rows: Input should be a valid integer, but it is '3'"),
        (into("counts", "rows"), True, "at counts.rows: Input should be a valid integer, but it is True"),
        (into("counts", "rows"), -1, "at counts.rows: Input should be greater than or equal to 0"),
        (into("counts", "tokens"), 2**63, "at counts.tokens: Input should be less than or equal to"),
        (into("counts", "splits"), {"../x": {}}, "at counts.splits.../x.[key]: String should match"),
        (into("counts", "lengths"), {}, "at counts.lengths.min: Field required"),
        (into("inputs", 0, "rejected"), {"bored": 1}, "this is not a reason for which rows are rejected"),
        (into("inputs", 0, "sha256"), 5, "at inputs.0.sha256: Input should be a valid string"),
        (into("shards", 0, "path"), "packed/../a-00000-of-00001.parquet", "at shards.0.path"),
        (into("shards", 0, "path"), "packed/a-00000-of-00001.parquet\n", "at shards.0.path"),
        (into("shards", 0, "path"), "extra/a-00000-of-00001.parquet", "at shards.0.path"),
        (into("pictures", 0, "path"), "pictures/../README.md", "at pictures.0.path"),
        (into("pictures", 0, "path"), "pictures/lengthsxsvg", "at pictures.0.path"),
        (into("recipe", "splits"), {"../x": 0.1}, "at recipe.splits: Value error, '../x' cannot be the name"),
        (into("recipe", "max_length"), "8192", "the value of 'max_length' is not as premask writes it"),
        (into("recipe", "output"), "/etc", "'output' does not belong here"),
        (into("recipe", "more"), 1, "at recipe"),
        (into("engine", "name"), "magic", "at engine.name"),
        (into("set_aside"), [{"unit": 0}], "at set_aside.0.rows: Field required"),
        (into("more"), 1, "at more: Extra inputs are not permitted"),
    ],
)
def test_values_that_premask_does_not_write(
    put: Callable[[dict[str, Any], Any], None], value: Any, what: str
) -> None:
    data = valid()
    put(data, value)
    message = refused(data)

    assert what in message
    assert message.startswith("manifest.json is not what premask writes: at ")
    assert message.endswith("fetch the output again, or write it again with premask run --overwrite")
    assert "\n" not in message


def test_all_that_is_wrong_is_counted() -> None:
    data = valid() | {"premask": 1, "engine": {}}
    with pytest.raises(ManifestError) as caught:
        parse_manifest(json.dumps(data))

    assert (caught.value.what, caught.value.count) == (
        "at premask: Input should be a valid string, but it is 1",
        5,
    )


def test_what_is_no_manifest() -> None:
    assert "it is no manifest of premask" in refused([])
    assert "it is no manifest of premask" in refused({"files": []})
    assert "output contract 2, this premask reads 1" in refused(valid() | {"contract": 2})
    with pytest.raises(ValueError, match="Expecting"):
        parse_manifest("{")
    assert [is_manifest(text) for text in ("", "{", "[]", "[" * 100_000, json.dumps(valid()))] == [
        False,
        False,
        False,
        False,
        True,
    ]


def test_counts_of_tools_were_once_called_arguments() -> None:
    data = valid()
    data["counts"] |= {"tokens_by_role": {"arguments": 7, "user": 2}, "trained_by_role": {}}
    counts = parse_manifest(json.dumps(data)).as_dict()["counts"]

    assert counts["tokens_by_role"] == {"tools": 7, "user": 2}


def test_keys_of_the_recipe_that_came_later_are_as_by_default() -> None:
    data = valid()
    del data["recipe"]["pad_rows"], data["recipe"]["splits"]
    manifest = parse_manifest(json.dumps(data))

    assert manifest.splits == ["train"]
    assert manifest.as_dict() == data  # so that the key of its run stays what it was


def test_layouts_splits_and_shards() -> None:
    shard = valid()["shards"][0]
    names = ["train-00000-of-00002", "train-00001-of-00002", "validation-00000-of-00001"]
    paths = [f"{kind}/{name}.parquet" for kind in ("packed", "unpacked", "lineage") for name in names]
    data = valid() | {"shards": [{**shard, "path": path} for path in paths]}
    data["recipe"]["layout"] = ["unpacked", "packed"]
    manifest = Manifest.model_validate(data)

    assert (manifest.layouts, manifest.splits) == (["packed", "unpacked"], ["train", "validation"])
    assert [each.path for each in manifest.shards_of("lineage", "train")] == paths[6:8]
    assert [each.kind for each in manifest.shards_of("packed")] == ["packed"] * 3
    data["recipe"]["splits"]["test"] = 0.1  # of which no row came
    data["recipe"]["splits"] = dict(sorted(data["recipe"]["splits"].items()))
    assert Manifest.model_validate(data).splits == ["train", "validation"]
