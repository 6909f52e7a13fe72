"""A Control Plane that does not answer costs one call at a time."""

from controller.relay.circuit import OPEN_AFTER, Circuit


def fail(circuit: Circuit, at: float) -> None:
    assert circuit.enter(at)
    circuit.leave(at, answered=False)


def open_circuit() -> Circuit:
    circuit = Circuit()
    for _ in range(OPEN_AFTER):
        fail(circuit, 0.0)
    return circuit


def test_it_opens_after_five_failures_in_a_row_and_not_before() -> None:
    circuit = Circuit()
    for _ in range(OPEN_AFTER - 1):
        fail(circuit, 0.0)
    assert circuit.closed
    circuit.leave(0.0, answered=True)
    for _ in range(OPEN_AFTER - 1):
        fail(circuit, 0.0)
    assert circuit.closed
    fail(circuit, 0.0)
    assert not circuit.closed


def test_probes_come_one_by_one_after_1_2_4_8_and_then_each_10_seconds() -> None:
    circuit, now = open_circuit(), 0.0
    for pause_s in (1, 2, 4, 8, 10, 10):
        assert circuit.pause_s(now) == pause_s
        assert not circuit.enter(now + pause_s - 0.001)
        now += pause_s
        assert circuit.enter(now)
        assert not circuit.enter(now)
        assert circuit.pause_s(now) is None
        circuit.leave(now, answered=False)


def test_the_first_answer_closes_it() -> None:
    circuit = open_circuit()
    assert circuit.enter(1.0)
    circuit.leave(1.5, answered=True)
    assert circuit.closed
    assert circuit.pause_s(1.5) == 0
    assert all(circuit.enter(1.5) for _ in range(3))
