"""Renders a chart many times with Helm's own library, and validates the results with the schemas of Kubernetes.

Runs in the virtual environment of the suite helm. Reads from standard input

    {"chart": FOLDER, "jobs": {NAME: {"values": [FILE...], "set": {...}, "name": ..., "namespace": ...,
     "kube": [VERSION...]}}, "package": FOLDER, "read": [FILE...]}

of which everything except the chart is optional, and writes to the file of the first argument (because the library
itself can print to standard output)

    {"jobs": {NAME: {"lint": [...], "error": TEXT or null, "notes": TEXT, "objects": [{"template": ..., "object":
     {...}}...], "invalid": [...], "foreign": [{"where": ..., "object": {...}}...], "values": {...}}},
     "package": FILE, "read": {FILE: content of the YAML}}
"""

import json
import sys
from pathlib import Path

import helm_python as helm
import kubernetes_validate
import yaml

SEVERITIES = {1: "info", 2: "warning", 3: "error"}


def merged(below: dict, above: dict) -> dict:
    """Merges values files as Helm does."""
    result = dict(below)
    for key, value in above.items():
        both = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = merged(result[key], value) if both else value
    return result


def render(chart: helm.Chart, path: str, job: dict) -> dict:
    values: dict = {}
    for file in job.get("values", []):
        values = merged(values, helm.values_from_yaml(Path(file).read_text()))
    values = merged(values, job.get("set", {}))
    result = {"lint": [], "error": None, "notes": "", "objects": [], "invalid": [], "foreign": [], "values": values}
    try:
        chart.validate_schema(values)
        texts = chart.render(values, name=job.get("name", "rel"), namespace=job.get("namespace", "ns"))
    except helm.HelmError as error:
        return result | {"error": str(error)}
    found = helm.lint(path, values, namespace=job.get("namespace", "ns"))
    result["lint"] = [
        f"{SEVERITIES.get(each['severity'], '?')}: {each['path']}: {each['error']}" for each in found["messages"]
    ]
    for template, text in sorted(texts.items()):
        if template.endswith("NOTES.txt"):
            result["notes"] = text
            continue
        for document in yaml.safe_load_all(text):
            if document:
                result["objects"].append({"template": template, "object": document})
                examine(document, template, job.get("kube", []), result)
    return result


def examine(document: dict, template: str, versions: list[str], result: dict) -> None:
    where = f"{template}: {document.get('kind')} {document.get('metadata', {}).get('name')}"
    for version in versions:
        try:
            kubernetes_validate.validate(document, version, strict=True)
        except kubernetes_validate.SchemaNotFoundError:
            result["foreign"].append({"where": where, "object": document})
            return
        except kubernetes_validate.ValidationError as error:
            key = ".".join(str(each) for each in error.path)
            result["invalid"].append(f"{where}: Kubernetes {version}: {key}: {error.message}")


def main() -> None:
    asked = json.load(sys.stdin)
    path = asked["chart"]
    with helm.Chart.load(path) as chart:
        answer: dict = {"jobs": {name: render(chart, path, job) for name, job in asked.get("jobs", {}).items()}}
    if folder := asked.get("package"):
        answer["package"] = helm.package(path, destination=folder)
    answer["read"] = {file: yaml.safe_load(Path(file).read_text()) for file in asked.get("read", [])}
    Path(sys.argv[1]).write_text(json.dumps(answer))


main()
