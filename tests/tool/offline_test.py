#!/usr/bin/env python3
"""What the tool says without a cluster: wrong words, wrong files, no server.

Usage: offline_test.py path-of-catga path-of-a-node-program
"""
import json
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import unittest

from running import run

TOOL, NODE = sys.argv[1:3]
sys.argv[1:] = []


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Words(unittest.TestCase):
    def wrong(self, *words):
        ran = run(TOOL, *words)
        self.assertEqual(ran.code, 2, ran)
        self.assertEqual(ran.out, "", ran)
        return ran.err

    def test_an_unknown_command_is_answered_with_the_nearest(self):
        self.assertIn('unknown command or argument "clustr"; did you mean cluster?',
                      self.wrong("clustr", "info"))
        self.assertIn("did you mean nodes?", self.wrong("cluster", "node"))

    def test_an_unknown_flag_is_answered_with_the_nearest(self):
        self.assertIn('unknown flag "--jsn"; did you mean --json?',
                      self.wrong("cluster", "info", "--jsn"))
        self.assertIn("did you mean --without?",
                      self.wrong("rebalance", "plan", "--witout", "a"))

    def test_a_group_without_a_command_names_its_commands(self):
        self.assertIn("catga cluster needs a command: info, nodes, check", self.wrong("cluster"))

    def test_what_is_not_an_entity_or_not_json_is_said(self):
        self.assertIn("is not KIND/KEY", self.wrong("entity", "locate", "alice"))
        self.assertIn("not JSON", self.wrong("entity", "call", "account/alice", "Deposit", "{cents}"))

    def test_help_exists_for_every_command(self):
        for group in ("", "cluster", "node", "shard", "entity", "saga", "deadletter", "rebalance", "config"):
            ran = run(TOOL, *group.split(), "--help")
            self.assertEqual(ran.code, 0, ran)
            self.assertIn("--json", run(TOOL, "--help").out)

    def test_version(self):
        self.assertRegex(run(TOOL, "version").out, r"^catga \d+\.\d+\.\d+\n$")


class NoServer(unittest.TestCase):
    def test_nats_that_is_away_is_said_soon_with_its_address(self):
        url = f"nats://127.0.0.1:{free_port()}"
        for command in (("cluster", "info"), ("top",), ("events", "--follow"),
                        ("entity", "call", "account/alice", "GetBalance")):
            ran = run(TOOL, *command, "--nats", url)
            self.assertEqual(ran.code, 69, ran)
            self.assertIn(f"no NATS server answers at {url}", ran.err)
            self.assertLess(ran.seconds, 5, ran)  # one second, on a machine that does much else

    def test_a_server_that_says_nothing_is_given_up_soon(self):
        with socket.socket() as mute:
            mute.bind(("127.0.0.1", 0))
            mute.listen()
            url = f"nats://127.0.0.1:{mute.getsockname()[1]}"
            ran = run(TOOL, "cluster", "info", "--nats", url)
        self.assertEqual(ran.code, 69, ran)
        self.assertLess(ran.seconds, 8, ran)

    def test_a_password_is_never_shown(self):
        url = f"nats://ann:hunter2@127.0.0.1:{free_port()}"
        ran = run(TOOL, "cluster", "info", "--nats", url)
        self.assertEqual(ran.code, 69, ran)
        self.assertNotIn("hunter2", ran.err + ran.out)


class Settings(unittest.TestCase):
    def check(self, text):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "catga.json"
            path.write_text(text)
            return (path, run(TOOL, "config", "check", path),
                    run(NODE, "--config", path, "--check-config"))

    def test_a_broken_file_is_named_with_its_line(self):
        path, ran, node = self.check('{\n  "node": {\n    "weight": 2,\n  }\n}\n')
        for one in (ran, node):
            self.assertEqual(one.code, 78, one)
            self.assertIn(str(path), one.err)
            self.assertIn("line 4", one.err)

    def test_an_unknown_key_is_answered_with_the_nearest(self):
        path, ran, node = self.check('{\n  "node": {"wieght": 2}\n}')
        for one in (ran, node):
            self.assertEqual(one.code, 78, one)
            self.assertIn(f'{path}:2: unknown key "node.wieght"; did you mean node.weight?', one.err)

    def test_a_wrong_value_is_named_with_its_key_and_where_it_was_set(self):
        path, ran, _ = self.check('{"cluster.shards": 5,\n "ask": {"timeout": "soon"}}')
        self.assertEqual(ran.code, 78, ran)
        self.assertIn(f'ask.timeout (file {path}:2): "soon" is not a time', ran.err)

    def test_an_unreadable_file_is_named(self):
        ran = run(TOOL, "config", "check", "/nowhere/catga.json")
        self.assertEqual(ran.code, 78, ran)
        self.assertIn("/nowhere/catga.json", ran.err)

    def test_a_good_file_is_fine(self):
        _, ran, _ = self.check('{"node": {"weight": 2}}')
        self.assertEqual(ran.code, 0, ran)
        self.assertIn("fine", ran.out)

    def test_vars_lists_every_setting_with_what_a_chart_needs(self):
        ran = run(TOOL, "config", "vars", "--json")
        self.assertEqual(ran.code, 0, ran)
        settings = json.loads(ran.out)["data"]["settings"]
        self.assertGreater(len(settings), 60)
        for one in settings:
            self.assertEqual(set(one), {"key", "variable", "flag", "unit", "default", "secret", "help"})
            self.assertEqual(one["variable"], "CATGA_" + one["key"].upper().replace(".", "_"))
        by_key = {one["key"]: one for one in settings}
        self.assertEqual(by_key["node.weight"]["default"], "1")
        self.assertEqual(by_key["nats.password"]["flag"], None)
        self.assertTrue(by_key["nats.password"]["secret"])
        self.assertIn("OTEL_EXPORTER_OTLP_HEADERS", json.loads(ran.out)["data"]["opentelemetry"])


class Completion(unittest.TestCase):
    def offered(self, *words):
        script = run(TOOL, "completion", "bash").out
        line = " ".join(f"'{word}'" for word in ("catga", *words))
        return subprocess.run(
            ["bash", "-c", f"{script}\nCOMP_WORDS=({line}); COMP_CWORD={len(words)}; _catga; "
             'echo "${COMPREPLY[@]}"'], capture_output=True, text=True, check=True).stdout.split()

    def test_bash_offers_what_comes_next(self):
        self.assertEqual(self.offered("clu"), ["cluster"])
        self.assertEqual(self.offered("cluster", "--json", "n"), ["nodes"])
        self.assertIn("--settled", self.offered("cluster", "check", "--s"))
        self.assertIn("--id", self.offered("entity", "call", "account/alice", "--i"))
        self.assertEqual(self.offered("--nats", "nats://here", "clu"), ["cluster"])

    @unittest.skipUnless(shutil.which("zsh"), "zsh is not installed")
    def test_zsh_offers_what_comes_next(self):
        script = run(TOOL, "completion", "zsh").out
        def offered(*words):
            line = " ".join(f"'{word}'" for word in ("catga", *words))
            done = subprocess.run(
                ["zsh", "-f", "-c", "compdef() { :; }; compadd() { shift; print -- $@; }\n" + script +
                 f"\nwords=({line}); CURRENT={len(words) + 1}; _catga"],
                capture_output=True, text=True, check=True)
            return done.stdout.split()
        self.assertIn("cluster", offered(""))
        self.assertIn("nodes", offered("cluster", "--json", ""))
        self.assertIn("--id", offered("entity", "call", "account/alice", ""))

    @unittest.skipUnless(shutil.which("fish"), "fish is not installed")
    def test_fish_offers_what_comes_next(self):
        script = run(TOOL, "completion", "fish").out
        def offered(line):
            done = subprocess.run(["fish", "--no-config", "-c", f"{script}\ncomplete -C '{line}'"],
                                  capture_output=True, text=True, check=True)
            return done.stdout.split()
        self.assertEqual(offered("catga clu"), ["cluster"])
        self.assertIn("nodes", offered("catga cluster --json n"))
        self.assertIn("--settled", offered("catga cluster check --s"))
        self.assertIn("--id", offered("catga entity call account/alice --i"))

    def test_the_other_shells_get_a_script_too(self):
        for shell in ("zsh", "fish"):
            script = run(TOOL, "completion", shell).out
            self.assertIn("rebalance plan", script)
            if shutil.which(shell):
                done = subprocess.run([shell, "-n"], input=script, text=True, check=False)
                self.assertEqual(done.returncode, 0, script)


class LocalCluster(unittest.TestCase):
    def test_up_without_its_servers_says_what_to_install(self):
        with tempfile.TemporaryDirectory() as empty:
            ran = run(TOOL, "up", "--nodes", "1", "--", "/bin/true", env={"PATH": empty})
        self.assertEqual(ran.code, 1, ran)
        self.assertIn("are nats-server and redis-server installed?", ran.err)

    def test_up_without_a_program_says_how(self):
        ran = run(TOOL, "up")
        self.assertEqual(ran.code, 2, ran)
        self.assertIn("PROGRAM", ran.err)


if __name__ == "__main__":
    unittest.main(verbosity=2)
