"""NATS, Redis and Redis Sentinel as processes on free loopback ports."""
import shutil
import socket

from processes import Process, Trouble, free_port, until

MASTER = "catga"  # the name under which Sentinel watches the primary
# A primary that Sentinel has replaced, and that does not know it yet, soon refuses everything:
# without this two primaries would be writable, and no promise could hold (protocol, Limits).
NO_SPLIT_BRAIN = ("--min-replicas-to-write", "1", "--min-replicas-max-lag", "3")


def program(name):
    found = shutil.which(name, path="/usr/local/bin:/usr/bin:/bin:/usr/sbin:/usr/local/sbin")
    if not found:
        raise Trouble(f"{name} is not installed")
    return found


def ask(host, port, greeting, patience_s=0.5):
    """The first bytes a server answers, or an empty text."""
    try:
        with socket.create_connection((host, port), patience_s) as connection:
            connection.settimeout(patience_s)
            if greeting:
                connection.sendall(greeting.encode())
            return connection.recv(4096).decode(errors="replace")
    except OSError:
        return ""


class Server:
    """A server on a port of its own that can be killed and started again there."""

    def __init__(self, name, folder, host):
        self.name, self.folder, self.process = name, folder / name, None
        self.host, self.port = host, free_port()
        self.folder.mkdir()

    def command(self):
        raise NotImplementedError

    def ready(self):
        raise NotImplementedError

    def launch(self):
        self.process = Process(self.name, self.command(), self.folder / "log")

    def wait_ready(self):
        def look():
            if not self.process.running():
                raise Trouble(f"{self.name} ended at its start:\n{self.process.tail()}")
            return self.ready()
        until(f"{self.name} answers", look, 20)

    def start(self):
        self.launch()
        self.wait_ready()
        return self

    def says(self, *words):
        """The answer of a Redis or Sentinel to one command, if it comes in a single packet."""
        command = f"*{len(words)}\r\n" + "".join(f"${len(word)}\r\n{word}\r\n" for word in words)
        return ask(self.host, self.port, command)

    def kill9(self):
        self.process.kill9()


class Nats(Server):
    def __init__(self, name, folder, host, jetstream=False):
        super().__init__(name, folder, host)
        self.cluster_port, self.peers, self.jetstream = free_port(), [], jetstream

    def command(self):
        configuration = f'listen: "{self.host}:{self.port}"\nserver_name: {self.name}\n'
        if self.peers:
            # Without no_advertise clients would learn of servers that no link leads to.
            routes = ", ".join(f'"nats-route://127.0.0.1:{p.cluster_port}"' for p in self.peers)
            configuration += ("cluster {\n  name: chaos\n  no_advertise: true\n"
                              f'  listen: "127.0.0.1:{self.cluster_port}"\n'
                              f"  routes: [{routes}]\n}}\n")
        if self.jetstream:
            configuration += f'jetstream {{\n  store_dir: "{self.folder}"\n}}\n'
        (self.folder / "nats.conf").write_text(configuration)
        return [program("nats-server"), "-c", self.folder / "nats.conf"]

    def ready(self):
        return ask(self.host, self.port, "").startswith("INFO ")


class Redis(Server):
    """`follows`: a function that gives the port of the primary, or None for a primary."""

    def __init__(self, name, folder, host, follows=lambda: None, more=()):
        super().__init__(name, folder, host)
        self.follows, self.more = follows, more

    def command(self):
        command = [program("redis-server"), "--port", self.port, "--bind", self.host,
                   "--protected-mode", "no", "--dir", self.folder, "--save", "",
                   "--appendonly", "yes", "--repl-diskless-sync-delay", "0",
                   "--repl-ping-replica-period", "1", *self.more]
        if primary := self.follows():
            command += ["--replicaof", self.host, primary]
        return command

    def ready(self):
        return self.says("PING").startswith("+PONG")  # while it loads: -LOADING


class Sentinel(Server):
    def __init__(self, name, folder, host, primary, quorum, down_after_ms=1500):
        super().__init__(name, folder, host)
        self.configuration = self.folder / "sentinel.conf"
        self.configuration.write_text(
            f"port {self.port}\nbind {host}\nprotected-mode no\ndir {self.folder}\n"
            f"sentinel monitor {MASTER} {host} {primary} {quorum}\n"
            f"sentinel down-after-milliseconds {MASTER} {down_after_ms}\n"
            f"sentinel failover-timeout {MASTER} 6000\nsentinel parallel-syncs {MASTER} 1\n")

    def command(self):
        return [program("redis-server"), self.configuration, "--sentinel"]

    def ready(self):
        return self.says("PING").startswith("+PONG")

    def primary(self):
        """The port it gives to callers, or 0."""
        words = self.says("SENTINEL", "get-master-addr-by-name", MASTER).split("\r\n")
        return int(words[4]) if len(words) > 4 and words[4].isdigit() else 0

    def knows_all(self, others):
        """Whether it has met the other Sentinels, and could promote the one replica."""
        words = self.says("SENTINEL", "master", MASTER).split("\r\n")
        primary = dict(zip(words[2::4], words[4::4]))
        words = self.says("SENTINEL", "replicas", MASTER).split("\r\n")
        replica = dict(zip(words[3::4], words[5::4]))
        return (primary.get("num-other-sentinels") == str(others) and words[0] == "*1" and
                primary.get("flags") == "master" and replica.get("flags") == "slave" and
                replica.get("master-link-status") == "ok")


class Servers:
    """One NATS and one Redis, or (`full`) three NATS servers in a cluster, and Redis as primary and
    replica, under three Sentinels if nodes can ask them."""

    def __init__(self, folder, full, sentinel, nats_host="127.0.0.1", redis_host="127.0.0.1",
                 jetstream=False, down_after_ms=1500):
        self.jetstream, self.down_after_ms = jetstream, down_after_ms
        self.folder, self.full, self.sentinel = folder, full, full and sentinel
        self.nats_host, self.redis_host = nats_host, redis_host
        self.nats, self.redis, self.sentinels = [], [], []

    def start(self):
        count = 3 if self.full else 1
        self.nats = [Nats(f"nats{i}", self.folder, self.nats_host, self.jetstream)
                     for i in range(1, count + 1)]
        for server in self.nats:
            server.peers = [peer for peer in self.nats if peer is not server]
            server.launch()
        for server in self.nats:
            server.wait_ready()
        more = NO_SPLIT_BRAIN if self.full else ()
        self.redis.append(Redis("redis1", self.folder, self.redis_host, more=more).start())
        if self.full:
            first = self.redis[0].port
            self.redis.append(Redis("redis2", self.folder, self.redis_host, lambda: first,
                                    NO_SPLIT_BRAIN).start())
            until("the replica is in step", self.in_step, 20)
        if self.sentinel:
            self._start_sentinels(first)

    def _start_sentinels(self, first):
        for i in range(1, 4):
            sentinel = Sentinel(f"sentinel{i}", self.folder, self.redis_host, first, 2,
                                self.down_after_ms)
            self.sentinels.append(sentinel.start())
        until("the Sentinels know each other and the replica", self.can_fail_over, 30, every_s=0.2)

    def primary_port(self):
        if not self.sentinels:
            return self.redis[0].port
        answers = list(filter(None, (sentinel.primary() for sentinel in self.sentinels)))
        if not answers:
            raise Trouble("no Sentinel answers")
        return max(set(answers), key=answers.count)

    def primary(self):
        port = self.primary_port()
        return next(server for server in self.redis if server.port == port)

    def in_step(self):
        """Whether the primary has a replica that receives its writes."""
        return not self.full or "state=online" in self.primary().says("INFO", "replication")

    def can_fail_over(self):
        return all(sentinel.knows_all(len(self.sentinels) - 1) for sentinel in self.sentinels)

    def check(self):
        for server in self.all():
            if not server.process.running():
                raise Trouble(f"{server.name} ended by itself:\n{server.process.tail()}")

    def all(self):
        return [*self.sentinels, *self.redis, *self.nats]


def wait_failover(servers, old_port, patience_s=30):
    """Waits until the Sentinels name another primary and it says so itself."""
    def look():
        primary = servers.primary()
        return primary.port != old_port and "role:master" in primary.says("INFO", "replication")
    until("Sentinel has made another Redis the primary", look, patience_s, every_s=0.05)
