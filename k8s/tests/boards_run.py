#!/usr/bin/env python3
"""Asks a real Prometheus every query of the Grafana boards and every alert's expression, while it
scrapes three rendered pods under load, one of which has just been replaced. None may be empty.

    k8s/tests/boards_run.py NODE_PROGRAM
"""
import json
import pathlib
import re
import shutil
import sys
import tempfile
import time
import urllib.parse
import urllib.request

import rendered_run
import tools
import watch_check
from processes import Process, Trouble, free_port, until
from servers import program as program_called

import yaml

# The account sample has no sagas and no events, so nobody can know the labels of theirs.
NO_SERIES = re.compile(r"catga_sagas?_|catga_events_published")


def prometheus(kubelets, folder):
    """Scrapes as the PodMonitor says: the health port, and the pod's name as instance."""
    targets = [{"targets": [f"{kubelet.pod.address}:{kubelet.pod.port('health')}"],
                "labels": {"instance": kubelet.pod.name}} for kubelet in kubelets]
    config = folder / "prometheus.yml"
    config.write_text(yaml.safe_dump({
        "global": {"scrape_interval": "1s"},
        "rule_files": [str(watch_check.RULES)],
        "scrape_configs": [{"job_name": "catga", "static_configs": targets}]}))
    port = free_port()
    process = Process("prometheus", [
        program_called("prometheus"), f"--config.file={config}",
        f"--storage.tsdb.path={folder / 'tsdb'}", f"--web.listen-address=127.0.0.1:{port}"],
        folder / "prometheus.log")
    return process, f"http://127.0.0.1:{port}"


def ask(address, expression):
    """The series of the answer."""
    words = urllib.parse.urlencode({"query": expression})
    with urllib.request.urlopen(f"{address}/api/v1/query?{words}", timeout=10) as answer:
        return json.loads(answer.read())["data"]["result"]


def reachable(address, expression):
    try:
        return ask(address, expression)
    except OSError:
        return []


def questions():
    for where, expression in watch_check.queries():
        yield where, watch_check.as_asked(expression)
    for group in yaml.safe_load(watch_check.RULES.read_text())["groups"]:
        for rule in group["rules"]:
            yield rule["alert"], rule["expr"]


def without_threshold(expression):
    """A rule gives nothing while all is well: what it compares must be there all the same."""
    return re.sub(r" (>|<|==) [0-9.]+$", "", expression)


def ask_all(address):
    wrong, asked = [], 0
    for where, expression in questions():
        if NO_SERIES.search(expression):
            continue
        asked += 1
        if not ask(address, without_threshold(expression)):
            names = sorted(set(re.findall(r"\b(?:catga|process)_\w+", expression)))
            missing = [name for name in names if not ask(address, name)]
            wrong.append(f"{where}: no answer to {expression}" +
                         (f" (nobody exports {', '.join(missing)})" if missing else ""))
    print(f"{asked} queries, {len(wrong)} without an answer")
    return wrong


def scenario(program, folder):
    def body(release, load, wrong):
        process, address = prometheus(release.kubelets, folder)
        try:
            until("Prometheus has scraped all pods", lambda: len(reachable(
                address, "catga_node_ready == 1")) == len(release.kubelets), 30)
            rendered_run.roll(release, release.kubelets[-1:], wrong)
            time.sleep(4)  # four more scrapes: rates need two
            wrong += ask_all(address)
            firing = ask(address, 'ALERTS{alertstate="firing"}')
            wrong += [f"the alert {alert['metric']['alertname']} fires" for alert in firing]
        finally:
            process.terminate(20)
    return rendered_run.with_pods(program, folder, body)


def main(arguments):
    tools.need("the queries of the boards", "helm")
    program = pathlib.Path(arguments[0]).resolve()
    if not shutil.which("prometheus"):
        tools.skip("prometheus is missing", "the queries of the boards")
    rendered_run.need_health_listener(program)
    with tempfile.TemporaryDirectory() as folder:
        try:
            wrong = scenario(program, pathlib.Path(folder))
        except Trouble as trouble:
            wrong = [str(trouble)]
    for what in wrong:
        print(f"FAILED: {what}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
