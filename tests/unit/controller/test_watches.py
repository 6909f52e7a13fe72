"""What kopf is told to leave undone."""

import copy
from typing import Any, NoReturn

import kopf

from controller.watches import NoDiffs, make_settings


class Uncopied(dict[str, Any]):
    """Part of an object that nobody may copy."""

    def __deepcopy__(self, _memo: object) -> NoReturn:
        raise AssertionError("an event's object was copied")


def test_an_events_object_is_not_copied_for_a_comparison_that_nobody_asks_for() -> None:
    body = kopf.Body({"metadata": {"name": "a"}, "spec": Uncopied(code="x" * 1000)})
    storage = make_settings().persistence.diffbase_storage
    assert isinstance(storage, NoDiffs)
    assert storage.build(body=body) == {}
    assert storage.fetch(body=body) is None
    patch = kopf.Patch()
    storage.store(body=body, patch=patch, essence=kopf.BodyEssence())
    assert not patch
    try:
        copy.deepcopy(dict(body))
    except AssertionError:
        return
    raise AssertionError("the test would not notice a copy")
