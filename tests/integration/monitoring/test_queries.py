"""Everything that dashboard and alerts ask is answered by what controller and executor really show."""

import math

import pytest

from controller import VERSION
from tests.integration.controller.cluster import TENANT
from tests.integration.monitoring.conftest import EXECUTIONS, Scraped
from tests.integration.monitoring.queries import ALERTS, Target, metric_names, panel_targets, selectors

pytestmark = pytest.mark.sandbox

ENDS = {"Succeeded": 5, "Failed": 1, "TimedOut": 1}


@pytest.mark.parametrize("target", panel_targets(), ids=str)
def test_a_panel_gets_data_with_the_labels_of_its_legend(scraped: Scraped, target: Target) -> None:
    assert metric_names(target.expression) <= scraped.prometheus.names()
    found = scraped.query(target.expression)
    assert found
    assert any(target.labels <= set(series["metric"]) for series in found)
    assert any(math.isfinite(float(series["value"][1])) for series in found)


@pytest.mark.parametrize("alert", ALERTS, ids=[alert["alert"] for alert in ALERTS])
def test_an_alert_looks_at_series_that_there_are(scraped: Scraped, alert: dict[str, str]) -> None:
    scraped.query(alert["expr"])
    found = selectors(alert["expr"])
    assert found
    for selector in found:
        assert scraped.query(selector), f"nothing is {selector}"


def test_prometheus_evaluates_every_rule_and_none_fires_where_all_is_well(scraped: Scraped) -> None:
    rules = scraped.prometheus.rules()
    assert {rule["name"] for rule in rules} == {alert["alert"] for alert in ALERTS}
    assert {rule["health"] for rule in rules} == {"ok"}, [rule.get("lastError") for rule in rules]
    assert scraped.query('ALERTS{alertstate=~"pending|firing"}') == []


def test_executions_are_counted_by_namespace_language_and_result(scraped: Scraped) -> None:
    """Under their own namespace, not the scraped pod's: the ServiceMonitor honours the label."""
    total = "sandbox_controller_executions_total"
    assert scraped.number(f'sum({total}{{namespace="{TENANT}"}})') == len(EXECUTIONS)
    assert scraped.query(f'{total}{{exported_namespace!=""}}') == []
    for result, count in ENDS.items():
        assert scraped.number(f'sum({total}{{result="{result}"}})') == count
    for language, count in {"python": 5, "javascript": 1, "shell": 1}.items():
        assert scraped.number(f'sum({total}{{language="{language}"}})') == count


def test_controller_and_executor_agree_on_how_many_there_were(scraped: Scraped) -> None:
    for histogram in ("execution_duration_seconds", "run_duration_seconds", "startup_seconds"):
        assert scraped.number(f"sum(sandbox_executor_{histogram}_count)") == len(EXECUTIONS), histogram
    assert scraped.number("sandbox_controller_execution_wait_seconds_count") == len(EXECUTIONS)
    assert scraped.number("sum(sandbox_controller_execution_duration_seconds_count)") == len(EXECUTIONS)


def test_a_warm_start_is_told_from_a_cold_one(scraped: Scraped) -> None:
    """Seven at nearly one time found one sandbox that was up."""
    count = "sandbox_executor_startup_seconds_count"
    warm, cold = (scraped.number(f'{count}{{launch_type="{launch_type}"}}') for launch_type in ("warm", "cold"))
    assert (warm > 0, cold > 0) == (True, True)
    for launch_type in ("warm", "cold"):
        total = f'sandbox_executor_startup_seconds_sum{{launch_type="{launch_type}"}}'
        assert 0 < scraped.number(total) < 30


def test_slots_queue_relay_and_truncations_are_as_the_executions_left_them(scraped: Scraped) -> None:
    assert scraped.number('sandbox_controller_pool_slots{pool="default",state="free"}') == 2
    assert scraped.number('sandbox_controller_pool_slots{pool="default",state="busy"}') == 0
    assert scraped.number('sandbox_controller_pool_queued{pool="default"}') == 0
    assert scraped.number('max_over_time(sandbox_executor_slots{pool="default"}[1m])') == 2
    assert scraped.number('sandbox_controller_relay_pending{kind="result"}') == 0
    assert scraped.number("sandbox_controller_relay_oldest_pending_seconds") == 0
    told = 'sandbox_controller_relay_attempts_total{call="result",outcome="accepted"}'
    assert scraped.number(told) == len(EXECUTIONS)
    assert scraped.number('sandbox_controller_truncations_total{stream="stdout"}') == 1
    assert scraped.number('sandbox_controller_truncations_total{stream="stderr"}') == 0


def test_both_parts_name_their_version(scraped: Scraped) -> None:
    for part in ("controller", "executor"):
        (found,) = scraped.query(f"sandbox_{part}_build_info")
        assert found["metric"]["version"] == VERSION
