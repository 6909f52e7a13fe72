"""The verdict of ``benchmarks.outage`` names each promise that was broken, and nothing where none was."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from benchmarks.outage import LARGE_BYTES, LARGE_EVERY, Created, Outage, find_broken

_GONE, _BACK = 100.0, 160.0
_LARGE, _SMALL = 0, LARGE_EVERY + 1


class Heard:
    """What the Control Plane has received, as the fake keeps it."""

    def __init__(self) -> None:
        self.calls: dict[str, list[SimpleNamespace]] = {}

    def of(self, kind: str, execution_id: str) -> list[SimpleNamespace]:
        """Calls about one result."""
        assert kind == "result"
        return self.calls[execution_id]


@pytest.fixture
def outage() -> Outage:
    """One in which all went well: a small and a large one before the outage, and the same while it lasted."""
    heard = Heard()
    made = Outage(*cast(tuple[Any, Any, Any, Any, Any], (None, None, None, executor(spooled=0), heard)))
    made.gone, made.back = _GONE, _BACK
    made.memory_mb = [(float(at), 90.0, 60.0) for at in range(200)]
    for at in (50.0, 120.0):
        for number in (_LARGE, _SMALL):
            name = f"steady-{number}-{at:.0f}"
            made.created[name] = Created(number, at, name, "Succeeded", at + 0.2, at + 50)
            body = {"return_value": number, "stdout": "x" * (LARGE_BYTES if number == _LARGE else 0)}
            heard.calls[name] = [SimpleNamespace(answered=201, body=body)]
    return made


def executor(spooled: int) -> SimpleNamespace:
    """One that holds so many results."""
    return SimpleNamespace(results=SimpleNamespace(glob=lambda _pattern: range(spooled)))


def test_an_outage_without_a_loss_breaks_nothing(outage: Outage) -> None:
    assert find_broken(outage) == []


def small(outage: Outage) -> Created:
    return outage.created[f"steady-{_SMALL}-120"]


def heard_of(outage: Outage, number: int) -> list[SimpleNamespace]:
    return cast(Heard, outage.control_plane).calls[f"steady-{number}-120"]


def _crash(outage: Outage) -> None:
    small(outage).phase = "Crashed"


def _never_end(outage: Outage) -> None:
    small(outage).phase = ""


def _stay_untold(outage: Outage) -> None:
    small(outage).reported = None


def _tell_twice(outage: Outage) -> None:
    heard_of(outage, _SMALL).append(heard_of(outage, _SMALL)[0])


def _be_refused(outage: Outage) -> None:
    heard_of(outage, _SMALL).append(SimpleNamespace(answered=409, body={}))


def _tell_another(outage: Outage) -> None:
    heard_of(outage, _SMALL)[0].body["return_value"] = -1


def _cut_output(outage: Outage) -> None:
    heard_of(outage, _LARGE)[0].body["stdout"] = "x"


def _keep_spooled(outage: Outage) -> None:
    outage.executor = cast(Any, executor(spooled=3))


def _grow(outage: Outage) -> None:
    outage.memory_mb = [(at, mb + (30 if at > _GONE else 0), other) for at, mb, other in outage.memory_mb]


def _slow_down(outage: Outage) -> None:
    for one in outage.between(_GONE, _BACK):
        one.ended = one.at + 5


@pytest.mark.parametrize(
    ("break_it", "says"),
    [
        (_crash, "ended Crashed"),
        (_never_end, "ended never"),
        (_stay_untold, "is not Reported"),
        (_tell_twice, "2 times"),
        (_be_refused, "{409}"),
        (_tell_another, "something else"),
        (_cut_output, "1 bytes of output"),
        (_keep_spooled, "holds 3 results"),
        (_grow, "grown by 30 MiB"),
        (_slow_down, "took 5.00 s (p95)"),
    ],
)
def test_each_broken_promise_is_named(outage: Outage, break_it: Callable[[Outage], None], says: str) -> None:
    break_it(outage)
    (broken,) = find_broken(outage)
    assert says in broken
