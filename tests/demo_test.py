#!/usr/bin/env python3
"""The demo, small: its figures are those the issue names, and it leaves nothing behind.

Usage: demo_test.py path-of-catga-demo path-of-the-ledger
"""
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

DEMO, LEDGER = sys.argv[1:3]
sys.argv[1:] = []
FIELDS = """commands acknowledged refused failed retried lost applied_twice balance_mismatches
shards_moved handoff_gap_ms_p50 handoff_gap_ms_p99 join_failed_requests leave_failed_requests
kill_detect_ms kill_recovered_ms commands_per_second""".split()
ZERO = """failed lost applied_twice balance_mismatches join_failed_requests
leave_failed_requests""".split()


def servers_are_there():
    path = os.environ.get("PATH", "") + ":/usr/sbin"
    return all(shutil.which(name, path=path) for name in ("nats-server", "redis-server"))


class Demo(unittest.TestCase):
    @unittest.skipUnless(servers_are_there(), "nats-server or redis-server is not installed")
    def test_nothing_is_lost_and_nothing_is_left(self):
        with tempfile.TemporaryDirectory() as folder:
            figures = pathlib.Path(folder) / "figures.json"
            done = subprocess.run(
                [DEMO, "--ledger", LEDGER, "--lines", "20000", "--shards", "128", "--json", figures],
                capture_output=True, text=True, timeout=240, check=False,
                env={**os.environ, "TMPDIR": folder})
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
            self.assertEqual(os.listdir(folder), ["figures.json"], "its folder is still there")
            values = json.loads(figures.read_text())
        self.assertEqual(list(values), FIELDS)
        self.assertEqual({name: values[name] for name in ZERO}, dict.fromkeys(ZERO, 0))
        self.assertEqual(values["commands"], 20_000)
        self.assertEqual(values["acknowledged"] + values["refused"], 20_000)
        for name in ("refused", "shards_moved", "kill_recovered_ms", "commands_per_second"):
            self.assertGreater(values[name], 0, name)
        self.assertNotIn("\x1b", done.stdout, "a bar where no terminal is")

    def test_wrong_usage_is_told_and_nothing_is_started(self):
        for words in (["--nodes", "1"], ["--nodes", "many"], ["--shards", "15"], ["--surprise", "1"],
                      ["--json"], ["--ledger", "/nonexistent"]):
            done = subprocess.run([DEMO, *words], capture_output=True, text=True, timeout=30,
                                  check=False)
            self.assertEqual(done.returncode, 2, words)
            self.assertTrue(done.stderr)

    def test_help_names_the_flags(self):
        done = subprocess.run([DEMO, "--help"], capture_output=True, text=True, timeout=30,
                              check=True)
        for flag in ("--nodes", "--shards", "--json"):
            self.assertIn(flag, done.stdout)


if __name__ == "__main__":
    unittest.main()
