"""Carries out one fault at a time, says so on the timeline, and notes when it began and ended."""
import dataclasses
import time

from nodes import timestamp_us
from processes import Trouble, until
from servers import wait_failover


@dataclasses.dataclass
class Happened:
    """A fault that was carried out. Times in microseconds of the monotonic clock."""
    fault: object
    begin_us: int = 0
    end_us: int = 0        # what was broken is whole again, as far as the test can make it so
    recovered_us: int = 0  # every shard has answered a call that began after that
    affected: tuple = ()   # shards
    wrong: list = dataclasses.field(default_factory=list)


class Faults:
    def __init__(self, nodes, servers, say):
        self.nodes, self.servers, self.say = nodes, servers, say

    def carry_out(self, fault):
        happened = Happened(fault)
        if self.servers.full and fault.kind in ("redis", "failover"):
            until("Redis' replica is in step and known to every Sentinel",
                  lambda: self.servers.in_step() and self.servers.can_fail_over(), 30, every_s=0.1)
        owners, target = self.owners(), self.nodes.ids.get(fault.target)
        self.say(f"{fault}")
        happened.begin_us = timestamp_us()
        getattr(self, "_" + fault.kind)(fault, happened)
        happened.end_us = timestamp_us()
        happened.affected = self._affected(fault.kind, target, owners)
        return happened

    # ---- who owns what ----

    def idle_nodes(self):
        """Nodes that run and own no shard: a fault of theirs would prove nothing yet."""
        return {self.nodes.ids[name] for name in self.nodes.running()} - set(self.owners().values())

    def owners(self):
        """Shard -> name of the node that holds it, as Redis has it."""
        primary = self.servers.primary()
        names = {}
        words = primary.says("HGETALL", "{chaos}:m").split("\r\n")
        for incarnation, row in zip(words[2::4], words[4::4]):
            names[incarnation] = row.split(" ")[1] if " " in row else row
        owners = {}
        for shard in range(self.nodes.shards):
            words = primary.says("HGET", f"{{chaos:{shard}}}:o", "n").split("\r\n")
            owners[shard] = names.get(words[1], "") if len(words) > 1 else ""
        return owners

    def _affected(self, kind, target, before):
        if kind in ("nats", "redis", "failover", "rolling"):
            return tuple(before)
        if kind == "join":
            now = self.owners()
            return tuple(shard for shard in before if before[shard] != now[shard])
        return tuple(shard for shard in before if before[shard] == target)

    # ---- nodes ----

    def _kill(self, fault, _):
        self.nodes.kill9(fault.target)
        time.sleep(fault.seconds)  # the others take over meanwhile
        self.say(f"starting {fault.target} again")
        self.nodes.start(fault.target, new_id=fault.how == "new id")

    def _stop(self, fault, _):
        process = self.nodes.processes[fault.target]
        process.pause()
        time.sleep(fault.seconds)
        process.resume()

    def _leave(self, fault, happened):
        self._ends_cleanly(fault.target, happened)

    def _join(self, fault, _):
        self.nodes.start(fault.target)
        time.sleep(2.0)  # membership.settle, then its shards come

    def _rolling(self, _, happened):
        for name in self.nodes.running():
            self._ends_cleanly(name, happened)
            self.nodes.start(name)
            self.say(f"  {name} was restarted")

    def _ends_cleanly(self, name, happened):
        code = self.nodes.leave(name)
        if code != 0:
            happened.wrong.append(f"{name} ended with code {code} after SIGTERM, not 0")

    def _cut(self, fault, _):
        links = self.nodes.links[fault.target]
        links.cut(fault.sides, fault.how)
        time.sleep(fault.seconds)
        links.heal(fault.sides)

    # ---- servers ----

    def _nats(self, fault, _):
        server = self.servers.nats[int(fault.target) % len(self.servers.nats)]
        server.kill9()
        time.sleep(fault.seconds)
        server.start()

    def _redis(self, fault, _):
        server = self.servers.primary()
        server.kill9()
        time.sleep(fault.seconds)  # shorter than what makes Sentinel act
        server.follows = lambda: None
        server.start()

    def _failover(self, fault, _):
        old = self.servers.primary()
        if fault.how == "kill":
            old.kill9()
        elif fault.how == "freeze":
            old.process.pause()
        else:
            answer = self.servers.sentinels[0].says("SENTINEL", "FAILOVER", "catga")
            if not answer.startswith("+OK"):
                raise Trouble(f"Sentinel refuses the failover: {answer}")
        wait_failover(self.servers, old.port)
        self.say(f"  {self.servers.primary().name} is the primary now")
        if fault.how == "freeze":
            time.sleep(fault.seconds)
            old.process.resume()  # and believes that it is the primary, until Sentinel tells it
        if fault.how == "kill":
            old.follows = self.servers.primary_port
            old.start()
