"""The table of values in the chart's README, made from the comments in ``values.yaml``.

A comment that begins with ``# --`` describes the value below it, with the comment lines that follow. A described
mapping is one row, whatever is in it; another mapping is not a row, but each value in it is.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from docsite.tables import make_table

CHART: Final = Path(__file__).resolve().parents[1] / "deploy" / "helm" / "sandbox-executor"
BEGIN: Final = "<!-- Made by `make reference` from values.yaml; a test compares. -->\n"
END: Final = "<!-- End of what is made. -->\n"
_MARK: Final = "# --"


@dataclass(frozen=True)
class Value:
    """One row: the value's path, its default and the words of its comment, empty where it has none."""

    path: str
    default: Any
    words: str


def read_default_values() -> str:
    """The text of the chart's ``values.yaml``."""
    return (CHART / "values.yaml").read_text()


def read_values(text: str) -> list[Value]:
    """The rows of a ``values.yaml``, in its order."""
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    if not isinstance(root, yaml.MappingNode):
        raise ValueError("values.yaml is not a mapping")
    return list(_rows(root, "", text.splitlines()))


def _rows(node: yaml.MappingNode, above: str, lines: list[str]) -> Iterator[Value]:
    for key, child in node.value:
        path = f"{above}{key.value}"
        words = _comment_above(key.start_mark.line, lines)
        if not words and isinstance(child, yaml.MappingNode) and child.value:
            yield from _rows(child, f"{path}.", lines)
        else:
            yield Value(path, _plain(child), words)


def _comment_above(line: int, lines: list[str]) -> str:
    """The words from ``# --`` down to this line; empty when the comment right above has no such mark."""
    said: list[str] = []
    for above in reversed(lines[:line]):
        stripped = above.strip()
        if stripped.startswith(_MARK):
            return " ".join([stripped.removeprefix(_MARK).strip(), *reversed(said)])
        if not stripped.startswith("#"):
            return ""
        said.append(stripped.removeprefix("#").strip())
    return ""


def _plain(node: yaml.Node) -> Any:
    return yaml.safe_load(yaml.serialize(node))


def _cell(default: Any) -> str:
    return f"`{default}`" if isinstance(default, str) and default else f"`{json.dumps(default, ensure_ascii=False)}`"


def make_values_table(text: str) -> str:
    """The Markdown table of a ``values.yaml``."""
    rows = [[f"`{value.path}`", _cell(value.default), value.words] for value in read_values(text)]
    return make_table(["value", "default", "meaning"], rows)


def make_chart_readme(readme: str, values: str) -> str:
    """The README with the table between its two marks made anew.

    Raises:
        ValueError: a mark is missing.
    """
    before, begin, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the chart's README has lost the line {(END if begin else BEGIN).strip()}")
    return f"{before}{BEGIN}\n{make_values_table(values)}\n{END}{after}"
