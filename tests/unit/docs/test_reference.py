"""The reference pages are what the code makes, and leave no field without a word."""

import re
from typing import Any

import pytest

from contracts.crd import execution_crd, pool_crd
from docsite.__main__ import pages
from docsite.http_reference import read_document
from docsite.tables import code, describe_limits, make_table
from tests.unit.docs.spoken import ROOT

FOLDER = ROOT / "docs" / "reference"
PAGES = pages()


def test_the_pages_in_docs_are_what_the_code_makes() -> None:
    assert {path.name: path.read_text() for path in FOLDER.glob("*.md")} == PAGES, "run `make reference`"


def fields_of(schema: dict[str, Any], above: str = "") -> dict[str, dict[str, Any]]:
    """Each field of a CustomResourceDefinition's schema, by its path."""
    found: dict[str, dict[str, Any]] = {}
    for name, field in schema.get("properties", {}).items():
        found[above + name] = field
        found |= fields_of(field, f"{above}{name}.")
        found |= fields_of(field.get("items", {}), f"{above}{name}[].")
    return found


@pytest.mark.parametrize(
    ("page", "definition"), [("execution.md", execution_crd()), ("executorpool.md", pool_crd())], ids=["exn", "epool"]
)
def test_every_field_of_a_resource_has_a_row_with_words_type_and_default(page: str, definition: dict[str, Any]) -> None:
    schema = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
    parts = dict(zip(("spec", "status"), re.split(r"^## (?:spec|status)$", PAGES[page], flags=re.M)[1:], strict=True))
    for part, text in parts.items():
        rows = {cells[0]: cells[1:] for line in text.splitlines() if len(cells := cells_of(line)) == 4}
        for path, field in fields_of(schema[part]).items():
            kind, default, what = rows[f"`{path}`"]
            assert kind, path
            assert len(re.sub(r"\*[^*]*\*", "", what).split()) >= 1, f"{part}.{path} has no description"
            if "default" in field:
                assert default == code(field["default"]), path


def cells_of(row: str) -> list[str]:
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", row)][1:-1]


def test_every_field_and_parameter_of_the_api_is_described() -> None:
    document = read_document()
    for name, schema in document["components"]["schemas"].items():
        for field, part in schema.get("properties", {}).items():
            assert part.get("description") or "$ref" in part, f"{name}.{field}"
    parameters = [
        (path, one)
        for path, operations in document["paths"].items()
        for operation in operations.values()
        for one in operation.get("parameters", ())
    ]
    assert parameters
    assert [path for path, one in parameters if not one.get("description")] == []


def test_every_operation_and_body_of_the_api_is_on_its_page() -> None:
    document, page = read_document(), PAGES["executor-api.md"]
    for path, operations in document["paths"].items():
        for method in operations:
            assert f"\n## {method.upper()} {path}\n" in page
    for name, schema in document["components"]["schemas"].items():
        assert (f"\n### {name}\n" in page) == ("properties" in schema)


@pytest.mark.parametrize(
    ("value", "words"), [("default", "`default`"), (30, "`30`"), (False, "`false`"), ("", "empty"), ({}, "`{}`")]
)
def test_a_default_is_said_as_yaml_writes_it(value: object, words: str) -> None:
    assert code(value) == words


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"minimum": 1, "maximum": 3600}, ["1 to 3,600"]),
        ({"minimum": 0}, ["at least 0"]),
        ({"maximum": 5}, ["at most 5"]),
        ({"enum": ["a", "b"]}, ["one of `a`, `b`"]),
        ({"maxLength": 253, "minLength": 1, "pattern": "^a$"}, ["1 to 253 characters", "must match `^a$`"]),
        ({"maxLength": 256}, ["at most 256 characters"]),
        (
            {"maxLength": 9, "x-kubernetes-validations": [{"rule": "r", "message": "say so"}]},
            ["else refused: “say so”"],
        ),
        ({"maxItems": 256}, ["at most 256 items"]),
        ({}, []),
    ],
)
def test_limits_are_said_in_words(schema: dict[str, Any], words: list[str]) -> None:
    assert describe_limits(schema) == words


def test_a_pipe_in_a_cell_does_not_end_it() -> None:
    assert make_table(["a"], [["x|y"]]) == "| a |\n| --- |\n| x\\|y |\n"
