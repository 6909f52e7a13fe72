"""A Control Plane is told only where the values name one, with a token that only the controller's pod holds."""

from pathlib import Path

import pytest

from controller.settings import Settings
from tests.unit.chart.conftest import Manifest, Render, Rendered
from tests.unit.chart.test_render import CONTROLLER, plain_environment

URL = "https://control-plane.example/api"
CA = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
WITH_TOKEN = (f'controlPlane.url="{URL}"', 'controlPlane.existingSecret="mine"', 'controlPlane.tokenKey="bearer"')
WITH_CA = (*WITH_TOKEN, 'controlPlane.caBundle="' + CA.replace("\n", "\\n") + '"')


def pod(chart: Rendered) -> Manifest:
    return dict(chart.one("Deployment", CONTROLLER)["spec"]["template"]["spec"])


def test_nobody_is_told_by_default(chart: Rendered) -> None:
    assert plain_environment(chart)["CONTROL_PLANE_URL"] == ""
    assert [volume for volume in pod(chart)["volumes"] if volume["name"] == "control-plane"] == []


def test_the_token_is_a_file_from_the_secret_that_is_named(render: Render, monkeypatch: pytest.MonkeyPatch) -> None:
    chart = render(*WITH_TOKEN)
    (volume,) = [volume for volume in pod(chart)["volumes"] if volume["name"] == "control-plane"]
    (source,) = volume["projected"]["sources"]
    assert source["secret"] == {"name": "mine", "items": [{"key": "bearer", "path": "token"}]}
    (mount,) = [mount for mount in pod(chart)["containers"][0]["volumeMounts"] if mount["name"] == "control-plane"]
    assert mount["readOnly"]
    for name, value in plain_environment(chart).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("OPERATOR_NAMESPACE", "operator")
    settings = Settings()
    assert settings.control_plane_url == URL
    assert settings.control_plane_token_file == Path(mount["mountPath"]) / "token"
    assert settings.control_plane_ca_file is None
    assert URL not in str(chart.one("ExecutorPool", "default"))


def test_a_ca_bundle_is_a_file_whose_name_changes_with_it(render: Render) -> None:
    chart = render(*WITH_CA)
    assert chart.one("ConfigMap", "sandbox-executor-control-plane-ca")["data"] == {"ca.crt": CA}
    path = plain_environment(chart)["CONTROL_PLANE_CA_FILE"]
    sources = next(volume for volume in pod(chart)["volumes"] if volume["name"] == "control-plane")["projected"]
    (item,) = sources["sources"][1]["configMap"]["items"]
    assert path.endswith(f"/{item['path']}")
    other = render(*WITH_TOKEN, 'controlPlane.caBundle="another"')
    assert plain_environment(other)["CONTROL_PLANE_CA_FILE"] != path
