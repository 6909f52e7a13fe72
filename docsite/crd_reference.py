"""Reference pages of the resources, made from the CustomResourceDefinitions that ``contracts.crd`` makes."""

from collections.abc import Iterator
from typing import Any, Final

from docsite.tables import Schema, describe_field, make_table
from docsite.tables import code as as_code

_FREE: Final = "x-kubernetes-preserve-unknown-fields"


def make_page(definition: dict[str, Any]) -> str:
    """The page of one resource."""
    names, version = definition["spec"]["names"], definition["spec"]["versions"][0]
    schema: Schema = version["schema"]["openAPIV3Schema"]
    return "\n".join(
        [
            f"# {names['kind']}",
            "",
            "<!-- Made by `make reference` from contracts/; a test compares. -->",
            "",
            schema["description"],
            "",
            make_table(["", ""], _names(definition, names, version)),
            "## spec",
            "",
            _section(schema["properties"]["spec"]),
            "## status",
            "",
            _section(schema["properties"]["status"]),
            *_columns(version),
        ]
    )


def _names(definition: dict[str, Any], names: dict[str, Any], version: dict[str, Any]) -> list[list[str]]:
    group = definition["spec"]["group"]
    scope = "one namespace" if definition["spec"]["scope"] == "Namespaced" else "the whole cluster"
    rows = [
        ["`apiVersion`", f"`{group}/{version['name']}`"],
        ["`kind`", f"`{names['kind']}`"],
        ["belongs to", scope],
        ["kubectl", ", ".join(f"`{name}`" for name in (names["plural"], names["singular"], *names["shortNames"]))],
    ]
    if "scale" in version["subresources"]:
        rows.append(["`kubectl scale`", "sets `spec.replicas`"])
    if selectable := version.get("selectableFields"):
        rows.append(["field selectors", ", ".join(f"`{field['jsonPath'].removeprefix('.')}`" for field in selectable)])
    return rows


def _section(schema: Schema) -> str:
    rules = [rule["message"] for rule in schema.get("x-kubernetes-validations", [])]
    told = "".join(f"- “{message}”\n" for message in rules)
    told = f"The API server refuses what breaks one of these rules, with their words:\n\n{told}" if rules else ""
    rows = [[f"`{path}`", *cells] for path, cells in _rows(schema, "")]
    head = " ".join(schema["description"].replace("``", "`").split())
    return f"{head}\n\n{told}{chr(10) if told else ''}{make_table(['field', 'type', 'default', 'what'], rows)}"


def _rows(schema: Schema, above: str) -> Iterator[tuple[str, list[str]]]:
    """Each field with what is below it, as a path; what a list holds stands below ``[]``."""
    for name, field in schema.get("properties", {}).items():
        path = f"{above}{name}"
        default = "required" if name in schema.get("required", ()) else _default(field)
        yield path, [type_name(field), default, describe_field(_with_items(field))]
        yield from _rows(field, f"{path}.")
        yield from _rows(field.get("items", {}), f"{path}[].")


def _with_items(field: Schema) -> Schema:
    """A list's own words, or what each of its items is; the items' rules count as the list's."""
    items = field.get("items", {})
    if "properties" not in items:
        return {**{key: items[key] for key in ("pattern",) if key in items}, **field}
    rules = [*field.get("x-kubernetes-validations", []), *items.get("x-kubernetes-validations", [])]
    merged = {"description": items.get("description", ""), **field}
    return {**merged, "x-kubernetes-validations": rules} if rules else merged


def _default(field: Schema) -> str:
    return as_code(field["default"]) if "default" in field else ""


def type_name(field: Schema) -> str:
    """What a person calls the type: ``integer``, ``list of string``, ``any JSON``."""
    if field.get("x-kubernetes-int-or-string"):
        return "integer or string"
    if _FREE in field:
        return "object, free" if field.get("type") == "object" else "any JSON"
    if "items" in field:
        return f"list of {type_name(field['items'])}"
    if "additionalProperties" in field:
        return f"map to {type_name(field['additionalProperties'])}"
    return "time" if field.get("format") == "date-time" else str(field.get("type", "any JSON"))


def _columns(version: dict[str, Any]) -> list[str]:
    rows = [
        [column["name"], f"`{column['jsonPath']}`", "with `-o wide`" if column.get("priority") else ""]
        for column in version["additionalPrinterColumns"]
    ]
    return ["## Columns of kubectl get", "", make_table(["column", "what it shows", ""], rows)]
