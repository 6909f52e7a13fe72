"""What all fuzzers have in common as tests."""

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long values are what some of them are for; that to print one takes long is no defect."""
    for item in items:
        if item.path.parent.name == "fuzz":
            item.add_marker(pytest.mark.filterwarnings("ignore:Generating overly large repr"))
