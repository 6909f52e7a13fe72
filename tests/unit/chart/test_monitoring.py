"""What the chart gives to the Prometheus operator and to Grafana, and whom it lets scrape."""

import json
import re
from typing import Any

import pytest
import yaml

from controller import names
from tests.unit.chart.conftest import CHART, REPOSITORY, Render, Rendered
from tests.unit.chart.test_render import CONTROLLER

SCRAPER = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}
FROM = f"metrics.networkPolicy.from={json.dumps([SCRAPER])}"
MONITORING_GROUP = "monitoring.coreos.com/v1"
ALERTS = yaml.safe_load((CHART / "files" / "alerts.yaml").read_text())["groups"]
RUNBOOKS = REPOSITORY / "docs" / "runbooks"


@pytest.fixture(scope="module")
def monitored(render: Render) -> Rendered:
    return render(
        "metrics.serviceMonitor.enabled=true",
        'metrics.serviceMonitor.interval="15s"',
        'metrics.serviceMonitor.labels={"release":"prometheus","app.kubernetes.io/name":"other"}',
        "metrics.podMonitor.enabled=true",
        'metrics.podMonitor.scrapeTimeout="5s"',
        "metrics.prometheusRule.enabled=true",
        'metrics.prometheusRule.runbookUrl="https://docs.example/runbooks/"',
        "metrics.dashboard.enabled=true",
        'metrics.dashboard.annotations={"grafana_folder":"sandboxes"}',
        FROM,
    )


def rules(chart: Rendered) -> list[dict[str, Any]]:
    (group,) = chart.all("PrometheusRule")[0]["spec"]["groups"]
    return list(group["rules"])


def test_nothing_of_it_is_made_by_default(chart: Rendered) -> None:
    assert not [manifest for manifest in chart.manifests if manifest["apiVersion"] == MONITORING_GROUP]
    assert [item["metadata"]["name"] for item in chart.all("ConfigMap")] == ["sandbox-executor-seccomp-installer"]
    assert [item["metadata"]["name"] for item in chart.all("Service")] == [CONTROLLER]


def test_the_service_monitor_finds_every_controller_by_a_service_of_its_own(monitored: Rendered) -> None:
    monitor = monitored.one("ServiceMonitor", CONTROLLER)
    wanted = monitor["spec"]["selector"]["matchLabels"].items()
    (service,) = [item for item in monitored.all("Service") if wanted <= item["metadata"]["labels"].items()]
    pod = monitored.one("Deployment", CONTROLLER)["spec"]["template"]
    assert service["spec"]["selector"].items() <= pod["metadata"]["labels"].items()
    (endpoint,), (port,) = monitor["spec"]["endpoints"], service["spec"]["ports"]
    assert (endpoint["port"], endpoint["path"], endpoint["interval"]) == (port["name"], "/metrics", "15s")
    offered = {item["name"]: item["containerPort"] for item in pod["spec"]["containers"][0]["ports"]}
    assert offered[port["targetPort"]] == port["port"] == 8081
    assert endpoint["honorLabels"] is True


def test_the_pod_monitor_finds_the_pods_that_the_controller_makes(monitored: Rendered) -> None:
    spec = monitored.one("PodMonitor", "sandbox-executor-executors")["spec"]
    assert spec["selector"]["matchLabels"].items() <= names.pod_labels("default").items()
    (endpoint,) = spec["podMetricsEndpoints"]
    assert (endpoint["port"], endpoint["path"]) == (names.EXECUTOR_PORT_NAME, "/metrics")
    assert endpoint["scrapeTimeout"] == "5s"
    assert "interval" not in endpoint
    (relabeling,) = endpoint["relabelings"]
    in_prometheus = "".join(letter if letter.isalnum() else "_" for letter in names.POOL_ANNOTATION)
    assert relabeling == {
        "sourceLabels": [f"__meta_kubernetes_pod_annotation_{in_prometheus}"],
        "targetLabel": "pool",
    }


def test_labels_by_which_a_prometheus_selects_are_added_and_replace_none(monitored: Rendered) -> None:
    labels = monitored.one("ServiceMonitor", CONTROLLER)["metadata"]["labels"]
    assert labels["release"] == "prometheus"
    assert labels["app.kubernetes.io/name"] == "sandbox-executor"


def test_the_rules_are_those_of_the_file(monitored: Rendered, render: Render) -> None:
    plain = render("metrics.prometheusRule.enabled=true")
    assert rules(plain) == ALERTS[0]["rules"]
    assert all("runbook_url" not in rule["annotations"] for rule in rules(plain))
    urls = [rule["annotations"].pop("runbook_url") for rule in rules(monitored)]
    assert urls == [f"https://docs.example/runbooks/{rule['alert']}.md" for rule in rules(monitored)]


def test_each_alert_has_a_page_that_says_what_to_do_and_each_page_an_alert() -> None:
    alerts = {rule["alert"]: rule for group in ALERTS for rule in group["rules"]}
    pages = {path.stem: path.read_text() for path in RUNBOOKS.glob("Sandbox*.md")}
    assert set(pages) == set(alerts)
    index = (REPOSITORY / "docs" / "monitoring.md").read_text()
    for name, page in pages.items():
        assert page.startswith(f"# {name}\n")
        headings = [line for line in page.splitlines() if line.startswith("## ")]
        assert headings == ["## What it means", "## How to look", "## What to do"], name
        assert f"**{alerts[name]['labels']['severity']}**" in page
        assert f"](runbooks/{name}.md)" in index


def commands() -> list[str]:
    """Every line of the runbooks' blocks."""
    fence = re.compile(r"^```sh[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
    blocks = [block for path in RUNBOOKS.glob("*.md") for block in fence.findall(path.read_text())]
    return [line for block in blocks for line in block.splitlines()]


def test_runbooks_look_for_words_that_the_logs_have() -> None:
    source = "".join(
        path.read_text()
        for package in ("controller", "executor_runtime")
        for path in (REPOSITORY / package).rglob("*.py")
    )
    patterns = [found[1] for line in commands() if (found := re.search(r'logs .* grep (?:-E )?"(.+)"$', line))]
    words = {word for pattern in patterns for word in pattern.split("|")}
    assert len(words) >= 6
    assert {word for word in words if word not in source} == set()


def test_runbooks_name_objects_and_labels_that_the_chart_makes(chart: Rendered) -> None:
    text = "\n".join(commands())
    pod = chart.one("Deployment", CONTROLLER)["spec"]["template"]["metadata"]["labels"]
    labels = {*pod.items(), *names.pod_labels("default").items(), ("kubernetes.io/service-name", CONTROLLER)}
    selectors = {tuple(selector.split("=", 1)) for selector in re.findall(r" -l (\S+)", text)}
    assert selectors
    assert selectors <= labels
    assert set(re.findall(r" (?:deployment|lease) (\S+)", text)) == {CONTROLLER}


def test_the_dashboard_is_that_of_the_file_where_grafana_looks_for_it(monitored: Rendered) -> None:
    config_map = monitored.one("ConfigMap", "sandbox-executor-dashboard")
    assert config_map["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert config_map["metadata"]["annotations"] == {"grafana_folder": "sandboxes"}
    (file,) = config_map["data"].items()
    assert file == ("sandbox-executor.json", (CHART / "files" / "dashboard.json").read_text())


def test_the_dashboards_panels_have_places_and_ids_of_their_own_and_one_data_source() -> None:
    dashboard = json.loads((CHART / "files" / "dashboard.json").read_text())
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells
    variables = {variable["name"] for variable in dashboard["templating"]["list"]}
    assert variables == {"datasource", "namespace", "pool"}
    sources = {panel["datasource"]["uid"] for panel in panels if panel["type"] != "row"}
    assert sources == {"${datasource}"}


def test_who_scrapes_reaches_metrics_through_the_network_policies(monitored: Rendered) -> None:
    (executors,) = monitored.one("NetworkPolicy", "sandbox-executor-executors")["spec"]["ingress"]
    assert SCRAPER in executors["from"]
    assert len(executors["from"]) == 2
    controller = monitored.one("NetworkPolicy", CONTROLLER)["spec"]["ingress"]
    assert controller[1] == {"from": [SCRAPER], "ports": [{"protocol": "TCP", "port": 8081}]}
    assert SCRAPER not in controller[0]["from"], "the internal API is not theirs"


def test_a_pod_monitor_that_no_policy_lets_in_is_refused_with_what_to_write(render: Render) -> None:
    with pytest.raises(RuntimeError, match=r"metrics\.networkPolicy\.from=\[\{"):
        render("metrics.podMonitor.enabled=true")
    assert render("metrics.podMonitor.enabled=true", "networkPolicy.enabled=false").all("PodMonitor")


@pytest.mark.parametrize(
    "value",
    [
        "metrics.namespaces=-1",
        'metrics.namespaces="all"',
        'metrics.serviceMonitor.interval="often"',
        "metrics.podMonitor.enable=true",
        'metrics.prometheusRule.runbookUrl="docs/runbooks"',
        "metrics.dashboard.labels=[]",
        "metrics.networkPolicy.from=[{}]",
        'metrics.networkPolicy.from=["monitoring"]',
        'metrics.networkPolicy.from=[{"namespace":"monitoring"}]',
    ],
)
def test_a_wrong_value_is_refused(render: Render, value: str) -> None:
    with pytest.raises(RuntimeError, match="values don't meet the specifications of the schema"):
        render(value)
