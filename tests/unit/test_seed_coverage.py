"""``docs/seed-coverage.md`` names every task of the seed, and only files and tests that exist."""

import ast
import re
from functools import lru_cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "seed-coverage.md").read_text()
SHORT = {
    "U/": "tests/unit/executor_runtime/",
    "I/": "tests/integration/executor/",
    "C/": "tests/contract/",
    "S/": "tests/security/",
    "X/": "executor_runtime/",
}
ROW = re.compile(r"^\| (T\d{3}) [^|]*\|([^|]*)\|([^|]*)\|([^|]*)\|$", re.MULTILINE)


def names_in(cell: str) -> list[str]:
    """What stands in backquotes, with the short forms written out."""
    found = re.findall(r"`([^`]+)`", cell)
    return [SHORT.get(name[:2], name[:2]) + name[2:] for name in found]


@lru_cache
def functions_of(path: str) -> set[str]:
    tree = ast.parse((ROOT / path).read_text())
    functions = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return {function.name for function in functions if function.name.startswith("test_")}


def test_every_task_has_one_row_with_a_place_and_a_proof_or_a_reason() -> None:
    rows = ROW.findall(PAGE)
    assert [task for task, *_ in rows] == [f"T{number:03}" for number in range(1, 106)]
    for task, where, proof, changed in rows:
        assert names_in(where), task
        assert names_in(proof) or changed.strip(), task


def test_every_file_and_test_that_is_named_exists() -> None:
    dangling = []
    for task, where, proof, _ in ROW.findall(PAGE):
        dangling += [f"{task} {name}" for name in names_in(where) if not (ROOT / name).exists()]
        for name in names_in(proof):
            path, _, test = name.partition("::")
            if not (ROOT / path).is_file() or test not in functions_of(path):
                dangling.append(f"{task} {name}")
    assert dangling == []
