#!/usr/bin/env python3
"""Checks the alert rules and the Grafana boards without a cluster, with promtool.

    k8s/tests/watch_check.py
The rules fire when they should (alerts_test.yaml), each alert is tested and has its section in
k8s/README.md, and every query of the boards can be read by Prometheus.
"""
import json
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

import tools

try:
    import yaml
except ImportError:
    tools.skip("python3-yaml is missing", "alert rules and Grafana boards")

HERE = pathlib.Path(__file__).resolve().parent
FILES = HERE.parent / "chart" / "catga" / "files"
RULES = FILES / "alerts" / "catga.rules.yaml"
# What Grafana would put in place of its variables.
GRAFANA = {"$__rate_interval": "1m", "$__interval": "15s", "$service": ".*", "$instance": ".*",
           "$kind": ".*"}
# Only says which build runs.
NO_PANEL = {"catga_build_info"}


def boards():
    """file name -> board"""
    return {path.name: json.loads(path.read_text()) for path in sorted(
        (FILES / "dashboards").glob("*.json"))}


def queries():
    """(where it stands, what is asked) of every panel and annotation."""
    for name, board in boards().items():
        for panel in board["panels"]:
            for target in panel.get("targets", []):
                yield f"{name}: {panel['title']}", target["expr"]
        for note in board["annotations"]["list"]:
            yield f"{name}: {note['name']}", note["expr"]


def as_asked(expression):
    for variable, text in GRAFANA.items():
        expression = expression.replace(variable, text)
    return expression


def alerts():
    return [rule["alert"] for group in yaml.safe_load(RULES.read_text())["groups"]
            for rule in group["rules"]]


def promtool(*words):
    done = subprocess.run(["promtool", *map(str, words)], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def check_rules(wrong):
    for words in (("check", "rules", RULES), ("test", "rules", HERE / "alerts_test.yaml")):
        code, said = promtool(*words)
        if code:
            wrong.append(said)
    played = (HERE / "alerts_test.yaml").read_text()
    readme = (HERE.parent / "README.md").read_text()
    for alert in alerts():
        fires = re.search(rf"alertname: {alert}\n\s+eval_time: \S+\n\s+exp_alerts:\n", played)
        if not fires:
            wrong.append(f"alerts_test.yaml never lets {alert} fire")
        if f"#### {alert}\n" not in readme:
            wrong.append(f"k8s/README.md says nothing of {alert}")
        if f"/README.md#{alert.lower()}\"" not in RULES.read_text():
            wrong.append(f"{alert}: its runbook_url leads elsewhere")


def families():
    """Every metric that a node can write."""
    table = HERE.parent.parent / "runtime" / "telemetry" / "metrics.hpp"
    return re.findall(r'\{"(catga_[a-z_]+)", MetricType', table.read_text())


def check_boards(wrong):
    everything = " ".join(expression for _, expression in queries())
    for name in families():
        if not re.search(rf"\b{name}(_bucket)?\b", everything) and name not in NO_PANEL:
            wrong.append(f"no panel shows {name}")
    for name, board in boards().items():
        ids = [panel["id"] for panel in board["panels"]]
        if len(ids) != len(set(ids)):
            wrong.append(f"{name}: two panels have one id")
        places = [panel["gridPos"] for panel in board["panels"]]
        if any(place["x"] + place["w"] > 24 for place in places):
            wrong.append(f"{name}: a panel is wider than the board")
    asked = list(queries())
    rules = {"groups": [{"name": "queries", "rules": [
        {"record": f"query:{number}", "expr": as_asked(expression)}
        for number, (_, expression) in enumerate(asked)]}]}
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        yaml.safe_dump(rules, file)
        file.flush()
        code, said = promtool("check", "rules", file.name)
    if code:
        wrong.append(f"a query of the boards cannot be read: {said}")
    for where, expression in asked:
        if left := re.findall(r"\$\w+", as_asked(expression)):
            wrong.append(f"{where}: nobody replaces {left}")
    return len(asked)


def main():
    if not shutil.which("promtool"):
        tools.skip("promtool is missing (package prometheus)", "alert rules and Grafana boards")
    wrong = []
    check_rules(wrong)
    asked = check_boards(wrong)
    for what in wrong:
        print(f"FAILED: {what}", file=sys.stderr)
    print(f"{len(alerts())} alerts and {asked} queries checked, {len(wrong)} mistakes")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
