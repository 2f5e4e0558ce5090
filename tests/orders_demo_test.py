#!/usr/bin/env python3
"""samples/orders/demo, small: its checks hold, its figures are there, and it leaves nothing behind.

Usage: orders_demo_test.py FOLDER-of-its-programs [flags of the demo]
"""
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent
PROGRAMS, FLAGS = sys.argv[1], sys.argv[2:]
sys.argv[1:] = []
DEMO = [sys.executable, ROOT / "samples" / "orders" / "demo.py", "--programs", PROGRAMS]
SPEED = {"orders", "seconds", "orders_per_s", "p50_ms", "p95_ms", "p99_ms", "max_ms"}
FAULT = {"requests", "failed", "success_percent", "switched", "orders", "recovery_ms", "undecided",
         "lasted_ms"}
AUDIT = {"orders", "confirmed", "refused", "units_reserved", "units_released", "units_sold",
         "cents_charged", "cents_refunded", "cents_earned", "mails", "heard_by_each", "differences"}
SKIPPED = 77


class Demo(unittest.TestCase):
    def test_every_check_holds_and_nothing_is_left(self):
        with tempfile.TemporaryDirectory() as folder:
            figures = pathlib.Path(folder) / "figures.json"
            done = subprocess.run([*DEMO, *FLAGS, "--json", figures], capture_output=True,
                                  text=True, timeout=540, check=False,
                                  env={**os.environ, "TMPDIR": folder})
            if done.returncode == SKIPPED:
                self.skipTest(done.stderr)
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
            self.assertEqual(os.listdir(folder), ["figures.json"], "its folder is still there")
            values = json.loads(figures.read_text(encoding="utf-8"))
        self.assertEqual(set(values["throughput"]), {"1", "3"})
        for one in values["throughput"].values():
            self.assertEqual(set(one), SPEED)
            self.assertGreater(one["orders_per_s"], 0)
        for one in values["faults"].values():
            self.assertLessEqual(FAULT, set(one))
        self.assertEqual(set(values["audit"]) - {"undecided"}, AUDIT)
        self.assertEqual(values["audit"]["differences"], 0)
        self.assertEqual(values["audit"]["mails"], values["audit"]["confirmed"])
        self.assertTrue(values["good"])
        self.assertTrue(all(check["ok"] for check in values["checks"]))
        print(done.stdout)

    def test_wrong_usage_is_told_and_nothing_is_started(self):
        for words in (["--orders", "1"], ["--orders", "many"], ["--faults", "fire"], ["--surprise"],
                      ["--programs", "/nonexistent"]):
            done = subprocess.run([*DEMO, *words], capture_output=True, text=True, timeout=30,
                                  check=False)
            self.assertEqual(done.returncode, 2, words)
            self.assertTrue(done.stderr)


if __name__ == "__main__":
    unittest.main()
