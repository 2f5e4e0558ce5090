#!/usr/bin/env python3
"""What decides in the chaos test, without a process: the schedule, the gaps and the gates."""
import pathlib
import sys
import types
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import report
import schedule

NODES = ["n1", "n2", "n3"]


class Schedule(unittest.TestCase):
    def test_is_a_function_of_its_seed(self):
        plans = [schedule.plan(seed, 600, NODES, True) for seed in (1, 1, 2)]
        self.assertEqual(plans[0], plans[1])
        self.assertNotEqual(plans[0], plans[2])

    def test_leaves_time_to_recover_and_ends_in_time(self):
        for seed in range(200):
            end = 0
            for fault in schedule.plan(seed, 120, NODES, seed % 2 == 0):
                self.assertGreaterEqual(fault.at_s, end)
                end = fault.at_s + fault.seconds + schedule.recovery_s(fault)
                self.assertLess(end, 120)

    def test_makes_no_node_leave_twice_nor_join_while_it_runs(self):
        for seed in range(200):
            running = set(NODES)
            for fault in schedule.plan(seed, 600, NODES, True):
                if fault.kind == "join":
                    self.assertNotIn(fault.target, running)
                    running.add(fault.target)
                elif fault.target in (*NODES, schedule.EXTRA):
                    self.assertIn(fault.target, running)
                    running -= {fault.target} if fault.kind == "leave" else set()

    def test_ten_minutes_hold_every_kind_and_stops_of_all_lengths(self):
        for seed in range(50):
            faults = schedule.plan(seed, 600, NODES, True)
            kinds = {fault.kind for fault in faults}
            self.assertEqual(kinds, set(schedule.COST_S))
        stops = [fault.seconds for seed in range(50)
                 for fault in schedule.plan(seed, 600, NODES, True) if fault.kind == "stop"]
        self.assertLess(min(stops), 0.6)
        self.assertGreater(max(stops), 20)
        self.assertTrue(all(0.3 <= seconds <= 30 for seconds in stops))

    def test_keeps_to_the_kinds_asked_for(self):
        for only, kinds in (("kill", {"kill"}), ("leave", {"leave", "join"}), ("failover", set())):
            faults = schedule.plan(1, 300, NODES, False, [only])
            self.assertEqual({fault.kind for fault in faults}, kinds)


def recorder(*lines):
    made = report.Recorder(types.SimpleNamespace(history=lambda: []), 2)
    for line in lines:
        made._take(line.split())
    return made


def call(start_ms, end_ms, shard, outcome="ok"):
    return f"call {start_ms * 1000} {end_ms * 1000} a 1 append {outcome} 1 256 {shard} 1 -"


class Figures(unittest.TestCase):
    def test_a_gap_is_the_time_between_two_answers_of_a_shard_around_the_fault(self):
        calls = recorder(call(0, 100, 0), call(50, 120, 1), call(200, 900, 0), call(200, 300, 1),
                         call(910, 3000, 0), call(950, 960, 1))
        self.assertEqual(calls.gaps_ms([0, 1], 110_000, 400_000), [800, 660])
        self.assertEqual(calls.gaps_ms([0], 1_000_000, 1_100_000), [2100])

    def test_calls_without_an_answer_do_not_end_a_gap(self):
        calls = recorder(call(0, 100, 0), call(100, 500, 0, "unknown"), call(100, 900, 0))
        self.assertEqual(calls.gaps_ms([0], 200_000, 300_000), [800])

    def test_failed_are_calls_without_an_answer_in_their_time(self):
        calls = recorder(call(0, 5900, 0), call(1, 6100, 0), call(2, 3, 0, "refused"),
                         call(3, 4, 0, "unknown"), call(4, 5, 0, "rejected"),
                         call(9000, 9001, 0, "unknown"))
        self.assertEqual([c.start for c in calls.failed(0, 8_000_000)], [1000, 2000, 3000])
        self.assertEqual([c.start for c in calls.failed(3500, 9_500_000)], [1000, 3000, 9_000_000])

    def test_a_failed_call_is_blamed_on_the_first_fault_it_met_and_on_no_other(self):
        calls = recorder(call(1000, 7500, 0), call(3000, 3001, 0, "unknown"),
                         call(8000, 8001, 0, "refused"))
        figures = [{"failed": calls.failed(begin * 1000, end * 1000)}
                   for begin, end in ((6000, 7000), (7000, 7800))]
        calm = report.blame(figures, calls.failed(0, 9_000_000))
        self.assertEqual([len(figure["failed"]) for figure in figures], [1, 0])
        self.assertEqual([c.start for c in calm], [3_000_000, 8_000_000])

    def test_a_shard_is_silent_until_a_call_begun_later_is_answered(self):
        calls = recorder(call(10, 50, 0), call(21, 22, 1))
        self.assertEqual(calls.silent_shards(20_000), [0])

    def test_quantiles_are_values_that_were_measured(self):
        self.assertEqual(report.quantile(range(1, 101), 0.99), 99)
        self.assertEqual(report.quantile([5], 0.5), 5)
        self.assertIsNone(report.quantile([], 0.5))


class Gates(unittest.TestCase):
    GOOD = {"calls": 9, "lost": 0, "applied_twice": 0, "nonlinearizable": 0, "unexplained": 0,
            "applied_though_refused": 0, "failed_calls_in_calm": 0,
            "faults": {"kill": {"unavailable_p99_ms": 999, "failed_calls": 3},
                       "leave": {"unavailable_p99_ms": 9999, "failed_calls": 0}}}

    def test_hold_for_a_good_run(self):
        self.assertEqual(report.broken_gates(self.GOOD, []), [])

    def test_each_breaks_alone(self):
        for name in (*report.DEFECTS, "failed_calls_in_calm"):
            self.assertEqual(len(report.broken_gates({**self.GOOD, name: 1}, [])), 1, name)
        for kind, row in (("kill", {"unavailable_p99_ms": 1000, "failed_calls": 0}),
                          ("leave", {"unavailable_p99_ms": 1, "failed_calls": 1}),
                          ("rolling", {"unavailable_p99_ms": 1, "failed_calls": 1})):
            broken = report.broken_gates({**self.GOOD, "faults": {kind: row}}, [])
            self.assertEqual(len(broken), 1, kind)
        self.assertEqual(len(report.broken_gates({**self.GOOD, "calls": 0}, [])), 1)
        self.assertEqual(report.broken_gates(self.GOOD, ["a node ended"]), ["a node ended"])


if __name__ == "__main__":
    unittest.main()
