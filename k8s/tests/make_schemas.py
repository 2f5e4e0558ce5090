#!/usr/bin/env python3
"""Makes k8s/tests/schemas: JSON schemas of the kinds that the chart renders, for kubeconform.

The sources are the OpenAPI documents inside Go modules, so no server of anybody else's is asked:
    https://proxy.golang.org/k8s.io/kubernetes/@v/v1.32.4.zip
    https://proxy.golang.org/github.com/prometheus-operator/prometheus-operator/@v/v0.68.0.zip
Run by hand when a Kubernetes version is added:
    k8s/tests/make_schemas.py v1.27.16=kubernetes-27.zip v1.32.4=kubernetes-32.zip operator=operator.zip
Stricter than the documents: a field that they do not know is a mistake.
"""
import json
import pathlib
import sys
import zipfile

import yaml

SCHEMAS = pathlib.Path(__file__).resolve().parent / "schemas"
KINDS = {("apps", "v1"): ["Deployment", "StatefulSet"],
         ("", "v1"): ["ConfigMap", "Pod", "Secret", "Service", "ServiceAccount"],
         ("autoscaling", "v2"): ["HorizontalPodAutoscaler"],
         ("networking.k8s.io", "v1"): ["Ingress", "NetworkPolicy"],
         ("policy", "v1"): ["PodDisruptionBudget"]}
DEFINITIONS = "#/definitions/"
TEXT_OR_NUMBER = {"oneOf": [{"type": "string"}, {"type": "number"}]}


def file_name(kind, group, version):
    """As kubeconform looks for it."""
    return "-".join(filter(None, [kind.lower(), group.split(".")[0], version])) + ".json"


def strict(schema):
    """Without prose, and closed against unknown fields."""
    if isinstance(schema, list):
        return [strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("format") == "int-or-string" or schema.get("x-kubernetes-int-or-string"):
        return TEXT_OR_NUMBER
    kept = {}
    for key, value in schema.items():
        if key in ("properties", "definitions"):
            kept[key] = {name: strict(inner) for name, inner in value.items()}
        elif key not in ("description", "default", "format") and not key.startswith("x-kubernetes"):
            kept[key] = strict(value)
    if "properties" in kept and not schema.get("x-kubernetes-preserve-unknown-fields"):
        kept.setdefault("additionalProperties", False)
    return kept


def references(schema):
    if isinstance(schema, dict):
        if "$ref" in schema:
            yield schema["$ref"].removeprefix(DEFINITIONS)
        for value in schema.values():
            yield from references(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from references(value)


def with_what_it_needs(name, definitions):
    needed, open_names = {}, [name]
    while open_names:
        current = open_names.pop()
        if current not in needed:
            needed[current] = definitions[current]
            open_names += references(definitions[current])
    return {**needed.pop(name), "definitions": {**needed, name: definitions[name]}}


def named(schema, api_version, kind):
    schema = dict(schema, properties=dict(schema["properties"]))
    schema["properties"]["apiVersion"] = {"enum": [api_version]}
    schema["properties"]["kind"] = {"enum": [kind]}
    schema["required"] = sorted({*schema.get("required", []), "apiVersion", "kind"})
    return schema


def write(folder, name, schema):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(json.dumps(schema, separators=(",", ":"), sort_keys=True) + "\n")


def from_kubernetes(version, archive):
    [name] = [name for name in archive.namelist() if name.endswith("openapi-spec/swagger.json")]
    raw = json.loads(archive.read(name))["definitions"]
    quantity = "io.k8s.apimachinery.pkg.api.resource.Quantity"
    definitions = {**{name: strict(schema) for name, schema in raw.items()},
                   quantity: TEXT_OR_NUMBER}
    for (group, api), kinds in KINDS.items():
        for kind in kinds:
            [definition] = [name for name, schema in raw.items() if {
                "group": group, "version": api, "kind": kind} in
                schema.get("x-kubernetes-group-version-kind", [])]
            schema = with_what_it_needs(definition, definitions)
            write(SCHEMAS / version, file_name(kind, group, api),
                  named(schema, "/".join(filter(None, [group, api])), kind))


def from_operator(archive):
    for plural in ("podmonitors", "prometheusrules"):
        [name] = [name for name in archive.namelist() if name.endswith(
            f"example/prometheus-operator-crd/monitoring.coreos.com_{plural}.yaml")]
        spec = yaml.safe_load(archive.read(name))["spec"]
        version, kind = spec["versions"][0], spec["names"]["kind"]
        schema = strict(version["schema"]["openAPIV3Schema"])
        schema["properties"]["metadata"] = {"type": "object"}
        write(SCHEMAS / "operator", file_name(kind, spec["group"], version["name"]),
              named(schema, f"{spec['group']}/{version['name']}", kind))


def main(arguments):
    if not arguments:
        sys.exit(__doc__)
    for argument in arguments:
        source, path = argument.split("=", 1)
        with zipfile.ZipFile(path) as archive:
            if source == "operator":
                from_operator(archive)
            else:
                from_kubernetes(source, archive)


if __name__ == "__main__":
    main(sys.argv[1:])
