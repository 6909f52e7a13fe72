"""What an Execution has in the object store: the list that its status has, and the bytes of one of it.

Where an object lies is made of the Execution's own namespace and uid, never read from its status: whoever could write
there must not be able to point this process, which has the store's credentials, at another tenant's objects.
"""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from contracts.execution import StatusOutput
from contracts.outputs import MAX_NAME_LENGTH
from controller import names
from controller.errors import StoreError, StoreNotFound
from controller.object_store import ObjectStore
from log_api.errors import StatusError, bad_request, unavailable
from log_api.executions import View
from log_api.group import GROUP_VERSION, OUTPUTS_KIND
from log_api.options import parse_number

_KNOWN: Final = ("name", "offset")
_IGNORED: Final = frozenset({"timeout", "pretty"})


@dataclass(frozen=True, slots=True)
class OutputOptions:
    """Which output is wanted, and from which byte on."""

    name: str
    offset: int = 0


def parse_output_options(query: Mapping[str, str]) -> OutputOptions | None:
    """The options of a request; None: the list is wanted.

    Raises:
        StatusError: 400; says which one is wrong, and what to write instead.
    """
    for name in query:
        if name not in _KNOWN and name not in _IGNORED:
            raise bad_request(f"the parameter {name!r} is not known; there are {', '.join(_KNOWN)}")
    if "name" not in query:
        if "offset" in query:
            raise bad_request("offset is for the content of one output: write its name too")
        return None
    if not 1 <= len(query["name"]) <= MAX_NAME_LENGTH:
        raise bad_request(f"name has 1 to {MAX_NAME_LENGTH} characters, as in status.outputs")
    return OutputOptions(query["name"], parse_number(query, "offset") or 0)


def list_outputs(view: View) -> dict[str, Any]:
    """All of them, without where they lie."""
    rows = [output.to_kube() for output in _outputs(view)]
    return {
        "apiVersion": GROUP_VERSION,
        "kind": OUTPUTS_KIND,
        "metadata": {"name": view.name, "namespace": view.namespace, "uid": view.uid},
        "outputs": [{key: value for key, value in row.items() if key != "uri"} for row in rows],
    }


class Outputs:
    """Reads them; ``store`` None: there is no object store."""

    def __init__(self, store: ObjectStore | None) -> None:
        self._store = store

    async def open(self, view: View, options: OutputOptions) -> tuple[int, AsyncIterator[bytes]]:
        """(bytes that come, their pieces) of an output from the offset on.

        Raises:
            StatusError: there is no such output, or not any more, or the store does not answer.
            StoreError: from the pieces.
        """
        output = _find(view, options)
        if self._store is None:
            text = "the log API has no object store: have it installed with objectStore.url (docs/outputs.md)"
            raise StatusError(404, text, name=view.name)
        key = names.output_key(view.namespace, view.uid, view.attempt, output.sha256)
        left = output.size - options.offset
        if left == 0:
            return 0, _nothing()
        try:
            size, pieces = await self._store.open(key, options.offset)
        except StoreNotFound:
            raise StatusError(
                404, f"{output.name!r} is not in the object store any more: its time there is over", name=view.name
            ) from None
        except StoreError as error:
            raise unavailable(str(error), view.name) from None
        if size != output.size:
            raise StatusError(500, f"the object store has another {output.name!r} than the status says", name=view.name)
        return left, pieces


def _outputs(view: View) -> list[StatusOutput]:
    return list((view.status.outputs if view.status is not None else None) or ())


def _find(view: View, options: OutputOptions) -> StatusOutput:
    if not view.ended:
        raise StatusError(404, f"{view.name} has not ended: its outputs are stored when it has", name=view.name)
    found = next((output for output in _outputs(view) if output.name == options.name), None)
    if found is None:
        raise StatusError(
            404, f"{view.name} has no output {options.name!r}: its status.outputs has all", name=view.name
        )
    if options.offset > found.size:
        raise bad_request(f"offset={options.offset} is beyond the end: {options.name!r} has {found.size} bytes")
    return found


async def _nothing() -> AsyncIterator[bytes]:
    return
    yield b""
