"""The order system as processes: NATS, Redis, services, APIs, notifications, and callers."""
import collections
import http.client
import json
import pathlib
import random
import re
import signal
import socket
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "tests" / "chaos"))
import network
from network import Direct
from nodes import settings
from processes import Process, Trouble, until
from servers import Servers

CLUSTER, SHARDS = "orders", 64
# All processes say the same about the stream of events, for any of them may be the one that makes
# it. Events in the hands of an instance that died come again after ack-wait.
COMMON = ("--log-format", "json", "--log-level", "info", "--events-replicas", 3,
          "--events-ack-wait", "5s")


def quiet_port():
    """Below those that connections get by themselves: one left for a while is still free."""
    while True:
        port = random.randrange(20_000, 30_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue


class Instance:
    """One process of the system, which may end and start again under its name."""

    def __init__(self, name, command, log, ready):
        self.name, self.command, self.log, self.ready = name, command, log, ready
        self.process, self.log_begins = None, 0

    def launch(self):
        self.log_begins = self.log.stat().st_size if self.log.exists() else 0
        self.process = Process(self.name, self.command, self.log)

    def wait_ready(self):
        def look():
            if not self.process.running():
                raise Trouble(f"{self.name} ended at its start:\n{self.process.tail()}")
            return self.ready(self)
        until(f"{self.name} is ready", look, 60)

    def start(self):
        self.launch()
        self.wait_ready()

    def says(self, pattern):
        with open(self.log, "rb") as log:
            log.seek(self.log_begins)
            return re.search(pattern, log.read().decode(errors="replace"))


class System:
    def __init__(self, programs, folder, cut_by):
        self.programs, self.folder = programs, folder
        self.network = self._network(cut_by)
        self.servers = Servers(folder, True, True, self.network.nats_host, self.network.redis_host,
                               jetstream=True, down_after_ms=1000)
        self.services, self.apis, self.notifications = [], [], []
        self.links, self.loads = {}, []

    def _network(self, cut_by):
        possible = network.namespaces_possible()
        if cut_by == "namespaces" and not possible:
            raise Trouble("--cut-by namespaces needs root, ip, tc, nsenter and a kernel with veth")
        if possible and cut_by != "proxy":
            return network.NamespaceNetwork()
        return network.ProxyNetwork(self.programs, self.folder)

    # ---- who there is ----

    def prepare(self):
        self.servers.start()
        for i in (1, 2, 3):
            self.services.append(self._service(f"service-{i}"))
        for i in (1, 2, 3):
            self.apis.append(self._door(f"api-{i}", "catga-order-api"))
        for i in (1, 2):
            name = f"notify-{i}"
            self.notifications.append(self._door(name, "catga-notification-service",
                                                 "--board", self.board(name)))

    def board(self, name):
        return self.folder / f"{name}.board"

    def _service(self, name):
        self.links[name] = links = self.network.links(name, self.servers)
        command = [*links.command, self.programs / "catga-order-service", "--node-id", name,
                   "--cluster-shards", SHARDS, "--redis-wait-replicas", 1, *COMMON,
                   *settings(links, CLUSTER)]
        return Instance(name, command, self.folder / f"{name}.log",
                        lambda instance: instance.says(" is ready: "))

    def _door(self, name, program, *more):
        port = quiet_port()
        command = [self.programs / program, "--listen", f"127.0.0.1:{port}", "--node-id", name,
                   *more, *COMMON, *settings(Direct(self.servers), CLUSTER)]

        def ready(instance):
            return self.ask(instance, "GET", "/health/ready")[0] == 200
        instance = Instance(name, command, self.folder / f"{name}.log", ready)
        instance.port = port
        return instance

    def all(self):
        return [*self.apis, *self.notifications, *self.services]

    def check(self, missing=()):
        """Nobody has ended by itself."""
        for instance in self.all():
            if instance.process and instance not in missing and not instance.process.running():
                raise Trouble(f"{instance.name} ended by itself with code "
                              f"{instance.process.process.returncode}:\n{instance.process.tail()}")
        self.servers.check()

    # ---- asking ----

    @staticmethod
    def ask(instance, method, path, body=None, key=None, patience_s=15):
        """(status, answer) of one request; (0, None) without an answer. Text is sent as it is."""
        text = body if isinstance(body, str) or body is None else json.dumps(body)
        connection = http.client.HTTPConnection("127.0.0.1", instance.port, timeout=patience_s)
        try:
            connection.request(method, path, text, {"Idempotency-Key": key} if key else {})
            response = connection.getresponse()
            return response.status, json.loads(response.read())
        except (OSError, http.client.HTTPException, ValueError):
            return 0, None
        finally:
            connection.close()

    def must(self, method, path, body=None, good=(200,)):
        """Asks one instance after the other until there is an answer."""
        answers = []

        def look():
            status, answer = self.ask(self.apis[len(answers) % len(self.apis)], method, path, body)
            answers.append((status, answer))
            return answers[-1] if status in good else None
        try:
            return until(f"{method} {path} is answered", look, 60, every_s=0.05)
        except Trouble as trouble:
            raise Trouble(f"{trouble}; the last answer: {answers[-1]}") from None

    # ---- load ----

    def load(self, history, orders, callers, rate=0.0, until_told=False, seed=1):
        command = [self.programs / "catga-orders-load", "--history", history, "--orders", orders,
                   "--apis", ",".join(f"127.0.0.1:{api.port}" for api in self.apis),
                   "--callers", callers, "--rate", rate, "--run", history.stem, "--seed", seed]
        if until_told:
            command.append("--until-told")
        load = Process("load", command, self.folder / "load.log")
        self.loads.append(load)
        return load

    # ---- members and owners, as Redis has them ----

    def shards_of(self, name):
        primary = self.servers.primary()
        words = primary.says("HGETALL", f"{{{CLUSTER}}}:m").split("\r\n")
        lives = {life for life, row in zip(words[2::4], words[4::4])
                 if " " in row and row.split(" ")[1] == name}
        owners = [primary.says("HGET", f"{{{CLUSTER}:{shard}}}:o", "n").split("\r\n")
                  for shard in range(SHARDS)]
        return sum(1 for words in owners if len(words) > 1 and words[1] in lives)

    def busiest_nats(self):
        """The NATS server with most connections, as the kernel counts them."""
        ends = collections.Counter()
        for line in pathlib.Path("/proc/self/net/tcp").read_text(encoding="ascii").splitlines()[1:]:
            here, state = line.split()[1], line.split()[3]
            ends[int(here.split(":")[1], 16)] += state == "01"
        return max(self.servers.nats, key=lambda server: ends[server.port])

    # ---- the end ----

    def stop(self):
        """In order, as a system should: doors first. Gives what went wrong, in words."""
        wrong = []
        for group in (self.apis, self.notifications, self.services):
            running = [one for one in group if one.process and one.process.running()]
            for instance in running:
                instance.process.signal(signal.SIGTERM)
            for instance in running:
                code = instance.process.ended(60)
                if code != 0:
                    wrong.append(f"{instance.name} ended with code {code} after SIGTERM")
        return wrong

    def kill_all(self):
        processes = [*self.loads, *(one.process for one in self.all() if one.process),
                     *(server.process for server in self.servers.all() if server.process),
                     *self.network.processes()]
        for process in processes:
            if process.running():
                process.kill9()
