"""What is measured, and how. Each stage has its own servers and gives figures by name.

A figure that has a ceiling is measured in pairs: the ceiling and the product one after the other,
on the same servers, round by round. Its ratio is the median of the rounds' ratios: what the machine
did meanwhile, it did to both."""
import datetime
import os
import statistics
import time

from processes import Trouble, until
from world import World, resident_bytes, terminate_all


class Figure:
    """One row of the table. `limit`: ">=" or "<=" and the goal; None: only reported."""

    def __init__(self, value, unit, limit=None, ceiling=None, ratio=None, note=""):
        self.value, self.unit, self.limit = value, unit, limit
        self.ceiling, self.ratio, self.note = ceiling, ratio, note

    def judged(self):
        """The number that the goal is about, and that stands in the JSON."""
        return self.value if self.ratio is None else self.ratio

    def met(self):
        if self.limit is None:
            return None
        sign, goal = self.limit
        return self.judged() >= goal if sign == ">=" else self.judged() <= goal


def median(values):
    return statistics.median(values)


def paired(pairs, unit, limit, note=""):
    """`pairs`: of each round (product, ceiling)."""
    return Figure(median([ours for ours, _ in pairs]), unit, limit,
                  ceiling=median([ceiling for _, ceiling in pairs]),
                  ratio=median([ours / ceiling for ours, ceiling in pairs]), note=note)


def percentile(values, percent):
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)]


def stamp(event):
    """When a line was logged, in seconds."""
    return datetime.datetime.fromisoformat(event["timestamp"].replace("Z", "+00:00")).timestamp()


class Stages:
    def __init__(self, programs, folder, rounds, quick, say):
        self.programs, self.folder, self.rounds = programs, folder, rounds
        self.quick, self.say, self.details = quick, say, {}

    def size(self, full, quick):
        return quick if self.quick else full

    def world(self, name, cpus=()):
        return World(self.programs, self.folder / name, cpus)

    def alternate(self, name, product, ceiling):
        """One pair that does not count, then `rounds` that do; the ceiling first in every other
        round, so that neither always comes after the other."""
        pairs = []
        for number in range(self.rounds + 1):
            if number % 2:
                ours, theirs = product(), ceiling()
            else:
                theirs, ours = ceiling(), product()
            self.say(f"  {name} round {number or 'warm-up'}: {ours:,.0f} of {theirs:,.0f}")
            if number:
                pairs.append((ours, theirs))
        return pairs

    # ---- one node -------------------------------------------------------------------------------

    def tell(self):
        """Tells over 200,000 active entities, asks between entities, and their memory."""
        cells, tells = self.size(200_000, 5_000), self.size(400_000, 50_000)
        flights, each = 64, self.size(3_000, 200)
        with self.world("tell") as world:
            local, caf = world.local(), world.caf_ceiling()
            self.details["caf_version"] = caf.about["caf"]
            self.details["compiler"] = caf.about["compiler"]
            active = local.ask("activate", cells)
            caf.ask("activate", cells)
            # From outside and from within: what is faster depends on how CAF's workers find their
            # work on this machine. The ceiling is the better of the two.
            told = self.alternate("tell", lambda: local.ask("tell", tells)["per_second"],
                                  lambda: max(caf.ask(way, tells)["per_second"]
                                              for way in ("tell", "tell_inside")))
            asked = self.alternate("ask", lambda: local.ask("ask", flights, each)["per_second"],
                                   lambda: caf.ask("ask", flights, each)["per_second"])
            # What each costs in processor time, which others on the machine do not change much.
            self.details["cpu_us"] = {
                "tell": local.ask("tell", tells)["cpu_s"] / tells * 1e6,
                "caf_tell": caf.ask("tell", tells)["cpu_s"] / tells * 1e6,
                "ask": local.ask("ask", flights, each)["cpu_s"] / flights / each * 1e6,
                "caf_ask": caf.ask("ask", flights, each)["cpu_s"] / flights / each * 1e6}
            self.details["caf_tell_one_per_second"] = median(
                [caf.ask("tell_one", tells)["per_second"] for _ in range(self.rounds)])
        ratio = paired(told, "tells/s", (">=", 0.5))
        return {
            "local_tell_spread_ratio": ratio,
            "local_tell_per_second": Figure(ratio.value, "tells/s", (">=", 1_000_000)),
            "local_ask_ratio": paired(asked, "asks/s", (">=", 0.5)),
            "entity_bytes": Figure(
                active["bytes_each"] - active["state_bytes"], "bytes", ("<=", 2048),
                note=f"over {active['entities']:,} entities; one measurement"),
        }

    def activation(self):
        cells = self.size(50_000, 2_000)
        with self.world("activation") as world:
            local, rates = world.local(), []
            for number in range(self.rounds + 1):
                local.ask("chill", cells)
                warmed = local.ask("warm", 1000)
                if warmed["activated"] != cells:
                    raise Trouble(f"{warmed['activated']} of {cells} cells were cold")
                self.say(f"  activation round {number or 'warm-up'}: {warmed['per_second']:,.0f}")
                if number:
                    rates.append(warmed["per_second"])
        return {"activation_per_second": Figure(median(rates), "activations/s")}

    def durable(self):
        """Commands that are committed: over many entities, and on one."""
        cells, adds, hot = 10_000, self.size(100_000, 5_000), self.size(100_000, 5_000)
        if self.quick:
            cells = 1_000
        with self.world("durable") as world:
            local, raw = world.local(), world.redis_ceiling()
            raw.ask("prepare", cells)
            everysec = self.alternate(
                "durable", lambda: local.ask("add", 2000, adds, cells)["per_second"],
                lambda: raw.ask("commit", adds, cells)["per_second"])
            trips = []

            def one_trip_at_a_time():
                trips.append((raw.ask("trip", 2000)["p50_us"], raw.ask("ping", 2000)["p50_us"]))
                return 1e6 / trips[-1][0]
            hottest = self.alternate("hot", lambda: local.ask("hot", 900, hot)["per_second"],
                                     one_trip_at_a_time)
            world.redis.fsync("always")
            always = self.alternate(
                "durable, always", lambda: local.ask("add", 2000, adds // 2, cells)["per_second"],
                lambda: raw.ask("commit", adds // 2, cells)["per_second"])
        always = paired(always, "commits/s", None)
        commit_us, ping_us = (median(column) for column in zip(*trips))
        self.details.update(durable_always_per_second=always.value,
                            durable_always_ceiling_per_second=always.ceiling,
                            durable_always_ratio=always.ratio, redis_commit_trip_us=commit_us,
                            redis_ping_trip_us=ping_us,
                            hot_entity_over_ping_ratio=median([ours for ours, _ in hottest]) *
                            ping_us / 1e6)
        return {
            "durable_ask_ratio": paired(everysec, "commits/s", (">=", 0.6)),
            "hot_entity_ratio": paired(hottest, "commits/s", (">=", 30),
                                       note="ceiling: one commit per round trip"),
        }

    def remembered(self):
        """What an operation id costs that is remembered, in Redis and in the memory of the node: in
        many entities with some ids each, and in a few whose tables Redis keeps as hash tables (more
        than 512). Entities, their first ids and what the programs grow to are there before it is counted."""
        cells, few = self.size(1_000, 100), self.size(40, 4)
        with self.world("remembered") as world:
            node, = world.nodes(["n1"], more=["--entity-idle-timeout", "3600s"])
            caller = world.caller()
            caller.ask("probe", 30)

            def each(entities, ids):
                """Bytes per id, as these entities get so many more."""
                before = world.redis.dataset_bytes(), resident_bytes(node.pid)
                caller.ask("add", 256, entities * ids, entities)
                after = world.redis.dataset_bytes(), resident_bytes(node.pid)
                return [(now - then) / (entities * ids) for then, now in zip(before, after)]

            each(cells, 16)
            some = each(cells, 64)
            each(few, 600)
            many = each(few, 600)
        shape = "{:,} entities with {:,} ids each, replies of 1 or 2 bytes; one measurement"
        self.details["bytes_per_id"] = {"redis": some[0], "redis_large_table": many[0], "node": some[1]}
        return {"bytes_per_id": Figure(many[0], "bytes", note=f"in Redis, {shape.format(few, 1280)}; "
                                       f"{some[0]:.0f} while an entity has up to 512"),
                "bytes_per_id_in_node": Figure(some[1], "bytes",
                                               note=f"resident, {shape.format(cells, 80)}")}

    # ---- two processes --------------------------------------------------------------------------

    def remote(self):
        cells, figures = self.size(10_000, 500), {}
        with self.world("remote") as world:
            world.nodes(["n1"], more=["--entity-idle-timeout", "3600s"])
            caller, raw = world.caller(), world.nats_ceiling()
            caller.ask("probe", 30)
            caller.ask("look", 256, cells, cells)  # all are in memory from here on
            for width, asks in ((64, 150_000), (256, 300_000), (1024, 400_000)):
                asks = self.size(asks, 5_000)
                figures[f"remote_ask_{width}_ratio"] = paired(self.alternate(
                    f"remote, {width} in flight",
                    lambda w=width, n=asks: caller.ask("look", w, n, cells)["per_second"],
                    lambda w=width, n=asks: raw.ask("look", w, n * 3)["per_second"]),
                    "asks/s", (">=", 0.5))
            times = self.size(5_000, 300)
            figures["remote_ask_p50_ratio"] = paired(self.alternate(
                "remote, one in flight", lambda: caller.ask("latency", times)["p50_us"],
                lambda: raw.ask("latency", times)["p50_us"]), "us", ("<=", 1.4))
        return figures

    def overload(self):
        """Twice what a node can do, offered whatever it answers."""
        cells, adds = self.size(10_000, 500), self.size(100_000, 3_000)
        ratios, peaks, goodputs, floods = [], [], [], []
        with self.world("overload") as world:
            world.nodes(["n1"])
            caller = world.caller()
            caller.ask("probe", 30)
            caller.ask("add", 256, cells, cells)
            for number in range(self.rounds):
                peak = max(caller.ask("add", width, adds, cells)["per_second"]
                           for width in (256, 1024))
                flood = caller.ask("flood", int(2 * peak), self.size(6000, 500),
                                   self.size(6000, 1000), cells)
                self.say(f"  overload round {number + 1}: peak {peak:,.0f}, {flood}")
                if flood["without_retry_after"]:
                    raise Trouble(f"{flood['without_retry_after']} refusals without retry-after")
                peaks.append(peak)
                goodputs.append(flood["goodput"])
                ratios.append(flood["goodput"] / peak)
                floods.append(flood)
        self.details["overload_rounds"] = floods
        return {"overload_goodput_ratio": Figure(median(goodputs), "commits/s", (">=", 0.8),
                                                 ceiling=median(peaks), ratio=median(ratios),
                                                 note="ceiling: the peak without overload")}

    # ---- clusters -------------------------------------------------------------------------------

    def scale(self):
        """One node and three, with all they need on the same processors: work that three nodes add
        is throughput that they lose."""
        cells, adds = self.size(10_000, 500), self.size(60_000, 3_000)
        available = sorted(os.sched_getaffinity(0))
        with self.world("scale", cpus=available[:2]) as world:
            world.nodes(["n1"], cluster="one")
            world.nodes(["n1", "n2", "n3"], cluster="three")
            callers = {name: world.caller(cluster=name, name=f"caller-{name}")
                       for name in ("one", "three")}
            for caller in callers.values():
                caller.ask("probe", 30)
                caller.ask("add", 256, cells, cells)

            def commits(name):
                return callers[name].ask("add", 256, adds, cells)["per_second"]

            def queries(name):
                return callers[name].ask("look", 256, adds * 2, cells)["per_second"]
            committed = self.alternate("scale", lambda: commits("three"), lambda: commits("one"))
            looked = self.alternate("scale, queries", lambda: queries("three"),
                                    lambda: queries("one"))
        looked = paired(looked, "asks/s", None)
        self.details.update(scale_3_nodes_queries_ratio=looked.ratio,
                            scale_3_nodes_queries_per_second=looked.value)
        return {"scale_3_nodes_ratio": paired(
            committed, "commits/s", (">=", 0.8), note="ceiling: one node on the same CPUs")}

    def move(self):
        """A node joins three that are under load, and later leaves them again."""
        shards = self.size(4096, 256)
        durations, gaps, moved_each, loads = [], [], [], []
        with self.world("move") as world:
            stayers = world.nodes(["n1", "n2", "n3"], shards=shards)
            caller = world.caller()
            caller.ask("probe", 30)
            for number in range(1, self.rounds + 1):
                caller.ask("load", 64, 10_000)
                began = time.time()
                joiner = world.launch(f"j{number}", shards=shards)
                until(f"{joiner.name} is ready", joiner.ready, 60)
                time.sleep(1.5)  # reading logs would take the processor from those who move
                moves = settled_moves(stayers, joiner.name, began)
                plans = [stamp(plan) for node in stayers
                         for plan in node.events("catga.rebalance.planned")
                         if stamp(plan) >= began and plan["reason"] == "node_joined"]
                took_ms = (max(map(stamp, moves)) - min(plans)) * 1000
                durations.append(took_ms * 1000 / len(moves))
                gaps += [move["unavailable_ms"] for move in moves]
                moved_each.append(len(moves))
                loads.append(caller.ask("unload"))
                self.say(f"  move round {number}: {len(moves)} shards in {took_ms:.0f} ms")
                if loads[-1]["failed"]:
                    raise Trouble(f"{loads[-1]['failed']} commands failed while shards moved")
                terminate_all([joiner])
                # All have settled on the view without it; else some wait for the next and some do not.
                time.sleep(1.5)
        self.details.update(move_shards=moved_each, move_rounds_ms=durations,
                            move_gap_ms_p50=percentile(gaps, 50),
                            move_gap_ms_max=max(gaps), move_load=loads)
        note = f"{min(moved_each)} to {max(moved_each)} shards moved, scaled to 1,000"
        return {"move_1000_shards_ms": Figure(median(durations), "ms", ("<=", 150), note=note),
                "move_gap_ms_p99": Figure(percentile(gaps, 99), "ms", ("<=", 20),
                                          note=f"over {len(gaps)} moves")}

    def takeover(self):
        shards, took = self.size(1024, 256), []
        with self.world("takeover") as world:
            nodes = world.nodes(["n1", "n2", "n3"], shards=shards)
            caller = world.caller()
            # Who dies within a moment of the last join is missed by its session only, after 5 s:
            # nobody has watched it yet. Measured is the cluster that has been there for a while.
            time.sleep(3)
            for number in range(1, self.rounds + 1):
                caller.ask("probe", 30)
                victim = nodes.pop(0)
                killed_ns = time.monotonic_ns()
                victim.kill9()
                took.append((caller.ask("probe", 60)["last_ns"] - killed_ns) / 1e6)
                self.say(f"  takeover round {number}: {took[-1]:.0f} ms")
                # Another name: one that was evicted waits before it gets shards again.
                began = time.time()
                fresh = world.launch(f"r{number}", shards=shards)
                until(f"{fresh.name} is ready", fresh.ready, 60)
                settled_moves(nodes, fresh.name, began)
                nodes.append(fresh)
        self.details["takeover_rounds_ms"] = took
        return {"takeover_ms": Figure(median(took), "ms", ("<=", 800))}

    def start(self):
        took, resident = [], []
        with self.world("start") as world:
            for number in range(self.rounds + 1):
                began = time.monotonic()
                node = world.launch("n1", cluster=f"start{number}", pipes=True)
                for line in node.process.stdout:
                    if node.READY.search(line):
                        break
                else:
                    raise Trouble(f"{node.name} ended at its start:\n{node.tail()}")
                ms = (time.monotonic() - began) * 1000
                time.sleep(self.size(3, 0.5))  # idle: what starting needed is given back
                mib = resident_bytes(node.pid) / 2**20
                node.kill9()
                self.say(f"  start round {number or 'warm-up'}: {ms:.0f} ms, {mib:.1f} MiB")
                if number:
                    took.append(ms)
                    resident.append(mib)
        return {"start_ms": Figure(median(took), "ms", ("<=", 100)),
                "idle_rss_mib": Figure(median(resident), "MiB", ("<=", 50))}

    def view(self):
        """Many nodes at once. Once per size: it takes long, and a minute does not change much."""
        sizes, rates, took_s = self.size((25, 50, 100), (3, 6)), {}, 0.0
        for size in sizes:
            with self.world(f"view{size}") as world:
                small = ["--runtime-workers", 1, "--redis-connections", 1]
                began = time.monotonic()
                nodes = [world.launch(f"n{i}", members=size, more=small)
                         for i in range(1, size + 1)]
                wait_for_one_view(nodes)
                caller = world.caller()
                caller.ask("probe", 120)
                took_s = time.monotonic() - began
                time.sleep(self.size(10, 1))  # until shards have their places
                seconds = self.size(10, 1)
                before, at = world.nats.messages(), time.monotonic()
                time.sleep(seconds)
                rates[size] = (world.nats.messages() - before) / (time.monotonic() - at)
                self.say(f"  view of {size} nodes: {took_s:.1f} s, {rates[size]:,.0f} messages/s")
        self.details["membership_messages_per_second"] = rates
        least, most = min(rates), max(rates)
        self.details["membership_messages_growth"] = rates[most] / rates[least]
        self.details["membership_nodes_growth"] = most / least
        said = ", ".join(f"{rate:,.0f}/s at {size}" for size, rate in rates.items())
        return {"view_100_nodes_s": Figure(took_s, "s", ("<=", 20),
                                           note=f"idle messages: {said}; one measurement")}

    def all(self):
        """Name, what runs it, and the figures it gives."""
        return {
            "tell": (self.tell, ("local_tell_spread_ratio", "local_tell_per_second",
                                 "local_ask_ratio", "entity_bytes")),
            "remote": (self.remote, ("remote_ask_64_ratio", "remote_ask_256_ratio",
                                     "remote_ask_1024_ratio", "remote_ask_p50_ratio")),
            "durable": (self.durable, ("durable_ask_ratio", "hot_entity_ratio")),
            "activation": (self.activation, ("activation_per_second",)),
            "remembered": (self.remembered, ("bytes_per_id", "bytes_per_id_in_node")),
            "scale": (self.scale, ("scale_3_nodes_ratio",)),
            "move": (self.move, ("move_1000_shards_ms", "move_gap_ms_p99")),
            "takeover": (self.takeover, ("takeover_ms",)),
            "start": (self.start, ("start_ms", "idle_rss_mib")),
            "view": (self.view, ("view_100_nodes_s",)),
            "overload": (self.overload, ("overload_goodput_ratio",)),
        }


def wait_for_one_view(nodes):
    """Until the newest word of each node about its view is that all are up."""
    behind = list(nodes)

    def none_behind():
        behind[:] = [node for node in behind if not sees(node, len(nodes))]
        return not behind
    until(f"all of {len(nodes)} nodes have seen all of them up", none_behind, 120, every_s=0.1)


def sees(node, count):
    if not node.running():
        raise Trouble(f"{node.name} ended:\n{node.tail()}")
    joined = node.events("catga.node.joined")
    return bool(joined) and joined[-1]["nodes"] == count


def settled_moves(givers, name, since):
    """All hand-offs to `name`, once none has come for a while."""
    quiet_s, moves = 0.8, []

    def over():
        moves[:] = [move for node in givers
                    for move in node.events("catga.shard.handoff.completed")
                    if move["catga.node.to"] == name and stamp(move) >= since]
        return moves and time.time() - max(map(stamp, moves)) > quiet_s
    until(f"shards have moved to {name}", over, 60, every_s=0.1)
    return moves
