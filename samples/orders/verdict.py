"""What the history of the load comes to: figures of a stretch of time, and the audit."""
import collections
import concurrent.futures
import json

from processes import Trouble

MASK = (1 << 64) - 1


def number_of(order):
    """As in orders.hpp: FNV-1a of 64 bits."""
    number = 0xcbf29ce484222325
    for byte in order.encode():
        number = (number ^ byte) * 0x100000001b3 & MASK
    return number


def percentile(sorted_values, percent):
    """By nearest rank; 0 of nothing."""
    if not sorted_values:
        return 0.0
    return sorted_values[max(0, -(-len(sorted_values) * percent // 100) - 1)]


def ms(us):
    return round(us / 1000, 1)


class History:
    """All lines that a load has written."""

    def __init__(self, path):
        self.requests, self.orders, self.wrong = [], [], []
        with open(path, encoding="utf-8") as lines:
            for line in map(json.loads, lines):
                if "request" in line:
                    line["failed"] = line["request"][0] not in "1234"  # none, timeout, 5xx
                    self.requests.append(line)
                elif "order" in line:
                    self.orders.append(line)
                else:
                    self.wrong.append(line["wrong"])

    def speed(self):
        """Throughput and latency of a load that was all there was."""
        times = sorted(order["end"] - order["begin"] for order in self.orders)
        begin = min(order["begin"] for order in self.orders)
        end = max(order["end"] for order in self.orders)
        return {"orders": len(times), "seconds": round((end - begin) / 1e6, 2),
                "orders_per_s": round(len(times) / ((end - begin) / 1e6), 1),
                "p50_ms": ms(percentile(times, 50)), "p95_ms": ms(percentile(times, 95)),
                "p99_ms": ms(percentile(times, 99)), "max_ms": ms(times[-1])}

    def under(self, begin, end):
        """Figures of what was under way, or begun, between the two times."""
        requests = [one for one in self.requests if one["end"] >= begin and one["begin"] <= end]
        orders = [one for one in self.orders if one["end"] >= begin and one["begin"] <= end]
        failed = sum(one["failed"] for one in requests)
        # Of an order that was under way before, only the time since the fault.
        waits = [one["end"] - max(one["begin"], begin) for one in orders]
        return {"requests": len(requests), "failed": failed,
                "success_percent": round(100 * (1 - failed / max(len(requests), 1)), 3),
                "switched": sum(one["switches"] > 0 for one in requests),
                "orders": len(orders), "recovery_ms": ms(max(waits, default=0)),
                "undecided": sum(one["status"] == "undecided" for one in orders)}

    def between(self, windows):
        """Of the orders that no fault can have touched."""
        times = sorted(one["end"] - one["begin"] for one in self.orders if not any(
            begin <= one["end"] and one["begin"] <= end for begin, end in windows))
        return {"orders": len(times), "p50_ms": ms(percentile(times, 50)),
                "p95_ms": ms(percentile(times, 95)), "p99_ms": ms(percentile(times, 99))}


class Audit:
    """What must be there after all these orders, and what is. `wrong`: differences, in words."""

    EXAMPLES = 10

    def __init__(self, system, orders, prices, customers, until):
        self.system, self.orders, self.prices, self.until = system, orders, prices, until
        self.customers, self.wrong, self.figures = customers, [], collections.Counter()
        self.differences = 0

    def complain(self, text):
        self.differences += 1
        if len(self.wrong) < self.EXAMPLES:
            self.wrong.append(text)

    def same(self, what, found, expected):
        if found != expected:
            self.complain(f"{what} is {found}, and should be {expected}")

    def carry_out(self):
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            sheets = list(pool.map(self._sheet, self.orders))
        confirmed = [order for order, sheet in zip(self.orders, sheets)
                     if self._check_order(order, sheet)]
        self._check_stock(confirmed)
        self._check_accounts(confirmed)
        self._check_notices(confirmed)
        self.figures["differences"] = self.differences
        return dict(self.figures)

    # ---- orders ----

    def _sheet(self, order):
        """What OrderApi says of it, once it is decided; None if it knows nothing of it."""
        if not order["order"]:
            return None
        answers = []

        def look():
            path = f"/api/orders/{order['order']}"
            answers.append(self.system.must("GET", path, good=(200, 404)))
            status, sheet = answers[-1]
            return status == 404 or sheet["status"] != "pending"
        try:
            self.until("an order is decided", look, 60, every_s=0.1)
        except Trouble as trouble:
            return {"status": f"pending for 60 s ({trouble}); {answers[-1][1]}"}
        status, sheet = answers[-1]
        return None if status == 404 else sheet

    def _check_order(self, order, sheet):
        """Whether it was confirmed."""
        self.figures["orders"] += 1
        name = f"order {order['order'] or order['key']}"
        if sheet is None:
            self.complain(f"{name}, {order['status']}, is not known")
            return False
        if order["status"] == "undecided":
            self.figures["undecided"] += 1
        else:
            self.same(f"the status of {name}", sheet["status"], order["status"])
        if sheet["status"] != "confirmed":
            self.figures["refused"] += 1
            return False
        self.figures["confirmed"] += 1
        lines = [[line["sku"], line["quantity"]] for line in sheet["lines"]]
        order["cents"] = sum(self.prices[sku] * quantity for sku, quantity in order["lines"])
        self.same(f"how often {name} was created", sheet["created"], 1)
        self.same(f"the customer of {name}", sheet["customer"], order["customer"])
        self.same(f"the lines of {name}", lines, order["lines"])
        self.same(f"the price of {name}", sheet["cents"], order["cents"])
        return True

    # ---- what orders have moved ----

    def _check_flow(self, what, flow, expected):
        """`expected`: (order id, amount) of each that is out for good."""
        self.same(f"{what}: what is out", flow["out"] - flow["back"], sum(a for _, a in expected))
        self.same(f"{what}: how often something is out", flow["times_out"] - flow["times_back"],
                  len(expected))
        trace = sum(number_of(order) * amount for order, amount in expected) & MASK
        self.same(f"{what}: the trace of what is out", int(flow["trace"]), trace)

    def _check_stock(self, confirmed):
        expected = collections.defaultdict(list)
        for order in confirmed:
            for sku, quantity in order["lines"]:
                expected[sku].append((order["order"], quantity))
        for sku in self.prices:
            goods = self.system.must("GET", f"/api/stock/{sku}")[1]
            flow = goods["reserved"]
            self._check_flow(f"stock of {sku}", flow, expected[sku])
            self.same(f"what is left of {sku}", goods["left"],
                      goods["stocked"] - flow["out"] + flow["back"])
            if goods["left"] < 0:
                self.complain(f"{goods['left']} of {sku} are left")
            self.figures["units_reserved"] += flow["out"]
            self.figures["units_released"] += flow["back"]
            self.figures["units_sold"] += sum(quantity for _, quantity in expected[sku])

    def _check_accounts(self, confirmed):
        expected = collections.defaultdict(list)
        for order in confirmed:
            expected[order["customer"]].append((order["order"], order["cents"]))
        for customer in self.customers:
            flow = self.system.must("GET", f"/api/accounts/{customer}")[1]["charged"]
            self._check_flow(f"account of {customer}", flow, expected[customer])
            self.figures["cents_charged"] += flow["out"]
            self.figures["cents_refunded"] += flow["back"]
            self.figures["cents_earned"] += sum(cents for _, cents in expected[customer])

    def _check_notices(self, confirmed):
        expected = collections.defaultdict(list)
        for order in confirmed:
            expected[order["customer"]].append((order["order"], 1))

        def mailed():
            found = {c: self.system.must("GET", f"/api/mailboxes/{c}")[1]["mails"]
                     for c in self.customers}
            return found if sum(one["out"] for one in found.values()) >= len(confirmed) else None
        self._patiently("all mails are there", mailed)
        for customer in self.customers:
            flow = self.system.must("GET", f"/api/mailboxes/{customer}")[1]["mails"]
            self._check_flow(f"mails to {customer}", flow, expected[customer])
            self.figures["mails"] += flow["out"]
        ids = {order["order"] for order in confirmed}
        for instance in self.system.notifications:
            def heard(instance=instance):
                return set(self.system.board(instance.name).read_text(encoding="utf-8").split())
            self._patiently(f"{instance.name} has heard of all", lambda look=heard: look() >= ids)
            self.same(f"of orders, what {instance.name} has not heard of", len(ids - heard()), 0)
            self.same(f"what {instance.name} has heard of that is no order", len(heard() - ids), 0)
        self.figures["heard_by_each"] = len(ids)

    def _patiently(self, what, look):
        """Events come a little later. What has not come then is told as a difference."""
        try:
            self.until(what, look, 60, every_s=0.1)
        except Trouble as trouble:
            self.complain(str(trouble))
