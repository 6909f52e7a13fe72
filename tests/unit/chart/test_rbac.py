"""The controller may do what its code does, in the namespaces where it does it, and nothing else."""

from tests.unit.chart.conftest import NAMESPACE, Manifest, Render, Rendered

CONTROLLER = "sandbox-executor-controller"


def permissions(role: Manifest) -> set[tuple[str, str, str]]:
    """A role as (API group, resource, verb)."""
    return {
        (group, resource, verb)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def test_no_rule_has_a_wildcard(render: Render) -> None:
    for role in [*render('secretNamespaces=["a"]').all("ClusterRole"), *render('secretNamespaces=["a"]').all("Role")]:
        for permission in permissions(role):
            assert "*" not in permission


def test_cluster_wide_permissions_of_the_controller(chart: Rendered) -> None:
    ours = "sandbox-executor.dev"
    assert permissions(chart.one("ClusterRole", CONTROLLER)) == {
        *((ours, "executions", verb) for verb in ("get", "list", "watch", "delete")),
        *((ours, "executorpools", verb) for verb in ("get", "list", "watch")),
        (ours, "executions/status", "patch"),
        (ours, "executions/status", "update"),
        (ours, "executorpools/status", "patch"),
        ("", "events", "create"),
        ("", "namespaces", "get"),
        ("", "configmaps", "get"),
    }


def test_permissions_in_its_own_namespace(chart: Rendered) -> None:
    (role,) = chart.all("Role")
    assert role["metadata"]["namespace"] == NAMESPACE
    assert permissions(role) == {
        *(("apps", "deployments", verb) for verb in ("get", "list", "watch", "create", "patch")),
        *(("", "pods", verb) for verb in ("get", "list", "watch")),
        ("", "events", "list"),
        *(("coordination.k8s.io", "leases", verb) for verb in ("get", "create", "patch", "update")),
        *(("discovery.k8s.io", "endpointslices", verb) for verb in ("create", "patch")),
    }


def test_the_lease_and_the_endpoint_are_its_own_by_name(chart: Rendered) -> None:
    (role,) = chart.all("Role")
    named = {rule["resources"][0]: rule["resourceNames"] for rule in role["rules"] if "resourceNames" in rule}
    assert named == {"leases": [CONTROLLER], "endpointslices": [f"{CONTROLLER}-leader"]}


def test_every_binding_that_stays_is_the_controllers_alone(render: Render) -> None:
    chart = render('secretNamespaces=["tenant-a"]', "crds.enabled=false")
    bindings = [*chart.all("ClusterRoleBinding"), *chart.all("RoleBinding")]
    assert len(bindings) == 3
    for binding in bindings:
        assert binding["subjects"] == [{"kind": "ServiceAccount", "name": CONTROLLER, "namespace": NAMESPACE}]


def test_config_maps_can_be_kept_out_of_reach(render: Render) -> None:
    role = render("rbac.codeFromConfigMaps=false").one("ClusterRole", CONTROLLER)
    assert not any(resource == "configmaps" for _, resource, _ in permissions(role))


def test_secrets_are_readable_only_in_the_namespaces_that_are_named(render: Render) -> None:
    chart = render('secretNamespaces=["tenant-a","tenant-b","tenant-a"]')
    readers = [
        (role["metadata"]["namespace"], permission)
        for role in chart.all("Role")
        for permission in permissions(role)
        if permission[1] == "secrets"
    ]
    assert sorted(readers) == [("tenant-a", ("", "secrets", "get")), ("tenant-b", ("", "secrets", "get"))]
    environment = chart.one("Deployment", CONTROLLER)["spec"]["template"]["spec"]["containers"][0]["env"]
    assert {"name": "SECRET_NAMESPACES", "value": "tenant-a,tenant-b"} in environment


def test_no_role_reaches_secrets_by_default(chart: Rendered) -> None:
    for role in [*chart.all("ClusterRole"), *chart.all("Role")]:
        assert not any(resource == "secrets" for _, resource, _ in permissions(role))


def test_tenants_with_edit_write_executions_but_neither_pools_nor_status(chart: Rendered) -> None:
    edit = chart.one("ClusterRole", "sandbox-executor-edit")
    view = chart.one("ClusterRole", "sandbox-executor-view")
    assert edit["metadata"]["labels"]["rbac.authorization.k8s.io/aggregate-to-edit"] == "true"
    assert view["metadata"]["labels"]["rbac.authorization.k8s.io/aggregate-to-view"] == "true"
    assert {resource for _, resource, _ in permissions(edit)} == {"executions"}
    assert {verb for _, _, verb in permissions(view)} == {"get", "list", "watch"}


def test_aggregation_can_be_left_out(render: Render) -> None:
    assert len(render("rbac.aggregate=false", "crds.enabled=false").all("ClusterRole")) == 1
