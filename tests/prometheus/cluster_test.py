#!/usr/bin/env python3
"""A real Prometheus scrapes a real cluster of three nodes: the text passes promtool, and every query
of QUERIES gives numbers, after some traffic, a kill and a node that came back.

Usage: cluster_test.py CATGA-TEST-NODE"""
import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.error
import urllib.parse
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tests" / "chaos"))
sys.path.insert(0, str(ROOT / "k8s" / "tests"))
import watch_check  # noqa: E402
from processes import Process, free_port, until  # noqa: E402
from servers import Nats, Redis  # noqa: E402

HOST, SHARDS, SERVICE = "127.0.0.1", 64, "order-service"
NODE = pathlib.Path(sys.argv.pop()) if len(sys.argv) > 1 else None

# What an operator asks. Each must give at least one number, and no NaN.
QUERIES = {
    "request rate, whole cluster": 'sum(rate(catga_requests_total[1m]))',
    "by service": 'sum(rate(catga_requests_total[1m])) by (service)',
    "by node": 'sum(rate(catga_requests_total[1m])) by (instance)',
    "error ratio": 'sum(rate(catga_requests_failed_total[1m])) / sum(rate(catga_requests_total[1m]))',
    "success ratio per series":
        'rate(catga_requests_succeeded_total{message="Add"}[5m]) / rate(catga_requests_total[5m]) > 0',
    "p95": 'histogram_quantile(0.95, sum(rate(catga_request_duration_seconds_bucket[5m])) by (le))',
    "p99": 'histogram_quantile(0.99, sum(rate(catga_request_duration_seconds_bucket[5m])) by (le))',
    "how even is the load":
        f'stddev(sum(rate(catga_requests_total{{service="{SERVICE}"}}[5m])) by (instance))'
        f' / avg(sum(rate(catga_requests_total{{service="{SERVICE}"}}[5m])) by (instance))',
    "p99 at the callers":
        'histogram_quantile(0.99, sum(rate(catga_ask_duration_seconds_bucket{outcome="ok"}[5m])) by (le))',
    "asks under way": 'sum(catga_requests_active) by (kind)',
    "sent to this node and to others": 'sum(rate(catga_messages_sent_total[1m])) by (route)',
    "records in a batch": 'histogram_quantile(0.5, sum(rate(catga_nats_batch_size_bucket[5m])) by (le))',
    "commands in a trip":
        'histogram_quantile(0.5, sum(rate(catga_store_pipeline_depth_bucket[5m])) by (le))',
    "why nodes are suspected": 'sum(catga_node_suspicions_total) by (cause)',
    "telemetry that is lost": 'sum(rate(catga_telemetry_dropped_total[5m])) by (service, signal)',
    "what waits": 'sum(catga_messages_queued{place="mailbox"})',
    "memory of replies": 'sum(catga_idempotency_bytes) > 0',
    "which builds run": 'count(catga_build_info) by (version, revision)',
    "running sagas": 'sum(catga_sagas_active) by (saga)',
    "shards nobody serves": 'max(catga_shards_configured) - sum(catga_shards{state="owned"})',
    "placement spread": 'max(catga_shards{state="owned"}) / avg(catga_shards{state="owned"})',
    "moves per minute":
        'sum(increase(catga_shard_handoffs_total{direction="in",outcome="ok"}[1m]))',
    "worst pause by a move":
        'histogram_quantile(0.99, sum(rate(catga_shard_unavailable_duration_seconds_bucket'
        '{mode="takeover"}[15m])) by (le, mode))',
}


class Caller:
    """Asks entities with JSON, by the NATS protocol."""

    def __init__(self, port):
        self.socket = socket.create_connection((HOST, port), 5)
        self.lines = self.socket.makefile("rb")
        self.lines.readline()
        self.socket.sendall(b'CONNECT {"verbose":false}\r\nSUB answers 1\r\n')

    def ask(self, subject, message):
        body = json.dumps(message).encode()
        self.socket.sendall(b"PUB %s answers %d\r\n%s\r\n" % (subject.encode(), len(body), body))
        while not (line := self.lines.readline()).startswith(b"MSG"):
            if line.startswith(b"PING"):
                self.socket.sendall(b"PONG\r\n")
            elif not line:
                raise OSError("NATS has closed the connection")
        return json.loads(self.lines.read(int(line.split()[-1]) + 2))

    def close(self):
        self.lines.close()
        self.socket.close()


def get(port, path):
    try:
        with urllib.request.urlopen(f"http://{HOST}:{port}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as refused:
        return refused.code, refused.read().decode()
    except OSError as trouble:
        return 0, str(trouble)


class Cluster(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="catga-prometheus-"))
        cls.addClassCleanup(shutil.rmtree, cls.folder, ignore_errors=True)
        cls.nats = Nats("nats", cls.folder, HOST).start()
        cls.addClassCleanup(cls.nats.kill9)
        cls.redis = Redis("redis", cls.folder, HOST, more=("--maxmemory-policy", "noeviction")).start()
        cls.addClassCleanup(cls.redis.kill9)
        cls.nodes, cls.ports = {}, {name: free_port() for name in "abc"}
        for name in cls.ports:
            cls.launch(name)
        for name in cls.ports:
            cls.wait_ready(name)

    @classmethod
    def launch(cls, name, port=None):
        flags = ["--cluster-name", "watched", "--cluster-shards", SHARDS, "--node-id", name,
                 "--runtime-workers", 2, "--membership-settle", "200ms",
                 "--telemetry-service-name", SERVICE, "--log-format", "json",
                 "--nats-urls", f"nats://{HOST}:{cls.nats.port}",
                 "--redis-url", f"redis://{HOST}:{cls.redis.port}/0",
                 "--health-listen", f"{HOST}:{port or cls.ports[name]}", "--admin-listen", "off"]
        cls.nodes[name] = Process(name, [NODE, *flags], cls.folder / f"{name}.log")
        cls.addClassCleanup(cls.nodes[name].kill9)
        return cls.nodes[name]

    def drain(self, name):
        self.assertEqual(self.nodes[name].terminate(30), 0)

    @classmethod
    def wait_ready(cls, name):
        until(f"{name} is ready", lambda: get(cls.ports[name], "/readyz")[0] == 200, 60, 0.1)

    def test_1_a_node_that_starts_is_live_before_it_is_ready(self):
        log = (self.folder / "a.log").read_text()
        self.assertLess(log.index('"listener":"health"'), log.index(" is ready: "))
        self.assertEqual(get(self.ports["a"], "/startupz")[0], 200)
        body = json.loads(get(self.ports["a"], "/health")[1])
        self.assertEqual(body["status"], "Healthy")
        self.assertEqual(body["cluster"]["nodes_up"], 3)

    def test_2_a_taken_port_is_named_and_ends_the_program_with_78(self):
        node = self.launch("second", self.ports["a"])
        self.assertEqual(node.ended(30), 78)
        self.assertIn(f"{HOST}:{self.ports['a']}", node.tail())

    @unittest.skipUnless(shutil.which("promtool"), "promtool is missing")
    def test_3_promtool_finds_nothing_to_say_about_a_scrape(self):
        status, text = get(self.ports["a"], "/metrics")
        self.assertEqual(status, 200)
        check = subprocess.run(["promtool", "check", "metrics"], input=text, text=True,
                               capture_output=True, timeout=30, check=False)
        self.assertEqual((check.returncode, check.stdout + check.stderr), (0, ""))

    def test_3_what_prometheus_asks_for_is_openmetrics(self):
        request = urllib.request.Request(
            f"http://{HOST}:{self.ports['a']}/metrics",
            headers={"Accept": "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"})
        with urllib.request.urlopen(request, timeout=5) as answer:
            kind, text = answer.headers["Content-Type"], answer.read().decode()
        self.assertEqual(kind, "application/openmetrics-text; version=1.0.0; charset=utf-8")
        self.assertTrue(text.endswith("\n# EOF\n"))
        self.assertIn("# TYPE catga_requests counter\n", text)
        self.assertIn('catga_requests_total{service="order-service"', text)
        families = re.findall("^# TYPE (\\S+) ", text, re.M)
        self.assertEqual(len(families), len(set(families)))

    def scrape(self):
        port = free_port()
        targets = [f"{HOST}:{port}" for port in self.ports.values()]
        settings = {"global": {"scrape_interval": "500ms", "scrape_timeout": "500ms"},
                    "scrape_configs": [{"job_name": "catga", "static_configs": [{"targets": targets}]}]}
        (self.folder / "prometheus.yml").write_text(json.dumps(settings))  # JSON is YAML too
        prometheus = Process(
            "prometheus", [shutil.which("prometheus"), f"--config.file={self.folder}/prometheus.yml",
                           f"--storage.tsdb.path={self.folder}/tsdb",
                           f"--web.listen-address={HOST}:{port}"], self.folder / "prometheus.log")
        self.addCleanup(prometheus.kill9)
        until("Prometheus is ready", lambda: get(port, "/-/ready")[0] == 200, 30, 0.1)
        return port

    def query(self, port, query):
        status, text = get(port, "/api/v1/query?" + urllib.parse.urlencode({"query": query}))
        self.assertEqual(status, 200, text)
        return [float(sample["value"][1]) for sample in json.loads(text)["data"]["result"]]

    def ask_about_sagas(self, port):
        """k8s/tests/boards_run.py asks all else: its nodes have no sagas."""
        asked = [(where, watch_check.as_asked(query)) for where, query in watch_check.queries()
                 if re.search(r"catga_sagas?_", query)]
        self.assertGreater(len(asked), 2)
        for where, query in asked:
            with self.subTest(where):
                self.assertTrue(self.query(port, query), query)

    def all_answered(self, port):
        answers = {name: self.query(port, query) for name, query in QUERIES.items()}
        self.missing = [name for name, values in answers.items()
                        if not values or any(value != value for value in values)]
        return answers if not self.missing else None

    @unittest.skipUnless(shutil.which("prometheus"), "prometheus is missing")
    def test_4_a_real_prometheus_answers_every_query(self):
        port = self.scrape()
        until("all nodes are scraped", lambda: self.query(port, "sum(up)") == [3.0], 30, 0.2)
        caller = Caller(self.nats.port)
        self.addCleanup(caller.close)

        def work(rounds):
            for number in range(rounds):
                caller.ask(f"catga.watched.call.counter.c{number % 40}.Add", {"amount": 1})
        work(200)
        self.nodes["c"].kill9()
        until("the others have taken over", lambda: self.query(
            port, 'sum(catga_shards{state="owned",instance!~".*:%d"})' % self.ports["c"]) ==
            [float(SHARDS)], 30, 0.2)
        self.launch("c")
        self.wait_ready("c")
        until("all nodes are scraped again", lambda: self.query(port, "sum(up)") == [3.0], 30, 0.2)
        self.missing = []
        deadline = time.monotonic() + 30
        while not (answers := self.all_answered(port)) and time.monotonic() < deadline:
            work(20)
        self.assertTrue(answers, f"no number for {self.missing}")
        # Shards may be on their way back to c, and nodes are not scraped at one moment.
        until("every shard is served", lambda: self.query(port, QUERIES["shards nobody serves"]) == [0.0], 30, 0.2)
        self.ask_about_sagas(port)
        self.assertGreater(answers["moves per minute"][0], 0)
        evicted = self.query(port, 'max(catga_node_departures_total{cause="evicted"})')
        self.assertGreaterEqual(evicted[0], 1)
        self.assertGreater(self.query(port, 'sum(catga_node_suspicions_total)')[0], 0)
        until("no ask is left open", lambda: self.query(port, "sum(catga_requests_active)") == [0.0], 30, 0.2)
        sent = dict(zip(("local", "remote"), (self.query(
            port, f'sum(catga_messages_sent_total{{route="{route}",pattern="ask"}})')[0]
            for route in ("local", "remote"))))
        self.assertGreater(sent["local"], 0)
        self.assertGreater(sent["remote"], 0)
        self.drain("b")
        until("a node that drained has left as planned", lambda: self.query(
            port, 'max(catga_node_departures_total{cause="planned"})') >= [1.0], 30, 0.2)
        self.assertEqual(self.query(port, 'max(catga_node_departures_total{cause="incomplete"})'), [0.0])
        self.launch("b")
        self.wait_ready("b")
        until("all nodes are scraped once more", lambda: self.query(port, "sum(up)") == [3.0], 30, 0.2)
        until("all show one view", lambda: self.query(
            port, "max(catga_view_version) - min(catga_view_version)") == [0.0], 30, 0.2)


if __name__ == "__main__":
    if NODE is None:
        sys.exit(__doc__)
    absent = [name for name in ("prometheus", "promtool") if not shutil.which(name)]
    if absent and os.environ.get("CI"):
        sys.exit(f"{absent} are missing, and nothing may be skipped here: install prometheus")
    for name in absent:
        print(f"SKIPPED: what needs {name}: apt-get install prometheus", file=sys.stderr)
    ended = unittest.main(exit=False, verbosity=2).result
    sys.exit(0 if ended.wasSuccessful() else 1)
