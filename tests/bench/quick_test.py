#!/usr/bin/env python3
"""The benchmark, as small as it gets: every figure of the issue is there and could be one.

Usage: quick_test.py [FOLDER of a build with the programs of the benchmark]
Says nothing about speed: that needs a quiet machine and an hour."""
import json
import math
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

BUILD = ["--build", sys.argv[1]] if len(sys.argv) > 1 else []
sys.argv[1:] = []
RUN = pathlib.Path(__file__).resolve().parent / "run"
# The names of the issue, and between what any machine must be.
SANE = {
    "local_tell_spread_ratio": (0.001, 10), "local_tell_per_second": (1000, 1e9),
    "local_ask_ratio": (0.001, 10), "remote_ask_64_ratio": (0.001, 10),
    "remote_ask_256_ratio": (0.001, 10), "remote_ask_1024_ratio": (0.001, 10),
    "remote_ask_p50_ratio": (0.2, 100), "durable_ask_ratio": (0.001, 50),
    "hot_entity_ratio": (0.1, 1000), "activation_per_second": (10, 1e7),
    "entity_bytes": (100, 1e6), "scale_3_nodes_ratio": (0.05, 5),
    "move_1000_shards_ms": (1, 60_000), "move_gap_ms_p99": (0.01, 10_000),
    "takeover_ms": (100, 30_000), "start_ms": (1, 30_000), "idle_rss_mib": (2, 2000),
    "view_100_nodes_s": (0.05, 100), "overload_goodput_ratio": (0.001, 5),
}


def servers_are_there():
    path = os.environ.get("PATH", "") + ":/usr/sbin"
    return all(shutil.which(name, path=path) for name in ("nats-server", "redis-server"))


class Quick(unittest.TestCase):
    @unittest.skipUnless(servers_are_there(), "nats-server or redis-server is not installed")
    def test_every_figure_is_there_and_nothing_is_left(self):
        with tempfile.TemporaryDirectory() as folder:
            file = pathlib.Path(folder) / "figures.json"
            done = subprocess.run([RUN, "--quick", "--json", file, *BUILD], capture_output=True,
                                  text=True, timeout=280, check=False,
                                  env={**os.environ, "TMPDIR": folder})
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
            self.assertEqual(os.listdir(folder), ["figures.json"], "its folder is still there")
            told = json.loads(file.read_text())
        for name, (least, most) in SANE.items():
            self.assertIn(name, told)
            self.assertTrue(math.isfinite(told[name]), name)
            self.assertTrue(least <= told[name] <= most, f"{name}: {told[name]}")
        self.assertEqual(told["failed"], {})
        for fact in ("cores", "model", "kernel", "redis", "nats", "caf", "compiler", "governor",
                     "load_average_before"):
            self.assertIn(fact, told["machine"])

    def test_wrong_usage_is_told_and_nothing_is_started(self):
        for words in (["--only", "surprise"], ["--rounds", "-1"], ["--surprise"]):
            done = subprocess.run([RUN, *words, *BUILD], capture_output=True, text=True,
                                  timeout=60, check=False)
            self.assertEqual(done.returncode, 2, words)
            self.assertTrue(done.stderr)


if __name__ == "__main__":
    unittest.main()
