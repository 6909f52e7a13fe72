"""``python -m docsite DIRECTORY`` writes the reference pages that are made from the code, and the chart's README."""

import sys
from pathlib import Path

from contracts.crd import execution_crd, pool_crd
from docsite import crd_reference, http_reference, values_reference


def pages() -> dict[str, str]:
    """File name → text of each page."""
    return {
        "execution.md": crd_reference.make_page(execution_crd()),
        "executorpool.md": crd_reference.make_page(pool_crd()),
        "executor-api.md": http_reference.make_page(http_reference.read_document()),
    }


def main() -> None:
    """Writes the pages into the directory that is named, ``docs/reference`` by default, and the table of values."""
    directory = Path(sys.argv[1] if len(sys.argv) > 1 else "docs/reference")
    for name, text in pages().items():
        (directory / name).write_text(text)
    readme = values_reference.CHART / "README.md"
    readme.write_text(values_reference.make_chart_readme(readme.read_text(), values_reference.read_default_values()))


if __name__ == "__main__":
    main()
