"""The configuration that kind gets."""

import json
from pathlib import Path

from devcluster import audit
from devcluster.kindconfig import SPARE, build_config, to_text


def test_a_plain_cluster_has_one_control_plane_and_leaves_the_cni_to_kind() -> None:
    config = build_config()
    assert config["nodes"] == [{"role": "control-plane"}]
    assert config["networking"] == {"apiServerAddress": "127.0.0.1", "ipFamily": "ipv4"}
    assert "kubeadmConfigPatches" not in config


def test_the_second_node_is_spare_and_the_first_takes_everything_else() -> None:
    first, spare = build_config(nodes=2, audit_policy=Path("/state/audit-policy.json"))["nodes"]
    assert (first["role"], spare["role"]) == ("control-plane", "worker")
    untainted = [patch for patch in first["kubeadmConfigPatches"] if "kind: InitConfiguration" in patch]
    assert len(untainted) == 1
    assert "taints: []" in untainted[0]
    (tainted,) = spare["kubeadmConfigPatches"]
    assert spare["labels"] == {SPARE: ""}
    assert f"{{key: {SPARE}, effect: NoSchedule}}" in tainted


def test_a_built_image_brings_no_cni_and_its_proxy_programs_iptables() -> None:
    networking = build_config(bridge_cni=True)["networking"]
    assert networking["disableDefaultCNI"] is True
    assert networking["kubeProxyMode"] == "iptables"


def test_the_kubelet_is_told_to_accept_cgroup_v1_only_there() -> None:
    (patch,) = build_config(cgroup_v1=True)["kubeadmConfigPatches"]
    assert "failCgroupV1: false" in patch


def test_patches_merge_objects_append_to_lists_and_replace_the_nodes() -> None:
    patch = {
        "networking": {"podSubnet": "10.1.0.0/16"},
        "kubeadmConfigPatches": ["mine"],
        "nodes": [{"role": "control-plane", "image": "x"}],
        "featureGates": {"A": True},
    }
    config = build_config(nodes=2, cgroup_v1=True, patches=[patch, {"featureGates": {"B": False}}])
    assert config["networking"] == {
        "apiServerAddress": "127.0.0.1",
        "ipFamily": "ipv4",
        "podSubnet": "10.1.0.0/16",
    }
    assert len(config["kubeadmConfigPatches"]) == 2
    assert config["nodes"] == patch["nodes"]
    assert config["featureGates"] == {"A": True, "B": False}


def test_a_patch_is_not_changed_by_being_merged() -> None:
    patch = {"featureGates": {"A": True}}
    build_config(patches=[patch, {"featureGates": {"B": True}}])
    assert patch == {"featureGates": {"A": True}}


def test_the_text_is_json_and_so_yaml() -> None:
    assert json.loads(to_text(build_config()))["apiVersion"] == "kind.x-k8s.io/v1alpha4"


def test_the_api_server_notes_who_touches_secrets_whichever_kubeadm_version_kind_writes() -> None:
    config = build_config(nodes=2, audit_policy=Path("/state/audit-policy.json"))
    control_plane, worker = config["nodes"]
    assert "extraMounts" not in worker
    (mount,) = control_plane["extraMounts"]
    assert mount["hostPath"] == "/state/audit-policy.json"
    patches = {
        patch["apiVersion"]: patch["apiServer"] for patch in map(json.loads, control_plane["kubeadmConfigPatches"][:2])
    }
    as_map = patches["kubeadm.k8s.io/v1beta3"]["extraArgs"]
    as_list = {item["name"]: item["value"] for item in patches["kubeadm.k8s.io/v1beta4"]["extraArgs"]}
    assert as_map == as_list
    assert as_map["audit-policy-file"] == mount["containerPath"]
    assert as_map["audit-log-path"] == audit.LOG_FILE


def test_the_audit_policy_keeps_the_content_of_secrets_out_of_the_log() -> None:
    rules = json.loads(audit.policy())["rules"]
    assert [rule["level"] for rule in rules] == ["Metadata", "None"]
    assert rules[0]["resources"] == [{"group": "", "resources": ["secrets"]}]
