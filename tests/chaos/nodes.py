"""Nodes and clients as processes, and the flags that lead them to their servers."""
import pathlib
import re
import signal
import subprocess
import time

from network import Direct
from processes import Process, Trouble, until
from servers import MASTER


def settings(ways, cluster="chaos"):
    """The flags that lead a node or a client to its servers."""
    flags = ["--cluster-name", cluster, "--nats-urls",
             ",".join(f"nats://{way}" for way in ways.nats)]
    if ways.sentinels:
        return flags + ["--redis-sentinels", ",".join(ways.sentinels),
                        "--redis-sentinel-master", MASTER]
    return flags + ["--redis-url", f"redis://{ways.redis[0]}/0"]


def knows_sentinel(node_binary):
    """Whether this build of the product has redis.sentinels."""
    words = subprocess.run([node_binary, "--help"], capture_output=True, text=True, check=False)
    return "--redis-sentinels" in words.stdout + words.stderr


class Nodes:
    """All nodes by name. The process of a node may end and start again, as the same node or, as a
    scheduler of containers would have it, under another id. Who is evicted often waits longer and
    longer before it gets shards again (protocol, Strikes); a new id waits for nothing."""

    READY = re.compile(r" is ready: ")

    def __init__(self, programs, folder, network, servers, shards, first_count):
        self.programs, self.folder, self.network, self.servers = programs, folder, network, servers
        self.shards, self.first_count = shards, first_count
        self.processes, self.links, self.expected_to_run = {}, {}, set()
        self.ids, self.ids_made = {}, 0

    def launch(self, name, new_id=False):
        self.ids.setdefault(name, name)
        if new_id:
            self.ids_made += 1
            self.ids[name] = f"{name}.{self.ids_made}"
        if name not in self.links:
            self.links[name] = self.network.links(name, self.servers)
        flags = ["--node-id", self.ids[name], "--log-format", "json",
                 "--health-listen", "off", "--admin-listen", "off",  # many nodes on one machine
                 "--cluster-shards", self.shards,
                 "--cluster-min-members", self.first_count, *settings(self.links[name])]
        if self.servers.full:
            flags += ["--redis-wait-replicas", 1]
        log = self.folder / f"{name}.log"
        begins = log.stat().st_size if log.exists() else 0
        command = [*self.links[name].command, self.programs / "catga-chaos-node", *flags]
        self.processes[name] = Process(name, command, log)
        self.processes[name].log_begins = begins
        self.expected_to_run.add(name)

    def wait_ready(self, name, patience_s=90):
        process = self.processes[name]

        def look():
            if not process.running():
                raise Trouble(f"{name} ended at its start:\n{process.tail()}")
            with open(process.log, "rb") as log:
                log.seek(process.log_begins)
                return self.READY.search(log.read().decode(errors="replace"))
        until(f"{name} is ready", look, patience_s)

    def start(self, name, new_id=False):
        self.launch(name, new_id)
        self.wait_ready(name)

    def kill9(self, name):
        self.expected_to_run.discard(name)
        self.processes[name].kill9()

    def leave(self, name, patience_s=90):
        """SIGTERM; gives the exit code."""
        self.expected_to_run.discard(name)
        return self.processes[name].terminate(patience_s)

    def running(self):
        return sorted(self.expected_to_run)

    def check(self):
        for name in self.running():
            if not self.processes[name].running():
                code = self.processes[name].process.returncode
                raise Trouble(f"node {name} ended by itself with code {code}:\n"
                              f"{self.processes[name].tail()}")

    def heal_all(self):
        for process in self.processes.values():
            if process.frozen:
                process.resume()
        for links in self.links.values():
            links.heal(("nats", "redis"))

    def stop(self):
        """Gives what went wrong at the end, in words."""
        wrong, names = [], self.running()
        for name in names:
            self.processes[name].signal(signal.SIGTERM)  # one each: a second would mean "at once"
        for name in names:
            self.expected_to_run.discard(name)
            code = self.processes[name].ended(60)
            if code != 0:
                wrong.append(f"node {name} ended with code {code} at the end of the test")
        return wrong


class Clients:
    """The load, and in the end the reading back."""

    def __init__(self, programs, folder, servers):
        self.programs, self.folder, self.servers, self.loads = programs, folder, servers, []

    def history(self):
        return sorted(pathlib.Path(self.folder).glob("history.*"))

    def start(self, count, rate, callers):
        for number in range(1, count + 1):
            command = [self.programs / "catga-chaos-client", "load",
                       "--history", self.folder / f"history.{number}", "--client", number,
                       "--callers", callers, "--rate", rate / count, "--log-level", "warn",
                       "--node-id", f"client{number}", *settings(Direct(self.servers))]
            self.loads.append(Process(f"client{number}", command,
                                      self.folder / f"client{number}.log"))

    def wait_ready(self):
        for load in self.loads:
            def look(load=load):
                if not load.running():
                    raise Trouble(f"{load.name} ended at its start:\n{load.tail()}")
                return "ready" in load.tail(1000).split()
            until(f"{load.name} has had an answer from every shard", look, 60)

    def check(self):
        for load in self.loads:
            if not load.running():
                raise Trouble(f"{load.name} ended by itself:\n{load.tail()}")

    def stop(self):
        """Gives what went wrong, in words."""
        for load in self.loads:
            load.signal(signal.SIGTERM)
        wrong = []
        for load in self.loads:
            code = load.ended(40)
            if code != 0:
                wrong.append(f"{load.name} ended with code {code}: {load.tail(3)}")
        self.loads = []
        return wrong

    def read_back(self, accounts):
        """Writes what is stored now to history.final. Gives what went wrong, in words."""
        (self.folder / "history.final").unlink(missing_ok=True)
        names = self.folder / "accounts"
        names.write_text("".join(name + "\n" for name in accounts))
        command = [self.programs / "catga-chaos-client", "read", "--history",
                   self.folder / "history.final", "--accounts", names, "--log-level", "warn",
                   "--node-id", "reader", *settings(Direct(self.servers))]
        reader = Process("reader", command, self.folder / "reader.log")
        until("all logs are read back", lambda: not reader.running(), 120)
        if reader.process.returncode != 0:
            return [f"logs could not be read back: {reader.tail(5)}"]
        return []


def timestamp_us():
    return time.monotonic_ns() // 1000
