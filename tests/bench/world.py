"""Servers, nodes and programs of the benchmark: one set per stage, in a folder of its own."""
import json
import os
import pathlib
import re
import signal
import socket
import threading
import time
import urllib.request

from processes import Process, Trouble, free_port, until
from servers import Nats, Redis, program

HOST = "127.0.0.1"
CLUSTER = "bench"


class WatchedNats(Nats):
    """With its monitoring port, where the server says how many messages it has got."""

    def __init__(self, folder):
        super().__init__("nats", folder, HOST)
        self.monitor = free_port()

    def command(self):
        return [*super().command(), "-m", self.monitor]

    def messages(self):
        with urllib.request.urlopen(f"http://{HOST}:{self.monitor}/varz", timeout=5) as answer:
            return json.load(answer)["in_msgs"]


class BenchRedis(Redis):
    def __init__(self, folder):
        # A rewrite of the file in the middle of a round would be measured with it.
        super().__init__("redis", folder, HOST, more=("--auto-aof-rewrite-percentage", "0"))

    def fsync(self, when):
        if not self.says("CONFIG", "SET", "appendfsync", when).startswith("+OK"):
            raise Trouble(f"Redis refuses appendfsync {when}")

    def dataset_bytes(self):
        """What its keys take, without what connections and its log do."""
        return int(re.search(r"used_memory_dataset:(\d+)", self.says("INFO", "memory"))[1])


class Driven:
    """A program that is told what to measure, a line at a time (conversation.hpp)."""

    def __init__(self, name, command, log, cpus=()):
        pinned = ["taskset", "-c", ",".join(map(str, cpus))] if cpus else []
        self.name, self.log = name, pathlib.Path(log)
        self.process = Process(name, [*pinned, *command], log, pipes=True)
        self.about = self._answer(90)

    @property
    def pid(self):
        return self.process.pid

    def ask(self, *words, patience_s=240):
        """The figures that the program answers. Raises Trouble if it says what is wrong."""
        try:
            self.process.process.stdin.write(" ".join(map(str, words)) + "\n")
            self.process.process.stdin.flush()
        except OSError as trouble:
            raise Trouble(f"{self.name} has ended:\n{self._last_words()}") from trouble
        return self._answer(patience_s)

    def _answer(self, patience_s):
        silence = threading.Timer(patience_s, self.process.kill9)
        silence.start()
        try:
            for line in self.process.process.stdout:
                if line.startswith("= "):
                    figures = json.loads(line[2:])
                    if "trouble" in figures:
                        raise Trouble(f"{self.name}: {figures['trouble']}")
                    return figures
                with open(self.log, "a") as log:
                    log.write(line)
        finally:
            silence.cancel()
        raise Trouble(f"{self.name} ended without an answer:\n{self._last_words()}")

    def _last_words(self):
        return self.process.tail()

    def resident_bytes(self):
        return resident_bytes(self.pid)

    def kill9(self):
        self.process.kill9()


def resident_bytes(pid):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise Trouble(f"process {pid} has ended")


class NodeProcess(Process):
    """A node process and its log. Each line is read once: reading, too, takes processor time."""

    READY = re.compile(r" is ready: ")

    def __init__(self, *arguments, **more):
        super().__init__(*arguments, **more)
        self.offset, self.is_ready, self.found = 0, False, {}

    def _read_on(self):
        with open(self.log, "rb") as log:
            log.seek(self.offset)
            fresh = log.read()
        whole = fresh[:fresh.rfind(b"\n") + 1]  # the last line may still be written
        self.offset += len(whole)
        for line in whole.decode(errors="replace").splitlines():
            self.is_ready = self.is_ready or bool(self.READY.search(line))
            if '"event.name"' in line:
                event = json.loads(line)
                self.found.setdefault(event["event.name"], []).append(event)

    def ready(self):
        if not self.running():
            raise Trouble(f"{self.name} ended at its start:\n{self.tail()}")
        self._read_on()
        return self.is_ready

    def events(self, name):
        """All lines with this event name, so far."""
        self._read_on()
        return self.found.get(name, [])


class World:
    """One NATS, one Redis, and what a stage starts beside them."""

    def __init__(self, programs, folder, cpus=()):
        self.programs, self.folder, self.cpus = programs, folder, cpus
        self.nats, self.redis, self.others = None, None, []

    def __enter__(self):
        self.folder.mkdir(parents=True)
        try:
            self.nats = WatchedNats(self.folder).start()
            self.redis = BenchRedis(self.folder).start()
            for server in (self.nats, self.redis):
                self._pin(server.process.pid)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for process in self.others:
            process.kill9()
        for server in (self.redis, self.nats):
            if server and server.process:
                server.kill9()

    def _pin(self, pid):
        if self.cpus:
            for thread in pathlib.Path(f"/proc/{pid}/task").iterdir():
                os.sched_setaffinity(int(thread.name), self.cpus)

    def settings(self, name, cluster=CLUSTER, shards=1024, level="warn", more=()):
        return ["--cluster-name", cluster, "--cluster-shards", shards, "--node-id", name,
                "--nats-urls", f"nats://{HOST}:{self.nats.port}",
                "--redis-url", f"redis://{HOST}:{self.redis.port}/0",
                "--health-listen", "off", "--admin-listen", "off",  # several on one machine
                "--log-format", "json", "--log-level", level, *more]

    def driven(self, name, role, *arguments):
        made = Driven(name, [self.programs / f"catga-bench-{role}", *arguments],
                      self.folder / f"{name}.log", self.cpus)
        self.others.append(made)
        return made

    def local(self, more=()):
        """A node in the process of its callers. Its entities stay in memory."""
        return self.driven("local", "local",
                           *self.settings("local", more=["--entity-idle-timeout", "3600s", *more]))

    def caller(self, cluster=CLUSTER, name="caller"):
        return self.driven(name, "caller", *self.settings(name, cluster))

    def caf_ceiling(self):
        return self.driven("caf", "caf-ceiling")

    def nats_ceiling(self):
        url = f"nats://{HOST}:{self.nats.port}"
        self.driven("nats-echo", "nats-ceiling", url, "echo")
        return self.driven("nats-ask", "nats-ceiling", url, "ask")

    def redis_ceiling(self):
        return self.driven("redis-commit", "redis-ceiling", HOST, self.redis.port)

    def launch(self, name, cluster=CLUSTER, shards=1024, members=1, more=(), pipes=False):
        pinned = ["taskset", "-c", ",".join(map(str, self.cpus))] if self.cpus else []
        command = [*pinned, self.programs / "catga-bench-node",
                   *self.settings(name, cluster, shards, "info,handoff=debug",
                                  ["--cluster-min-members", members, *more])]
        node = NodeProcess(name, command, self.folder / f"{cluster}-{name}.log", pipes=pipes)
        self.others.append(node)
        return node

    def nodes(self, names, cluster=CLUSTER, shards=1024, more=()):
        """So many nodes, ready and with their shards."""
        started = [self.launch(name, cluster, shards, len(names), more) for name in names]
        for node in started:
            until(f"{node.name} is ready", node.ready, 60)
        return started


def terminate_all(processes, patience_s=60):
    for process in processes:
        process.signal(signal.SIGTERM)
    for process in processes:
        if process.ended(patience_s) != 0:
            raise Trouble(f"{process.name} did not end well:\n{process.tail()}")
