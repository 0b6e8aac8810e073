"""The published schemas: generated files match the code, examples and real output match the schemas.

The judge is the `jsonschema` package, which knows nothing of the code that made the schemas.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from outputs import make_output, rows_of
from premask.core.recipe import Recipe
from premask.core.schemas import all_schemas, main

SCHEMAS = Path(__file__).parent.parent.parent / "schemas"
NAMES = sorted(all_schemas())


def published(name: str) -> dict[str, Any]:
    schema: dict[str, Any] = json.loads((SCHEMAS / f"{name}.schema.json").read_text(encoding="utf-8"))
    return schema


def validator(name: str) -> Draft202012Validator:
    return Draft202012Validator(published(name), format_checker=Draft202012Validator.FORMAT_CHECKER)


def examples(kind: str) -> list[Any]:
    """All examples of one kind as pytest parameters: (schema name, example)."""
    params = []
    for name in NAMES:
        values = json.loads((SCHEMAS / "examples" / f"{name}.{kind}.json").read_text(encoding="utf-8"))
        params += [pytest.param(name, value, id=f"{name}-{i}") for i, value in enumerate(values)]
    return params


def test_schema_files_are_those_of_the_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(SCHEMAS), "--check"]) == 0, capsys.readouterr().out
    assert {path.name for path in SCHEMAS.glob("*.json")} == {f"{name}.schema.json" for name in NAMES}


def test_the_check_names_files_that_are_out_of_date(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tmp_path / "new")]) == 0
    assert main([str(tmp_path / "new"), "--check"]) == 0
    (tmp_path / "new/packed.schema.json").write_text("{}")
    (tmp_path / "new/recipe.schema.json").unlink()
    assert main([str(tmp_path / "new"), "--check"]) == 1

    out = capsys.readouterr().out
    assert out.count("is out of date; run: python -m premask.core.schemas") == 2
    assert "packed.schema.json" in out
    assert "recipe.schema.json" in out


@pytest.mark.parametrize("name", NAMES)
def test_schemas_are_sound_and_have_a_name_and_version(name: str) -> None:
    schema = published(name)
    Draft202012Validator.check_schema(schema)

    assert schema["$id"] == f"premask/{name}/v1"
    assert schema["title"] == f"premask {name}, version 1"
    assert schema["additionalProperties"] is False


@pytest.mark.parametrize(("name", "value"), examples("valid"))
def test_valid_examples_are_accepted(name: str, value: object) -> None:
    assert [error.message for error in validator(name).iter_errors(value)] == []


@pytest.mark.parametrize(("name", "example"), examples("invalid"))
def test_invalid_examples_are_refused_for_one_reason_each(name: str, example: dict[str, Any]) -> None:
    errors = list(validator(name).iter_errors(example["value"]))
    places = {tuple(error.absolute_path)[:1] for error in errors}

    assert len(places) == 1, example["why"]


def test_recipe_and_schema_agree_on_the_examples() -> None:
    for param in examples("valid"):
        if param.values[0] == "recipe":
            Recipe.model_validate(param.values[1])
    for param in examples("invalid"):
        if param.values[0] == "recipe" and param.values[1]["value"].get("max_length") != "4096":  # coerced
            with pytest.raises(ValueError, match="validation error"):
                Recipe.model_validate(param.values[1]["value"])


@pytest.mark.parametrize(
    ("kind", "name"),
    [("packed", "packed"), ("unpacked", "unpacked"), ("rejects", "reject"), ("lineage", "lineage")],
)
def test_rows_of_a_real_output_are_valid(tmp_path: Path, kind: str, name: str) -> None:
    make_output(tmp_path / "out")
    rows = rows_of(tmp_path / "out", kind)

    assert rows
    for row in rows:
        validator(name).validate(row)


def test_the_manifest_of_a_real_output_is_valid(tmp_path: Path) -> None:
    make_output(tmp_path / "out")

    validator("manifest").validate(json.loads((tmp_path / "out/manifest.json").read_text()))
