"""What goes wrong and when: a pure function of seed, duration and topology."""
import dataclasses
import random

# At least so long without a fault, after everything works again. Nodes that have just met need some
# heartbeats before they can vote. And for 5 s after Redis was away or a session was lost, its old
# owner alone may claim a shard (protocol, T_first): a kill then costs more, as it is meant to.
RECOVERY_S = 3.0
RECOVERY_OF_SESSIONS_S = 7.0
WARM_UP_S = 3.0
EXTRA = "extra"   # the name of the node that comes and goes

# About how long a fault takes from its begin until everything works again.
COST_S = {"kill": 3.5, "stop": 2.0, "leave": 3.5, "join": 2.0, "rolling": 20.0, "nats": 1.0,
          "redis": 2.0, "failover": 7.0, "cut": 1.5}


@dataclasses.dataclass(frozen=True)
class Fault:
    at_s: float           # planned; it begins later if the one before takes longer
    kind: str
    target: str = ""      # a node, or the number of a NATS server
    seconds: float = 0.0  # how long it lasts
    sides: tuple = ()     # of a cut: nats, redis
    how: str = ""         # cut: both, up, down, reset; failover: kill, command, freeze; kill: how
                          # the node comes back

    def __str__(self):
        words = [self.kind, self.target, " and ".join(self.sides), self.how,
                 f"{self.seconds:.1f} s" if self.seconds else ""]
        return " ".join(word for word in words if word)


KINDS = ("kill", "stop", "leave", "extra", "rolling", "nats", "redis", "cut", "failover")


def recovery_s(fault):
    sessions = fault.kind in ("redis", "failover", "stop", "cut")
    return RECOVERY_OF_SESSIONS_S if sessions else RECOVERY_S


def plan(seed, seconds, nodes, sentinel, only=KINDS):
    """The faults of a run with these first nodes, of these kinds. Every kind comes once before any
    comes again, as far as the time reaches. A leave is followed by a join of the same node; "extra"
    is a node that joins, and when its turn comes again, leaves."""
    chance = random.Random(f"{seed} {seconds} {len(nodes)} {sentinel}")
    faults, bag, at, extra_is_there = [], [], WARM_UP_S, False
    while True:
        if not bag:
            bag = [kind for kind in _bag(chance, sentinel) if kind in only]
            if not bag:
                return faults
        kind = bag.pop()
        made = _faults(chance, kind, at, seconds, nodes, extra_is_there)
        if kind == "extra":
            extra_is_there = not extra_is_there
        for fault in made:
            at = fault.at_s + fault.seconds + COST_S[fault.kind] + recovery_s(fault)
            if at > seconds:
                return faults
            faults.append(fault)


def _bag(chance, sentinel):
    kinds = ["kill", "kill", "stop", "leave", "extra", "rolling", "nats", "redis", "cut", "cut"]
    if sentinel:
        kinds += ["failover"]
    chance.shuffle(kinds)
    # A rolling restart is long: in a short run the others shall come first.
    kinds.remove("rolling")
    kinds.insert(chance.randrange(3), "rolling")
    return kinds


def _faults(chance, kind, at, seconds, nodes, extra_is_there):
    node = chance.choice(nodes)
    # Long ones only where the run is long: one fault shall not be all of it.
    longest = max(1.5, min(30.0, seconds / 12))

    def lasting(shortest):
        return round(shortest * (longest / shortest) ** chance.random(), 2)

    if kind == "kill":
        how = chance.choice(("", "new id"))
        return [Fault(at, kind, node, seconds=round(chance.uniform(1.5, 4.0), 2), how=how)]
    if kind == "stop":
        return [Fault(at, kind, node, seconds=lasting(0.3))]
    if kind == "leave":
        leave = Fault(at, kind, node)
        return [leave, Fault(at + COST_S["leave"] + RECOVERY_S, "join", node)]
    if kind == "extra":
        return [Fault(at, "leave" if extra_is_there else "join", EXTRA)]
    if kind == "nats":
        return [Fault(at, kind, str(chance.randrange(3)), seconds=lasting(0.3) / 2)]
    if kind == "redis":
        return [Fault(at, kind, seconds=round(chance.uniform(0.1, 0.8), 2))]
    if kind == "failover":
        how = chance.choice(("kill", "kill", "command", "freeze"))
        # While the old primary is frozen the new one has no replica, and WAIT 1 nobody to wait for.
        frozen = round(chance.uniform(0.3, 3.0), 2) if how == "freeze" else 0
        return [Fault(at, kind, seconds=frozen, how=how)]
    if kind == "cut":
        sides = chance.choice((("nats",), ("redis",), ("nats", "redis")))
        how = chance.choice(("both", "both", "up", "down", "reset"))
        return [Fault(at, kind, node, lasting(0.5), sides, how)]
    return [Fault(at, kind)]
