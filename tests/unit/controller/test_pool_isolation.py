"""Whatever a pool's ``podTemplate`` holds, the Deployment differs from one without it only in where its pods run."""

from typing import Any

import pytest
import yaml
from hypothesis import event, given
from hypothesis import strategies as st
from pydantic import ValidationError

from contracts.crd import manifests
from contracts.pool import ISOLATION_ANNOTATIONS, PodTemplate
from controller import names
from controller.pools import build_deployment
from tests.unit.controller.builders import make_pool, make_settings

SETTINGS = make_settings(apparmor_profile="Localhost/sandbox-executor")
PLACEMENT = {
    "nodeSelector", "tolerations", "affinity", "topologySpreadConstraints", "priorityClassName", "imagePullSecrets"
}  # fmt: skip
POD_FIELDS = [
    "activeDeadlineSeconds", "automountServiceAccountToken", "containers", "dnsPolicy", "enableServiceLinks",
    "ephemeralContainers", "hostAliases", "hostIPC", "hostNetwork", "hostPID", "hostUsers", "hostname",
    "initContainers", "nodeName", "os", "overhead", "runtimeClassName", "schedulerName", "securityContext",
    "serviceAccount", "serviceAccountName", "shareProcessNamespace", "spec", "template", "volumes",
    "terminationGracePeriodSeconds", "procMount", "privileged", "capabilities", "seccompProfile", "appArmorProfile",
    "metadata",
]  # fmt: skip
HOSTILE = [
    {"securityContext": {"runAsUser": 0, "seccompProfile": {"type": "Unconfined"}}},
    {"hostUsers": True, "hostNetwork": True},
    {"containers": [{"name": "executor", "securityContext": {"privileged": True}}]},
]

words = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
keys = st.sampled_from(POD_FIELDS) | words
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-1000, 1000) | words | st.sampled_from(HOSTILE),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=8,
)
free_objects = st.dictionaries(keys, json_values, max_size=4)
annotation_names = st.builds(str.__add__, st.sampled_from([*ISOLATION_ANNOTATIONS, "mine/"]), words) | words
well_formed = st.fixed_dictionaries(
    {},
    optional={
        "labels": st.dictionaries(st.sampled_from(sorted(names.EXECUTOR_LABELS)) | words, words),
        "annotations": st.dictionaries(annotation_names, words, max_size=8),
        "nodeSelector": st.dictionaries(words, words, max_size=3),
        "tolerations": st.lists(free_objects, max_size=3),
        "affinity": free_objects,
        "topologySpreadConstraints": st.lists(free_objects, max_size=3),
        "priorityClassName": st.just("high"),
        "imagePullSecrets": st.lists(st.just("registry"), max_size=2),
    },
)  # fmt: skip
anything = st.dictionaries(keys | st.sampled_from(sorted(PLACEMENT)), json_values, max_size=5)


def build(template: Any) -> dict[str, Any]:
    return build_deployment(make_pool(podTemplate=template), SETTINGS)


BARE = build(None)


def check(template: Any) -> None:
    built = build(template)
    pod, bare_pod = built["spec"]["template"], BARE["spec"]["template"]
    assert {key: value for key, value in pod["spec"].items() if key not in PLACEMENT} == bare_pod["spec"]
    assert pod["metadata"]["labels"].items() >= bare_pod["metadata"]["labels"].items()
    assert pod["metadata"]["annotations"].items() >= bare_pod["metadata"]["annotations"].items()
    assert not [key for key in pod["metadata"]["annotations"] if key.startswith(ISOLATION_ANNOTATIONS)]
    outside = {key: value for key, value in built["spec"].items() if key != "template"}
    assert outside == {key: value for key, value in BARE["spec"].items() if key != "template"}
    assert built["metadata"] == BARE["metadata"]


@given(well_formed)
def test_a_template_that_the_schema_takes_moves_pods_and_changes_nothing_else(template: dict[str, Any]) -> None:
    check(template)


@given(anything)
def test_any_other_template_is_refused_or_changes_nothing_else(template: dict[str, Any]) -> None:
    try:
        check(template)
    except ValidationError:
        event("refused")


def test_what_is_compared_is_what_isolates() -> None:
    """The property above says "as without a template"; this says that "without" is isolated."""
    pod = BARE["spec"]["template"]["spec"]
    assert pod["hostUsers"] is False
    assert pod["securityContext"]["appArmorProfile"] == {"type": "Localhost", "localhostProfile": "sandbox-executor"}
    assert pod["securityContext"]["seccompProfile"]["type"] == "Localhost"
    assert pod["containers"][0]["securityContext"]["capabilities"] == {"drop": ["ALL"]}


@pytest.mark.parametrize("field", POD_FIELDS)
def test_a_field_of_a_pod_is_none_of_a_template(field: str) -> None:
    with pytest.raises(ValidationError):
        PodTemplate.model_validate({field: True})


def test_the_api_server_takes_no_other_field_and_refuses_annotations_that_isolate() -> None:
    (manifest,) = [yaml.safe_load(text) for name, text in manifests().items() if "executorpools" in name]
    schema = manifest["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    template = schema["properties"]["podTemplate"]
    assert set(template["properties"]) == PLACEMENT | {"labels", "annotations"}
    assert "x-kubernetes-preserve-unknown-fields" not in template
    (rule,) = template["properties"]["annotations"]["x-kubernetes-validations"]
    assert all(start in rule["rule"] for start in ISOLATION_ANNOTATIONS)


@pytest.mark.parametrize(
    ("profile", "expected"),
    [
        ("", None),
        ("Unconfined", {"type": "Unconfined"}),
        ("RuntimeDefault", {"type": "RuntimeDefault"}),
        ("Localhost/mine", {"type": "Localhost", "localhostProfile": "mine"}),
    ],
)
def test_the_apparmor_profile_is_the_operators_setting(profile: str, expected: dict[str, str] | None) -> None:
    built = build_deployment(make_pool(), make_settings(apparmor_profile=profile))
    assert built["spec"]["template"]["spec"]["securityContext"].get("appArmorProfile") == expected
