#!/usr/bin/env python3
"""The verdict of samples/orders/demo: its figures, and that its audit finds what is wrong."""
import copy
import json
import pathlib
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True
ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "samples" / "orders"), str(ROOT / "tests" / "chaos")]
import verdict
from processes import Trouble


def flow(*out, back=()):
    """What is out and came back, from (order, amount)."""
    trace = sum(verdict.number_of(order) * amount for order, amount in out)
    trace -= sum(verdict.number_of(order) * amount for order, amount in back)
    return {"out": sum(a for _, a in out), "back": sum(a for _, a in back), "times_out": len(out),
            "times_back": len(back), "trace": str(trace & verdict.MASK)}


class Notifier:
    def __init__(self, name):
        self.name = name


class Shop:
    """What a system would say after two confirmed orders and one that went back."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.notifications = [Notifier("notify-1"), Notifier("notify-2")]
        for one in self.notifications:
            self.board(one.name).write_text("A\nB\nA\n", encoding="utf-8")
        sheet = {"status": "confirmed", "created": 1, "customer": "ann"}
        self.answers = {
            "/api/orders/A": {**sheet, "lines": [{"sku": "tea", "quantity": 2}], "cents": 600},
            "/api/orders/B": {**sheet, "lines": [{"sku": "tea", "quantity": 1}], "cents": 300},
            "/api/orders/C": {"status": "refused"},
            "/api/stock/tea": {"stocked": 10, "left": 7, "reserved": flow(
                ("A", 2), ("B", 1), ("C", 5), back=[("C", 5)])},
            "/api/accounts/ann": {"charged": flow(("A", 600), ("B", 300), ("C", 1500),
                                                  back=[("C", 1500)])},
            "/api/mailboxes/ann": {"mails": flow(("A", 1), ("B", 1))}}

    def board(self, name):
        return self.folder / name

    def must(self, _, path, good=(200,)):
        if path not in self.answers:
            assert 404 in good
            return 404, {}
        return 200, copy.deepcopy(self.answers[path])


def once(_, look, *__, **___):
    """Does not wait: what is not there now is not there."""
    if not look():
        raise Trouble("waited in vain")


ORDERS = [{"order": order, "key": order.lower(), "customer": "ann", "lines": [["tea", quantity]],
           "status": status}
          for order, quantity, status in (("A", 2, "confirmed"), ("B", 1, "confirmed"),
                                          ("C", 5, "refused"))]


class AuditTest(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.shop = Shop(self.folder.name)

    def audit(self, orders=None):
        orders = copy.deepcopy(orders or ORDERS)
        audit = verdict.Audit(self.shop, orders, {"tea": 300}, ["ann"], once)
        figures = audit.carry_out()
        self.assertEqual(figures["differences"], audit.differences)
        return audit

    def test_books_that_agree_have_no_difference(self):
        audit = self.audit()
        self.assertEqual(audit.wrong, [])
        self.assertEqual(audit.figures["units_sold"], 3)
        self.assertEqual(audit.figures["units_released"], 5)
        self.assertEqual(audit.figures["cents_earned"], 900)
        self.assertEqual(audit.figures["confirmed"], 2)

    def test_an_undecided_order_may_have_ended_either_way(self):
        orders = [{**order, "status": "undecided"} for order in ORDERS]
        self.assertEqual(self.audit(orders).wrong, [])

    def found(self):
        self.assertGreater(self.audit().differences, 0)

    def test_an_acknowledged_order_that_is_gone_is_found(self):
        del self.shop.answers["/api/orders/A"]
        self.found()

    def test_an_order_that_changed_its_mind_is_found(self):
        self.shop.answers["/api/orders/C"]["status"] = "pending"
        self.found()

    def test_an_order_created_twice_is_found(self):
        self.shop.answers["/api/orders/A"]["created"] = 2
        self.found()

    def test_a_unit_that_was_not_released_is_found(self):
        self.shop.answers["/api/stock/tea"]["reserved"] = flow(
            ("A", 2), ("B", 1), ("C", 5), back=[("C", 4)])
        self.found()

    def test_a_double_and_a_loss_do_not_hide_each_other(self):
        self.shop.answers["/api/accounts/ann"]["charged"] = flow(("A", 600), ("A", 300))
        self.found()

    def test_a_charge_without_an_order_is_found(self):
        self.shop.answers["/api/accounts/ann"]["charged"] = flow(
            ("A", 600), ("B", 300), ("C", 1500))
        self.found()

    def test_stock_that_does_not_add_up_is_found(self):
        self.shop.answers["/api/stock/tea"]["left"] = 6
        self.found()

    def test_a_mail_too_many_or_too_few_is_found(self):
        self.shop.answers["/api/mailboxes/ann"]["mails"] = flow(("A", 1), ("B", 1), ("B", 1))
        self.found()
        self.shop.answers["/api/mailboxes/ann"]["mails"] = flow(("A", 1))
        self.found()

    def test_a_board_that_missed_an_order_or_made_one_up_is_found(self):
        self.shop.board("notify-2").write_text("A\n", encoding="utf-8")
        self.found()
        self.shop.board("notify-2").write_text("A\nB\nZ\n", encoding="utf-8")
        self.found()


class FiguresTest(unittest.TestCase):
    def history(self, *lines):
        with tempfile.NamedTemporaryFile("w", suffix=".history") as file:
            file.write("".join(json.dumps(line) + "\n" for line in lines))
            file.flush()
            return verdict.History(file.name)

    def request(self, result, begin, end):
        return {"request": result, "begin": begin, "end": end, "switches": 0}

    def test_percentiles_are_nearest_ranks(self):
        self.assertEqual(verdict.percentile([], 99), 0)
        self.assertEqual(verdict.percentile([7], 50), 7)
        self.assertEqual(verdict.percentile([1, 2, 3, 4], 50), 2)
        self.assertEqual(verdict.percentile([1, 2, 3, 4], 99), 4)

    def test_a_fault_is_charged_with_what_it_overlaps(self):
        history = self.history(
            self.request("503", 0, 99), self.request("201", 50, 150), self.request("503", 120, 130),
            self.request("none", 140, 150), self.request("timeout", 190, 300),
            self.request("409", 150, 160), self.request("503", 201, 300))
        figures = history.under(100, 200)
        self.assertEqual((figures["requests"], figures["failed"]), (5, 3))
        self.assertEqual(figures["success_percent"], 40)

    def test_recovery_is_the_longest_wait_since_the_fault(self):
        history = self.history(
            {"order": "a", "status": "confirmed", "begin": 0, "end": 1_500_000},
            {"order": "b", "status": "undecided", "begin": 1_100_000, "end": 1_700_000})
        figures = history.under(1_000_000, 2_000_000)
        self.assertEqual(figures["recovery_ms"], 600)
        self.assertEqual(figures["undecided"], 1)

    def test_numbers_of_orders_are_those_of_orders_hpp(self):
        self.assertEqual(verdict.number_of("a"), 0xaf63dc4c8601ec8c)


if __name__ == "__main__":
    unittest.main()
