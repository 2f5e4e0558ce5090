#!/usr/bin/env python3
"""Backs Redis up and restores it as k8s/README.md says, with two nodes, and finds what must be there.

    k8s/tests/restore_run.py NODE_PROGRAM TOOL
Expected: after the restore what was acknowledged before the copy is there, what came later is not, and
the nodes go on; Redis writes its append-only file again. And the step that is easily forgotten matters:
a copy put beside `appendonly yes` is not read, and `cluster.create=false` keeps nodes from starting
on the empty Redis that comes of it.
"""
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile

import tools

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "tests" / "chaos"))
from processes import Process, Trouble, free_port, until  # pylint: disable=wrong-import-position
from servers import Nats, Redis, ask  # pylint: disable=wrong-import-position


class Restored(Redis):
    """A Redis that may be started with an append-only file or without."""
    appendonly = "yes"

    def command(self):
        return [*super().command(), "--appendonly", self.appendonly]

    def number(self, *words):
        """What it answers, a number such as ":17"."""
        return int(self.says(*words).strip().lstrip(":"))

    def info(self, field):
        return dict(line.split(":", 1) for line in self.says("INFO", "persistence").splitlines()
                    if ":" in line)[field]


class Cluster:
    def __init__(self, folder, node, tool):
        self.folder, self.node, self.tool, self.nodes = folder, node, tool, []
        self.nats = Nats("nats", folder, "127.0.0.1").start()
        self.redis = Restored("redis", folder, "127.0.0.1").start()
        self.flags = ["--nats-urls", f"nats://127.0.0.1:{self.nats.port}"]

    def start_nodes(self, *more):
        for name in ("one", "two"):
            port = free_port()
            process = Process(name, [
                self.node, *self.flags, "--redis-url", f"redis://127.0.0.1:{self.redis.port}/0", "--node-id", name,
                "--cluster-shards", "64", "--health-listen", f"127.0.0.1:{port}", "--admin-listen", "off", *more], self.folder / f"{name}.log")
            self.nodes.append((process, port))

    def wait_nodes(self):
        def ready():
            for process, _ in self.nodes:
                if not process.running():
                    raise Trouble(f"{process.name} ended:\n{process.tail()}")
            return all(" 200 " in ask("127.0.0.1", port, "GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n")
                       for _, port in self.nodes)
        until("both nodes are ready", ready, 60, every_s=0.1)

    def stop_nodes(self):
        for process, _ in self.nodes:
            if (code := process.terminate(60)) != 0:
                raise Trouble(f"{process.name} ended with {code}:\n{process.tail()}")
        self.nodes = []

    def deposit(self, account, cents):
        """The balance afterwards."""
        done = subprocess.run([self.tool, "--nats", self.flags[1], "entity", "call", f"account/{account}",
                               "Deposit", json.dumps({"cents": cents})], capture_output=True, text=True, check=False)
        if done.returncode:
            raise Trouble(f"{account}: {done.stdout}{done.stderr}")
        return json.loads(done.stdout)["cents"]

    def back_up(self):
        before = self.redis.number("LASTSAVE")
        self.redis.says("BGSAVE")
        until("the snapshot is written", lambda: self.redis.info("rdb_bgsave_in_progress").strip() == "0" and
              self.redis.number("LASTSAVE") >= before, 20)
        return shutil.copy(self.redis.folder / "dump.rdb", self.folder / "copy.rdb")

    def put_back(self, copy):
        """Redis has been stopped. Its own file would be read instead of the copy."""
        shutil.rmtree(self.redis.folder / "appendonlydir", ignore_errors=True)
        shutil.copy(copy, self.redis.folder / "dump.rdb")

    def restart_redis(self, appendonly):
        self.redis.appendonly = appendonly
        self.redis.start()

    def stop_redis(self):
        self.redis.process.terminate(20)

    def end(self):
        for process, _ in self.nodes:
            process.kill9()
        self.nats.kill9()
        self.redis.kill9()


def scenario(cluster, wrong):
    cluster.start_nodes()
    cluster.wait_nodes()
    for number in range(20):
        cluster.deposit(f"early-{number}", 100)
    copy = cluster.back_up()
    cluster.deposit("early-0", 50)
    cluster.deposit("late", 7)
    cluster.stop_nodes()
    cluster.stop_redis()

    # What happens without the step in between.
    cluster.put_back(copy)
    cluster.restart_redis("yes")
    if cluster.redis.number("DBSIZE") != 0:
        wrong.append("Redis reads the copy beside appendonly yes: the README may be simpler")
    cluster.start_nodes("--cluster-create", "false")
    for process, _ in cluster.nodes:
        if process.ended(30) != 78:
            wrong.append(f"a node started on an empty Redis:\n{process.tail()}")
    cluster.nodes = []
    cluster.stop_redis()

    # As the README says.
    cluster.put_back(copy)
    cluster.restart_redis("no")
    cluster.redis.says("CONFIG", "SET", "appendonly", "yes")
    until("the append-only file is written", lambda: cluster.redis.info("aof_rewrite_in_progress").strip() == "0"
          and cluster.redis.info("aof_rewrite_scheduled").strip() == "0"
          and cluster.redis.info("aof_last_bgrewrite_status").strip() == "ok", 20)
    cluster.stop_redis()
    cluster.restart_redis("yes")
    cluster.start_nodes("--cluster-create", "false")
    cluster.wait_nodes()
    for account, wanted in (*((f"early-{number}", 101) for number in range(20)), ("late", 1)):
        if (balance := cluster.deposit(account, 1)) != wanted:
            wrong.append(f"{account} has {balance} cents after the restore, not {wanted}")
    cluster.stop_nodes()


def main(arguments):
    if not shutil.which("redis-server") or not shutil.which("nats-server", path="/usr/bin:/usr/sbin:/usr/local/bin"):
        tools.skip("nats-server or redis-server is missing", "that a copy of Redis can be restored")
    wrong = []
    with tempfile.TemporaryDirectory() as name:
        cluster = Cluster(pathlib.Path(name), *(pathlib.Path(argument).resolve() for argument in arguments))
        try:
            scenario(cluster, wrong)
        except Trouble as trouble:
            wrong.append(str(trouble))
        finally:
            cluster.end()
    for what in wrong:
        print(f"FAILED: {what}", file=sys.stderr)
    print("failed" if wrong else "what was copied is there, and the cluster goes on")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
