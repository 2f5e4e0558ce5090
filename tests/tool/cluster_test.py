#!/usr/bin/env python3
"""Every command of the tool against a cluster that `catga up` started.

Usage: cluster_test.py path-of-catga path-of-the-account-node path-of-the-shop-node golden.json
CATGA_WRITE_GOLDEN=1 writes the shapes of the JSON answers anew instead of comparing them.
"""
import json
import os
import pathlib
import re
import shutil
import signal
import sys
import tempfile
import time
import unittest

from running import Terminal, Up, publish, run, until

TOOL, ACCOUNT_NODE, SHOP_NODE, GOLDEN = sys.argv[1:5]
sys.argv[1:] = []
PATH = os.environ.get("PATH", "") + ":/usr/sbin"
SERVERS = all(shutil.which(name, path=PATH) for name in ("nats-server", "redis-server"))


def shape(value):
    """Which fields there are, and of which type: what others may rely on."""
    if isinstance(value, dict):
        return {key: shape(one) for key, one in sorted(value.items())}
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    if value is None:
        return "null"
    return {bool: "bool", int: "number", float: "number", str: "text"}[type(value)]


@unittest.skipUnless(SERVERS, "nats-server or redis-server is not installed")
class Cluster(unittest.TestCase):
    """In the order of their names: the last ones take nodes away."""

    @classmethod
    def setUpClass(cls):
        cls.holder = tempfile.TemporaryDirectory()
        cls.folder = pathlib.Path(cls.holder.name)
        cls.up = Up(TOOL, cls.folder, "--nodes", "3", "--", ACCOUNT_NODE, "--cluster-shards", "64",
                    "--node-region", "eu-west-1", "--node-zone", "eu-west-1a")
        cls.url = cls.up.wait_for(r"NATS at (nats://\S+),")[1]
        cls.up.wait_for("ready: 3 nodes up, all shards served")

    @classmethod
    def tearDownClass(cls):
        code = cls.up.stop()
        left = [pid for pid, _ in getattr(cls, "pids", []) if pathlib.Path(f"/proc/{pid}").exists()]
        text = cls.up.text()
        cls.holder.cleanup()
        assert code == 0, f"catga up ended with {code}:\n{text}"
        assert "everything is down" in text, text
        assert not left, f"still there: {left}\n{text}"

    def catga(self, *words, code=0, **rest):
        ran = run(TOOL, "--nats", self.url, *words, **rest)
        self.assertEqual(ran.code, code, f"catga {' '.join(words)}: {ran}")
        return ran

    def data(self, *words, **rest):
        return json.loads(self.catga(*words, "--json", **rest).out)["data"]

    def test_01_up_prefixes_every_line_and_says_where_everything_is(self):
        type(self).pids = self.up.children()
        names = sorted(name for _, name in self.pids)
        self.assertEqual(len(names), 5, names)
        for line in self.up.text().splitlines():
            self.assertRegex(line, r"^(catga  |node-[123] )\|")
        self.assertIn(f"export CATGA_NATS_URLS={self.url}", self.up.text())

    def test_02_cluster(self):
        self.assertIn("64 of 64 served", self.catga("cluster", "info").out)
        nodes = self.catga("cluster", "nodes").out
        for name in ("node-1", "node-2", "node-3"):
            self.assertRegex(nodes, rf"(?m)^{name} +UP .* eu-west-1/eu-west-1a$")
        check = self.catga("cluster", "check", "--expect-nodes", "3", "--settled", "--wait", "10")
        self.assertIn("fine", check.out)
        self.assertIn("3 nodes are up, not 4",
                      self.catga("cluster", "check", "--expect-nodes", "4", code=1).out)
        away = self.catga("cluster", "info", "--cluster", "another", code=69)
        self.assertIn("no node of cluster another", away.err)

    def test_03_entities_are_called_and_found(self):
        reply = self.catga("entity", "call", "account/alice", "Deposit", '{"cents":500}')
        self.assertEqual(json.loads(reply.out)["cents"], 500)
        again = [json.loads(self.catga("entity", "call", "account/bob", "Deposit", "-", "--id", "once",
                                       stdin='{"cents":7}').out)["cents"] for _ in range(2)]
        self.assertEqual(again, [7, 7])
        self.assertIn("rejected", self.catga("entity", "call", "account/alice", "Withdraw",
                                             '{"cents":501}', code=1).err)
        self.assertIn("not_found", self.catga("entity", "call", "acount/alice", "Deposit", "{}",
                                              code=1).err)
        odd = self.catga("entity", "call", 'account/a/b "<c>', "Deposit", '{"cents":1}')
        self.assertEqual(json.loads(odd.out)["cents"], 1)
        shown = self.data("entity", "show", "account/alice")["entity"]
        self.assertTrue(shown["active"])
        located = self.catga("entity", "locate", "account/never-used").out
        self.assertRegex(located, r"^shard \d+ at node-\d, epoch \d+\n$")
        self.assertIn("there are: account", self.catga("entity", "locate", "acount/alice", code=1).err)
        self.assertIn("account/alice", self.catga("entity", "list", "account").out)
        self.assertEqual(len(self.data("entity", "list", "--limit", "1")["entities"]), 1)
        kinds = self.data("entity", "kinds")["kinds"]
        self.assertEqual([kind["name"] for kind in kinds], ["account"])
        self.catga("entity", "passivate", "account/alice", "--yes")
        until("the account has left memory",
              lambda: not self.data("entity", "show", "account/alice")["entity"]["active"], 10)

    def test_04_shards(self):
        shards = self.data("shard", "list")["shards"]
        self.assertEqual([shard["id"] for shard in shards], list(range(64)))
        self.assertEqual({shard["state"] for shard in shards}, {"owned"})
        of_one = self.data("shard", "list", "--node", "node-2")["shards"]
        self.assertEqual(of_one, [s for s in self.data("shard", "list")["shards"]
                                  if s["node"] == "node-2"])
        self.assertIn("owned at node-", self.catga("shard", "show", "5").out)
        self.assertIn("they are 0 to 63", self.catga("shard", "show", "64", code=1).err)

    def test_05_rebalances(self):
        self.assertIn("node_joined", self.catga("rebalance", "status").out)
        plan = self.data("rebalance", "plan", "--without", "node-3")
        after = {node["id"]: node["after"] for node in plan["nodes"]}
        self.assertEqual(after["node-3"], 0)
        self.assertEqual(sum(after.values()), 64)
        self.assertIn("no node node-9", self.catga("rebalance", "plan", "--without", "node-9",
                                                   code=1).err)

    def test_06_sagas_of_a_cluster_without_any(self):
        self.assertEqual(self.data("saga", "list")["sagas"], [])
        self.assertIn("not_found", self.catga("saga", "show", "17", code=1).err)
        self.assertIn("--reason is required", self.catga("saga", "retry", "17", code=2).err)
        self.assertIn("say so with --yes", self.catga("saga", "retry", "17", "--reason", "x", code=2).err)
        self.catga("saga", "retry", "17", "--reason", "x", "--yes", code=1)

    def test_06_dead_letters_of_a_cluster_without_any(self):
        self.assertEqual(self.data("deadletter", "list")["sequences"], [])
        self.assertEqual(self.data("deadletter", "show", "account/alice")["letters"], [])
        self.assertIn("say so with --yes", self.catga("deadletter", "retry", "account/alice", code=2).err)
        self.assertIn("0 done", self.catga("deadletter", "retry", "account/alice", "--yes").out)
        self.assertIn("is parked", self.catga("deadletter", "discard", "account/alice", "--yes", code=1).err)
        self.assertIn("nobody", self.catga("deadletter", "show", "account/alice", "--subscription", "mailer",
                                           code=1).err)

    def test_07_settings_and_log_level_of_a_node(self):
        shown = self.data("config", "show", "--node", "node-2")
        by_key = {one["key"]: one for one in shown["settings"]}
        self.assertEqual(by_key["node.id"]["value"], "node-2")
        self.assertEqual(by_key["node.id"]["source"], "env CATGA_NODE_ID")
        self.assertEqual(by_key["cluster.shards"]["source"], "flag --cluster-shards")
        self.assertEqual(by_key["ask.timeout"]["source"], "default")
        for deed in (("node", "log-level", "node-2", "debug"), ("node", "drain", "node-2"),
                     ("entity", "passivate", "account/bob"), ("entity", "trace", "account/bob"),
                     ("entity", "call", "account/bob", "Deposit", '{"cents":1}')):
            with self.subTest(deed):
                before = self.data("entity", "call", "account/bob", "GetBalance", "{}")
                would = self.catga(*deed, "--dry-run")
                self.assertRegex(would.err, "nothing was (changed|sent)")
                self.assertEqual(would.out, "")
                self.assertEqual(self.data("entity", "call", "account/bob", "GetBalance", "{}"), before)
        self.assertNotIn("LEAVING", self.catga("cluster", "nodes").out)
        self.assertIn("sends no traces", self.catga("entity", "trace", "account/bob", "--yes", code=1).err)
        self.catga("node", "log-level", "node-2", "debug", "--yes")
        self.assertIn("is none of", self.catga("node", "log-level", "node-2", "loud", "--yes",
                                               code=1).err)
        self.assertIn("is fine", self.catga("node", "health", "node-1").out)
        self.assertIn("there are: node-1", self.catga("node", "health", "node-7", code=1).err)

    def test_08_bench(self):
        result = self.data("bench", "account", "Deposit", '{"cents":1}', "--seconds", "1",
                           "--keys", "50", "--in-flight", "16")
        self.assertEqual(result["errors"], 0, result)
        self.assertGreater(result["asks_per_s"], 50)
        self.assertGreater(result["p99_ms"], 0)
        self.assertIn("not_found", self.catga("bench", "nothing", "Deposit", "--seconds", "0.2",
                                              code=1).out)
        hot = self.data("entity", "hot")
        self.assertTrue(hot["entities"], hot)

    def test_09_json_keeps_its_shape(self):
        commands = ["cluster info", "cluster nodes", "cluster check", "node show node-1",
                    "node health node-1", "shard list", "shard show 5", "entity show account/bob",
                    "entity list account", "entity kinds", "entity hot", "rebalance status",
                    "rebalance plan --without node-1", "saga list", "config show"]

        def busy():  # rates are differences of counts, so somebody must have counted before
            self.catga("entity", "call", "account/bob", "Deposit", '{"cents":1}')
            return self.data("entity", "hot")["shards"]
        until("a shard is busy", busy, 20, every_s=0.3)
        shapes = {command: shape(json.loads(self.catga(*command.split(), "--json").out))
                  for command in commands}
        golden = pathlib.Path(GOLDEN)
        if os.environ.get("CATGA_WRITE_GOLDEN"):
            golden.write_text(json.dumps(shapes, indent=1) + "\n")
        self.maxDiff = None
        self.assertEqual(json.loads(golden.read_text()), shapes)

    @unittest.skipUnless(shutil.which("tmux"), "tmux is not installed")
    def test_10_top_lives_in_a_terminal_and_ends_with_q(self):
        terminal = Terminal(self.folder, "top", TOOL, "--nats", self.url, "top")
        try:
            until("top shows three nodes",
                  lambda: all(f"node-{i}" in terminal.screen() for i in (1, 2, 3)), 10)
            self.assertRegex(terminal.screen(), r"shards 64/64 settled")
            before = re.findall(r"UP +\d+/\d+ .*?(\d+[ms].*)", terminal.screen())
            until("its numbers change",
                  lambda: re.findall(r"UP +\d+/\d+ .*?(\d+[ms].*)", terminal.screen()) != before, 10)
            terminal.press("q")
            until("it ends", lambda: terminal.ended() == "0", 5)
        finally:
            terminal.close()

    @unittest.skipUnless(shutil.which("tmux"), "tmux is not installed")
    def test_11_events_are_followed_live(self):
        def event(name, node, message, **more):
            return {"timestamp": "2026-03-01T12:00:00.101234Z", "severity": "WARN", "event.name": name,
                    "catga.node.id": node, "message": message, "catga.event.id": "1-1", **more}
        batch = json.dumps([event("catga.node.left", "node-1", "node node-7 is gone",
                                  **{"catga.peer.id": "node-7", "votes": 2}),
                            event("catga.saga.stuck", "node-1", "not asked for")])
        terminal = Terminal(self.folder, "follow", TOOL, "--nats", self.url, "events", "--follow",
                            "--name", "catga.node.*")
        try:
            def told():
                publish(self.url, "catga.catga.events", batch)  # until it has subscribed
                return "node node-7 is gone" in terminal.screen()
            until("the event is on the screen", told, 15, every_s=0.2)
            self.assertRegex(terminal.screen(), r"12:00:00.101  node.left +node-1  node node-7 is gone "
                                                r".*peer.id=node-7 votes=2")
            self.assertNotIn("not asked for", terminal.screen())
            terminal.press("C-c")
            until("it ends", lambda: terminal.ended() == "0", 5)
        finally:
            terminal.close()

    @unittest.skipUnless(shutil.which("tmux"), "tmux is not installed")
    def test_12_a_drain_and_a_kill_are_seen(self):
        top = Terminal(self.folder, "top", TOOL, "--nats", self.url, "top")
        events = Terminal(self.folder, "events", TOOL, "--nats", self.url, "events", "--follow",
                          "--name", "catga.node.*")
        try:
            until("top lives", lambda: "node-3" in top.screen(), 10)
            drained = self.catga("node", "drain", "node-3", "--wait", "--yes", timeout=60)
            self.assertIn("it can be stopped", drained.out)
            self.assertEqual(self.data("shard", "list", "--node", "node-3")["shards"], [])
            until("top shows the drained node", lambda: re.search(
                r"node-3 +LEAVING +0/0", top.screen()), 15)
            reply = self.catga("entity", "call", "account/bob", "Deposit", '{"cents":1}')
            self.assertGreater(json.loads(reply.out)["cents"], 0)
            victim = next(pid for pid, _ in self.up.children() if self.name_of(pid) == "node-2")
            os.kill(victim, signal.SIGKILL)
            self.up.wait_for(r"node-2 was killed by signal 9", 10)
            until("the check fails", lambda: run(
                TOOL, "--nats", self.url, "cluster", "check", "--expect-nodes", "2").code == 1, 10)
            until("top tells of it", lambda: not re.search(r"(?m)^node-2 +UP", top.screen()), 15)
            until("the events tell of it", lambda: re.search(
                r"node\.left +node-\d  node node-2 ", events.screen()), 15)
            self.catga("cluster", "check", "--expect-nodes", "1", "--wait", "20", timeout=40)
            moved = self.data("rebalance", "status")["rebalances"]
            self.assertIn("node_left", [one["reason"] for one in moved])
            history = self.data("shard", "list")["shards"]
            self.assertEqual({shard["node"] for shard in history}, {"node-1"})
        finally:
            top.close()
            events.close()

    @staticmethod
    def name_of(pid):
        environment = pathlib.Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        found = [line for line in environment if line.startswith(b"CATGA_NODE_ID=")]
        return found[0].split(b"=")[1].decode() if found else ""


@unittest.skipUnless(SERVERS, "nats-server or redis-server is not installed")
class StuckSagas(unittest.TestCase):
    """A parcel is stuck behind its pivot while its depot is closed."""

    @classmethod
    def setUpClass(cls):
        cls.holder = tempfile.TemporaryDirectory()
        cls.up = Up(TOOL, pathlib.Path(cls.holder.name), "--nodes", "2", "--", SHOP_NODE,
                    "--cluster-shards", "32")
        cls.url = cls.up.wait_for(r"NATS at (nats://\S+),")[1]
        cls.up.wait_for("ready: 2 nodes up")

    @classmethod
    def tearDownClass(cls):
        code, text = cls.up.stop(), cls.up.text()
        cls.holder.cleanup()
        assert code == 0, text

    def catga(self, *words, code=0):
        ran = run(TOOL, "--nats", self.url, *words)
        self.assertEqual(ran.code, code, f"catga {' '.join(words)}: {ran}")
        return ran

    def stuck(self, order, depot):
        self.catga("entity", "call", "clerk/1", "Order", json.dumps({"id": order, "depot": depot}))
        until(f"{order} is stuck", lambda: self.saga(order)["status"] == "parked", 30)

    def saga(self, order):
        return json.loads(self.catga("saga", "show", order, "--json").out)["data"]["saga"]

    def test_a_stuck_saga_is_listed_shown_and_retried(self):
        self.stuck("eu/17", "north")  # an id may have a slash
        self.assertRegex(self.catga("saga", "list", "--status", "stuck").out, r"parcel/eu/17 +parked +forward_stuck")
        shown = self.catga("saga", "show", "eu/17").out
        self.assertIn("forward_stuck at step post", shown)
        self.assertIn("the depot is closed", shown)
        self.catga("entity", "call", "depot/north", "Open")
        would = self.catga("saga", "retry", "eu/17", "--reason", "it is open now", "--dry-run")
        self.assertIn("would retry saga eu/17", would.err)
        self.assertEqual(self.saga("eu/17")["status"], "parked")
        self.catga("saga", "retry", "eu/17", "--reason", "it is open now", "--yes")
        until("it is completed", lambda: self.saga("eu/17")["status"] == "completed", 20)
        self.assertIn("it is open now", self.catga("saga", "show", "eu/17").out)
        self.assertIn("eu/17", self.catga("saga", "list", "--status", "completed").out)

    def test_a_stuck_step_is_taken_as_done_or_the_saga_stopped(self):
        self.stuck("18", "south")
        self.stuck("19", "south")
        self.assertIn("only an undo can be skipped", self.catga(
            "saga", "skip", "18", "--reason", "x", "--yes", code=1).err)
        self.catga("saga", "force", "18", "--reason", "brought by hand", "--payload", "{}", "--yes")
        until("18 is completed", lambda: self.saga("18")["status"] == "completed", 20)
        self.assertIn("rejected", self.catga("saga", "cancel", "19", "--reason", "x", "--yes", code=1).err)
        self.catga("saga", "abort", "19", "--reason", "lost in the sea", "--yes", "--type", "parcel")
        until("19 is aborted", lambda: self.saga("19")["status"] == "aborted", 20)


@unittest.skipUnless(SERVERS, "nats-server or redis-server is not installed")
class Down(unittest.TestCase):
    def test_a_node_that_cannot_start_is_reported_with_its_code(self):
        with tempfile.TemporaryDirectory() as folder:
            up = Up(TOOL, pathlib.Path(folder), "--nodes", "1", "--", ACCOUNT_NODE, "--no-such-flag")
            self.assertEqual(up.process.wait(30), 1)
            self.assertIn("node-1 ended with code 2 (wrong usage)", up.text())
            self.assertIn("all nodes have ended", up.text())
            self.assertEqual(os.listdir(folder), ["up.log"])

    def test_a_program_that_is_not_there_is_named(self):
        with tempfile.TemporaryDirectory() as folder:
            up = Up(TOOL, pathlib.Path(folder), "--nodes", "1", "--", "./no_such_program")
            self.assertEqual(up.process.wait(30), 1)
            self.assertIn("cannot run ./no_such_program", up.text())

    def test_a_second_ctrl_c_does_not_wait(self):
        with tempfile.TemporaryDirectory() as folder:
            up = Up(TOOL, pathlib.Path(folder), "--nodes", "1", "--", "sh", "-c",
                    "trap '' TERM; while :; do sleep 0.1; done")
            up.wait_for("in another terminal")
            pids = [pid for pid, _ in up.children()]
            self.assertEqual(up.stop(signals=2, patience_s=20), 1, up.text())
            self.assertIn("node-1 was killed by signal 9", up.text())
            self.assertFalse([pid for pid in pids if pathlib.Path(f"/proc/{pid}").exists()])


if __name__ == "__main__":
    unittest.main(verbosity=2)
