"""The ways between nodes and servers, and how to cut them: by network namespaces where the machine
allows it, else by a TCP proxy of our own."""
import ctypes
import os
import shutil
import subprocess

from processes import LIBC, Process, Trouble

CLONE_NEWNET = 0x40000000
PROXY, NAMESPACES = "TCP proxy", "network namespaces"


def address(host, port):
    return f"{host}:{port}"


class Direct:
    """The ways of a client: nothing is cut."""

    command = ()

    def __init__(self, servers):
        self.nats = [address(server.host, server.port) for server in servers.nats]
        self.redis = [address(server.host, server.port) for server in servers.redis]
        self.sentinels = [address(server.host, server.port) for server in servers.sentinels]


class ProxyNetwork:
    """catga-chaos-proxy carries every connection of a node, and can hold them back in either
    direction. All servers listen on loopback."""

    name, nats_host, redis_host = PROXY, "127.0.0.1", "127.0.0.1"

    def __init__(self, programs, folder):
        self.proxy = Process("proxy", [programs / "catga-chaos-proxy"], folder / "proxy.log",
                             pipes=True)

    def say(self, *words):
        self.proxy.process.stdin.write(" ".join(str(word) for word in words) + "\n")
        answer = self.proxy.process.stdout.readline().split()
        if not answer or answer[0] not in ("port", "done"):
            raise Trouble(f"the proxy refuses {words}: {answer}")
        return answer[-1]

    def links(self, node, servers):
        return ProxyLinks(self, node, servers)

    def processes(self):
        return [self.proxy]


class ProxyLinks:
    """The links of one node: `nats` and `redis` are the two sides on which it can be cut off. They
    outlive its process, so a node that starts again finds the same ports."""

    command = ()

    def __init__(self, network, node, servers):
        self.network, self.node, self.names = network, node, {"nats": [], "redis": []}
        self.nats = [self._open("nats", server) for server in servers.nats]
        self.redis = [self._open("redis", server) for server in servers.redis]
        # Sentinel tells ports of Redis: they become the ports of the links to it.
        ports = [f"{server.port}={way.split(':')[1]}"
                 for server, way in zip(servers.redis, self.redis)]
        self.sentinels = [self._open("redis", server, *ports) for server in servers.sentinels]

    def _open(self, side, server, *replaced):
        name = f"{self.node}-{server.name}"
        self.names[side].append(name)
        return address("127.0.0.1", self.network.say("open", name, server.port, *replaced))

    def cut(self, sides, how):
        for name in (name for side in sides for name in self.names[side]):
            self.network.say("cut", name, "both" if how == "reset" else how)
            if how == "reset":
                self.network.say("reset", name)

    def heal(self, sides):
        for name in (name for side in sides for name in self.names[side]):
            self.network.say("heal", name)


def namespaces_possible():
    """Tried in a namespace that is gone at once."""
    if os.geteuid() != 0 or not all(map(shutil.which, ("ip", "tc", "unshare", "nsenter"))):
        return False
    trial = ("ip link set lo up && ip link add cxa type veth peer name cxb && "
             "ip link set cxa up && tc qdisc add dev cxa root pfifo limit 0")
    return subprocess.run(["unshare", "-n", "sh", "-c", trial], capture_output=True,
                          check=False).returncode == 0


def must(*command):
    words = [str(word) for word in command]
    made = subprocess.run(words, capture_output=True, text=True, check=False)
    if made.returncode != 0:
        raise Trouble(f"{' '.join(words)}: {made.stderr.strip()}")


class NamespaceNetwork:
    """The test, its servers and its clients live in a network namespace of their own; each node in
    another, with one cable to NATS and one to Redis. No namespace has a name: all are gone with the
    processes in them."""

    name, nats_host, redis_host = NAMESPACES, "10.77.254.1", "10.77.255.1"

    def __init__(self):
        if LIBC.unshare(ctypes.c_int(CLONE_NEWNET)) != 0:
            raise Trouble("cannot get a network namespace")
        must("ip", "link", "set", "lo", "up")
        for host in (self.nats_host, self.redis_host):
            must("ip", "address", "add", f"{host}/32", "dev", "lo")
        self.made = []

    def links(self, node, servers):
        self.made.append(NamespaceLinks(self, node, servers, len(self.made)))
        return self.made[-1]

    def processes(self):
        return [links.holder for links in self.made]


class NamespaceLinks(Direct):
    """A namespace for one node and its cables. One direction of a cable is cut by a queue without
    room at the sending end: every packet is dropped, as on a real network."""

    def __init__(self, network, node, servers, number):
        super().__init__(servers)
        self.holder = Process(f"{node}'s namespace", ["unshare", "-n", "sleep", "infinity"],
                              servers.folder / "namespaces.log")
        self.command = ("nsenter", f"--net=/proc/{self.holder.pid}/ns/net")
        while os.readlink(f"/proc/{self.holder.pid}/ns/net") == os.readlink("/proc/self/ns/net"):
            if not self.holder.running():
                raise Trouble(f"no namespace for {node}: {self.holder.tail()}")
        must(*self.command, "ip", "link", "set", "lo", "up")
        self.cables = {}
        for side, host, net in (("nats", network.nats_host, 2 * number),
                                ("redis", network.redis_host, 2 * number + 1)):
            self._connect(side, host, f"{side}{number}", f"10.77.{net}")

    def _connect(self, side, host, here, net):
        self.cables[side] = here
        must("ip", "link", "add", here, "type", "veth", "peer", "name", side,
             "netns", self.holder.pid)
        must("ip", "address", "add", f"{net}.1/30", "dev", here)
        must("ip", "link", "set", here, "up")
        must(*self.command, "ip", "address", "add", f"{net}.2/30", "dev", side)
        must(*self.command, "ip", "link", "set", side, "up")
        must(*self.command, "ip", "route", "add", f"{host}/32", "via", f"{net}.1")

    def cut(self, sides, how):
        drop = ("root", "pfifo", "limit", "0")
        for side in sides:
            if how != "down":
                must(*self.command, "tc", "qdisc", "replace", "dev", side, *drop)
            if how != "up":
                must("tc", "qdisc", "replace", "dev", self.cables[side], *drop)

    def heal(self, sides):
        for side in sides:
            for where, device in ((self.command, side), ((), self.cables[side])):
                subprocess.run([*where, "tc", "qdisc", "del", "dev", device, "root"],
                               capture_output=True, check=False)  # an error: it was not cut
