"""Markdown tables of a JSON schema's fields: what CRDs and OpenAPI have in common."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

Schema = dict[str, Any]


def make_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; a pipe or a line's end in a cell is escaped."""
    lines = [list(head), ["---"] * len(head), *([_in_cell(cell) for cell in row] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def describe_limits(schema: Schema) -> list[str]:
    """The bounds of a value, each as a few words; what a CEL rule asks for is its message."""
    told: list[str] = []
    if "enum" in schema:
        told.append("one of " + ", ".join(code(value) for value in schema["enum"]))
    if "const" in schema:
        told.append(f"always {code(schema['const'])}")
    told += _range(schema)
    rules = [rule["message"] for rule in schema.get("x-kubernetes-validations", [])]
    # Where a rule speaks of bytes, maxLength is only what makes its cost bounded.
    if "maxLength" in schema and not rules:
        least = f"{schema['minLength']} to" if schema.get("minLength") else "at most"
        told.append(f"{least} {schema['maxLength']:,} characters")
    if "pattern" in schema:
        told.append(f"must match {code(schema['pattern'], quoted=False)}")
    for key, what in (("maxItems", "items"), ("maxProperties", "entries")):
        if key in schema:
            told.append(f"at most {schema[key]:,} {what}")
    return told + [f"else refused: “{message}”" for message in rules]


def _range(schema: Schema) -> list[str]:
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None and high is not None:
        return [f"{low:,} to {high:,}"]
    return [f"at least {low:,}"] if low is not None else [f"at most {high:,}"] if high is not None else []


def code(value: Any, quoted: bool = True) -> str:
    """A value as code; text without its quotes where only ``quoted`` is not asked for."""
    if value == "":
        return "empty"
    return f"`{value if isinstance(value, str) or not quoted else json.dumps(value)}`"


def describe_field(schema: Schema) -> str:
    """The description and the limits of a field, in one cell."""
    words = " ".join(str(schema.get("description", "")).replace("``", "`").split())
    limits = "; ".join(describe_limits(schema))
    return f"{words} *{limits[0].upper()}{limits[1:]}.*" if limits and words else words or limits


def _in_cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
