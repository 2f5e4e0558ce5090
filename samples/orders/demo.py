#!/usr/bin/env python3
"""The order system under load and faults, then an audit: stock, charges and orders to the unit.

Starts everything itself, on loopback in a temporary folder: NATS (3 servers with JetStream), Redis
(primary, replica, Sentinels), 3 OrderApi, 3 services, 2 NotificationService and callers. Measures
throughput with 1 and with 3 service instances. Then, under a steady load of orders, one fault after
the other, each with what it may cost. The load is modest by default, for everything runs on one
machine: about 90 s on two cores.
Exit code 0: all checks hold; 1: one does not, or something did not come back; 2: wrong usage;
77: nothing was done, because NATS or Redis is not installed."""
import argparse
import json
import pathlib
import shutil
import signal
import sys
import tempfile
import time

sys.dont_write_bytecode = True  # nothing is left in the source tree
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import system as orders_system
import verdict
from processes import Process, Trouble, until
from servers import program, wait_failover

ROOT = pathlib.Path(__file__).resolve().parents[2]
FAULTS = ("one", "kill", "half", "nats", "redis", "partition")
CALLERS = 8
FAULTS_TAKE_S = 45    # about; the rate is chosen so that the orders last as long
MODEST = 0.6          # of what three services were measured to do
SKUS, CUSTOMERS, POOR = 20, 40, 4
AMPLE, POOR_LIMIT = 10 ** 9, 20_000


def now_us():
    return time.monotonic_ns() // 1000


def speed_of(services, figures):
    plural = "s" if services > 1 else ""
    return (f"{services} service instance{plural}: {figures['orders_per_s']:.0f} orders/s, "
            f"p50 {figures['p50_ms']} ms, p95 {figures['p95_ms']} ms, p99 {figures['p99_ms']} ms")


def options():
    parser = argparse.ArgumentParser(prog="samples/orders/demo", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--orders", type=int, default=5000, metavar="N",
        help="at least so many orders in all; 5000. A quarter measures throughput, the others go "
        "through the faults")
    add("--json", type=pathlib.Path, metavar="FILE", help="writes every figure there")
    add("--faults", default=",".join(FAULTS), metavar="NAME[,NAME]",
        help="only these: " + ", ".join(FAULTS) + "; or none")
    add("--cut-by", choices=("namespaces", "proxy"),
        help="without it: network namespaces where possible")
    add("--keep", action="store_true", help="keeps the folder with logs and histories in any case")
    add("--programs", type=pathlib.Path, default=ROOT / "build/debug/samples/orders",
        help="the folder of catga-order-service and the others")
    found = parser.parse_args()
    found.faults = [] if found.faults == "none" else found.faults.split(",")
    if found.orders < 100:
        parser.error("at least 100 orders")
    if unknown := set(found.faults) - set(FAULTS):
        parser.error(f"no such fault: {', '.join(sorted(unknown))}")
    for name in ("catga-order-service", "catga-order-api", "catga-notification-service",
                 "catga-orders-load", "catga-chaos-proxy"):
        if not (found.programs / name).is_file():
            parser.error(f"{found.programs / name} is not built")
    return found


class Demo:
    def __init__(self, chosen, folder):
        self.chosen, self.folder, self.began = chosen, folder, time.monotonic()
        self.system = orders_system.System(chosen.programs, folder, chosen.cut_by)
        self.checks, self.figures, self.windows = [], {"throughput": {}, "faults": {}}, {}
        self.histories, self.placed_by_hand = [], []
        self.prices = {f"sku-{i}": 100 + 90 * i for i in range(SKUS)} | {"rare": 500}
        self.customers = ([f"customer-{i}" for i in range(CUSTOMERS)] +
                          [f"poor-{i}" for i in range(POOR)])

    def say(self, text):
        print(f"{time.monotonic() - self.began:7.2f}  {text}", flush=True)

    def check(self, what, value, limit, good):
        """A line of the verdict."""
        self.checks.append({"check": what, "found": value, "limit": limit, "ok": bool(good)})

    # ---- the story ----

    def tell(self):
        self.start()
        self.manners()
        speed_orders = self.chosen.orders // 8
        self.throughput(1, speed_orders)
        for service in self.system.services[1:]:
            service.start()
        until("every service owns shards",
              lambda: all(map(self.system.shards_of, ("service-1", "service-2", "service-3"))), 60)
        time.sleep(1.0)  # so that the moves do not count as speed
        self.say("3 service instances run, and each owns shards")
        self.throughput(3, speed_orders)
        self.faults(self.chosen.orders - 2 * speed_orders)
        self.audit()
        for text in self.system.stop():
            self.check(text, False, True, False)
        self.report()

    def start(self):
        one = self.system
        one.prepare()
        self.say(f"3 NATS, 2 Redis and 3 Sentinels run; the network is cut by {one.network.name}")
        one.services[0].launch()
        for instance in (*one.apis, *one.notifications):
            instance.launch()
        for instance in (one.services[0], *one.apis, *one.notifications):
            instance.wait_ready()
        for sku, cents in self.prices.items():
            quantity = max(self.chosen.orders // 50, 2) if sku == "rare" else AMPLE
            one.must("PUT", f"/api/stock/{sku}", {"quantity": quantity, "cents": cents})
        for customer in self.customers:
            limit = POOR_LIMIT if customer.startswith("poor") else AMPLE
            one.must("PUT", f"/api/accounts/{customer}", {"limit": limit})
        self.say("3 OrderApi, 1 service and 2 NotificationService run, and the shop is stocked")

    def manners(self):
        """OrderApi does what api.cpp says, with good requests and bad ones."""
        first, second = self.system.apis[:2]
        order = {"customer": self.customers[0], "lines": [{"sku": "sku-0", "quantity": 1}]}
        other = {**order, "lines": [{"sku": "sku-0", "quantity": 2}]}

        def post(body, key=None, api=first):
            return self.system.ask(api, "POST", "/api/orders", body, key)
        expected, found = [], []

        def see(what, is_so):
            expected.append(what)
            if is_so:
                found.append(what)
        answers = [post(order, "manners"), post(order, "manners", second), post(order), post(order)]
        see("orders are confirmed", all(status == 201 for status, _ in answers))
        ids = [(answer or {}).get("id", "") for _, answer in answers]
        see("one key is one order, at any instance", ids[0] == ids[1])
        see("no key is a new order", len(set(ids)) == 3)
        see("a key used for another order is refused", post(other, "manners", second)[0] == 422)
        wrong = ("{", "[]", {}, {**order, "customer": "a b"}, {**order, "lines": []},
                 {**order, "lines": [{"sku": "sku-0", "quantity": 0}]},
                 {**order, "lines": [{"sku": "sku-0", "quantity": 1.5}]},
                 {**order, "lines": [{"sku": "sku-0", "quantity": 10 ** 30}]},
                 {**order, "lines": [7] * 5})
        see("what is no order is told so", all(post(body)[0] == 400 for body in wrong))
        see("a body without bounds is refused", post(json.dumps({"pad": "x" * 100_000}))[0] == 413)
        get = self.system.ask
        see("an order nobody placed is unknown", get(first, "GET", "/api/orders/nobody")[0] == 404)
        see("it is alive, ready and well", all(get(first, "GET", path)[0] == 200 for path in
                                              ("/health", "/health/live", "/health/ready")))
        twin = Process("twin", first.command, self.folder / "twin.log")
        see("a taken port is told at the start", twin.ended(10) == 78)
        self.check("manners of OrderApi", found, expected, found == expected)
        self.placed_by_hand = [
            {"order": name, "key": "by hand", "customer": order["customer"],
             "lines": [["sku-0", 1]], "status": "confirmed"} for name in sorted(set(ids) - {""})]

    def wait_load(self, load, patience_s):
        until("the callers are done", lambda: not load.running(), patience_s)
        if load.process.returncode != 0:
            raise Trouble(f"the callers ended with code {load.process.returncode}:\n{load.tail()}")

    def history(self, name):
        path = self.folder / f"{name}.history"
        self.histories.append(path)
        return path

    def throughput(self, services, orders):
        path = self.history(f"speed{services}")
        self.wait_load(self.system.load(path, orders, CALLERS, seed=services), 600)
        self.system.check(self.system.services[services:])
        figures = verdict.History(path).speed()
        self.figures["throughput"][str(services)] = figures
        self.say(speed_of(services, figures))

    # ---- faults ----

    def faults(self, orders):
        if not self.chosen.faults:
            return
        path = self.history("faults")
        share = len(self.chosen.faults) / len(FAULTS)
        # Orders shall wait for faults, not for each other, however slow this machine is.
        possible = self.figures["throughput"]["3"]["orders_per_s"] * MODEST
        rate = max(10.0, round(min(orders / (FAULTS_TAKE_S * share), possible), 1))
        self.figures["rate"] = rate
        load = self.system.load(path, orders, CALLERS, rate, until_told=True, seed=7)
        self.say(f"callers place {rate:g} orders/s from now on")
        for name in FAULTS:
            if name not in self.chosen.faults:
                continue
            time.sleep(1.5)  # what is asked of a fault is asked of a system at rest
            self.system.check()
            begin = now_us()
            more = getattr(self, "_" + name)() or {}
            time.sleep(1.0)
            self.windows[name] = (begin, now_us(), more)
            self.system.check()
        told = now_us()
        load.signal(signal.SIGTERM)
        self.say("all is whole again; the callers finish their orders")
        self.wait_load(load, 600)
        self.judge(verdict.History(path), told)

    def _stop(self, instances):
        """SIGTERM to all at once, and later a start of each."""
        for instance in instances:
            instance.process.signal(signal.SIGTERM)
        for instance in instances:
            code = instance.process.ended(60)
            self.check(f"{instance.name} ends with code 0 after SIGTERM", code, 0, code == 0)
        time.sleep(1.0)
        for instance in instances:
            instance.launch()
        for instance in instances:
            instance.wait_ready()

    def _one(self):
        self.say("SIGTERM to api-1 and service-1")
        self._stop([self.system.apis[0], self.system.services[0]])

    def _half(self):
        self.say("SIGTERM to half of the instances: api-1, service-1, service-2, notify-1")
        self._stop([self.system.apis[0], *self.system.services[:2], self.system.notifications[0]])

    def _kill(self):
        self.say("kill -9 of api-2 and service-2")
        killed = [self.system.apis[1], self.system.services[1]]
        for instance in killed:
            instance.process.kill9()
        time.sleep(2.0)
        for instance in killed:
            instance.launch()
        for instance in killed:
            instance.wait_ready()

    def _nats(self):
        server = self.system.busiest_nats()
        self.say(f"kill -9 of {server.name}, the one with most connections")
        server.kill9()
        time.sleep(3.0)
        server.start()

    def _redis(self):
        servers = self.system.servers
        until("Redis' replica is in step and known to every Sentinel",
              lambda: servers.in_step() and servers.can_fail_over(), 30, every_s=0.1)
        old, begin = servers.primary(), time.monotonic()
        self.say(f"kill -9 of {old.name}, the primary")
        other = next(server for server in servers.redis if server is not old)
        old.kill9()
        until("Sentinel has promoted the replica",
              lambda: "role:master" in other.says("INFO", "replication"), 30)
        promoted = time.monotonic() - begin
        # As whoever looks after servers would: with wait_replicas 1 nothing is acknowledged before.
        # It comes back with an empty disk, like a new machine: what it had would be read and thrown
        # away, for the other one sends everything.
        shutil.rmtree(old.folder / "appendonlydir")
        old.follows = lambda: other.port
        old.start()
        wait_failover(servers, old.port)
        until("the new primary has its replica", servers.in_step, 20)
        back = time.monotonic() - begin
        self.say(f"  {servers.primary().name} is the primary now, {old.name} its replica")
        time.sleep(2.0)
        return {"promoted_ms": round(promoted * 1000), "replica_back_ms": round(back * 1000)}

    def _partition(self):
        victim = self.system.services[2]
        pid, shards = victim.process.pid, self.system.shards_of(victim.name)
        self.say(f"{victim.name} is cut off from NATS and Redis; it owns {shards} shards")
        links = self.system.links[victim.name]
        links.cut(("nats", "redis"), "both")
        time.sleep(5.0)
        left = self.system.shards_of(victim.name)
        links.heal(("nats", "redis"))
        healed = time.monotonic()
        self.say(f"  the network is whole again; the others have left it {left} shards")
        until(f"{victim.name} owns shards again",
              lambda: self.system.shards_of(victim.name) > 0, 60, every_s=0.1)
        back = time.monotonic() - healed
        self.say(f"  {victim.name} is back after {back:.1f} s")
        self.check("partition: the node owned shards, lost them, and got some back by itself",
                   [shards, left, self.system.shards_of(victim.name)], ["> 0", 0, "> 0"],
                   shards > 0 and left == 0 and victim.process.pid == pid)
        return {"rejoined_ms": round(back * 1000)}

    # ---- the verdict ----

    LIMITS = {  # share of requests that may fail, in percent; longest wait of an order, ms
        "one": (0, 1000), "kill": (0, 3000), "half": (0.1, None), "nats": (0, 1000),
        "redis": (1, 5000), "partition": (0, 3000)}
    TITLES = {"one": "one instance stopped", "kill": "one instance killed",
              "half": "half of the instances stopped", "nats": "one NATS server killed",
              "redis": "Redis primary killed",
              "partition": "a service node cut off"}

    def judge(self, history, told):
        for name, (begin, end, more) in self.windows.items():
            figures = {**history.under(begin, end), **more, "lasted_ms": (end - begin) // 1000}
            self.figures["faults"][name] = figures
            failing, waiting = self.LIMITS[name]
            title = self.TITLES[name]
            percent = round(100 - figures["success_percent"], 3)
            self.check(f"{title}: failed requests of {figures['requests']}",
                       f"{figures['failed']} ({percent:g} %)",
                       f"{'<' if name == 'redis' else '<='} {failing:g} %",
                       percent < failing if name == "redis" else percent <= failing)
            if waiting:
                self.check(f"{title}: recovery, ms", figures["recovery_ms"], f"< {waiting}",
                           figures["recovery_ms"] < waiting)
            self.check(f"{title}: orders without an end", figures["undecided"], 0,
                       figures["undecided"] == 0)
        windows = [(begin, end) for begin, end, _ in self.windows.values()]
        windows.append((told, now_us()))  # no longer at a rate
        self.figures["steady"] = history.between(windows)

    def audit(self):
        histories = [verdict.History(path) for path in self.histories]
        placed = [order for history in histories for order in history.orders] + self.placed_by_hand
        self.say(f"audit of {len(placed)} orders")
        audit = verdict.Audit(self.system, placed, self.prices, self.customers, until)
        figures = self.figures["audit"] = audit.carry_out()
        wrong = [text for history in histories for text in history.wrong]
        self.check("orders placed", len(placed), f">= {self.chosen.orders}",
                   len(placed) >= self.chosen.orders or not self.chosen.faults)
        self.check("answers that contradict each other", wrong[:5] or 0, 0, not wrong)
        self.check("differences between orders, stock, charges and notices", audit.wrong or 0, 0,
                   audit.differences == 0)
        self.check("orders confirmed, refused",
                   [figures.get("confirmed", 0), figures.get("refused", 0)], "> 0 each",
                   figures.get("confirmed") and figures.get("refused"))
        self.check("units released, cents refunded: sagas went back",
                   [figures.get("units_released", 0), figures.get("cents_refunded", 0)], "> 0 each",
                   figures.get("units_released") and figures.get("cents_refunded"))

    def report(self):
        print()
        for name, one in self.figures["throughput"].items():
            print(speed_of(int(name), one))
        for name, one in self.figures["faults"].items():
            print(f"{self.TITLES[name]}: {one['requests']} requests, {one['failed']} failed, "
                  f"{one['switched']} went to another instance; "
                  f"the longest wait of an order was {one['recovery_ms']:.0f} ms")
        audit = self.figures["audit"]
        print(f"audit: {audit['orders']} orders, {audit.get('confirmed', 0)} confirmed, "
              f"{audit.get('refused', 0)} refused; {audit['units_reserved']} units reserved, "
              f"{audit['units_released']} released, {audit['units_sold']} sold; "
              f"{audit['cents_charged']} cents charged, {audit['cents_refunded']} refunded, "
              f"{audit['cents_earned']} earned; {audit['mails']} mails")
        print()
        for check in self.checks:
            mark = "ok    " if check["ok"] else "FAILED"
            limit = "" if check["found"] == check["limit"] else f" (limit: {check['limit']})"
            print(f"{mark}  {check['check']}: {check['found']}{limit}")

    def good(self):
        return bool(self.checks) and all(check["ok"] for check in self.checks)


def interrupted(*_):
    raise Trouble("interrupted")


def main():
    chosen = options()
    try:
        program("nats-server")
        program("redis-server")
    except Trouble as trouble:
        print(f"SKIPPED: {trouble}", file=sys.stderr)
        return 77
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupted)
    folder = pathlib.Path(tempfile.mkdtemp(prefix="catga-orders-"))
    demo, good = None, False
    try:
        demo = Demo(chosen, folder)
        demo.tell()
        good = demo.good()
    except Trouble as trouble:
        print(f"FAILED: {trouble}", file=sys.stderr)
    finally:
        if demo:
            demo.system.kill_all()
    if chosen.json and demo:
        seconds = round(time.monotonic() - demo.began, 1)
        demo.figures |= {"checks": demo.checks, "good": good, "seconds": seconds}
        chosen.json.write_text(json.dumps(demo.figures, indent=1) + "\n", encoding="utf-8")
    if good and not chosen.keep:
        shutil.rmtree(folder, ignore_errors=True)
    else:
        print(f"logs and histories: {folder}")
    print("good" if good else "NOT GOOD")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
