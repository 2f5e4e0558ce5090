#!/usr/bin/env python3
"""The committed ledger is what its script makes, and has what the demo needs."""
import collections
import pathlib
import subprocess
import sys
import unittest

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "samples" / "account"


class LedgerTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.committed = (FOLDER / "ledger.csv").read_bytes()
        cls.rows = [line.split(",") for line in cls.committed.decode().splitlines()[1:]]

    def test_it_is_what_the_script_makes(self):
        made = subprocess.run([sys.executable, FOLDER / "ledger.py"], capture_output=True,
                              check=True).stdout
        self.assertTrue(made == self.committed, "ledger.csv differs from what ledger.py writes")

    def test_it_is_large_enough_and_small_enough(self):
        self.assertGreaterEqual(len(self.rows), 100_000)
        self.assertLess(len(self.committed), 4 * 1024 * 1024)
        self.assertEqual(len({row[2] for row in self.rows}), 5_000)
        self.assertEqual({row[1] for row in self.rows}, {"deposit", "withdraw", "transfer"})

    def test_few_accounts_take_many_lines(self):
        used = collections.Counter(row[2] for row in self.rows).most_common()
        self.assertGreater(used[0][1], 10_000)  # 1 of 9.1 by Zipf's law
        self.assertAlmostEqual(used[0][1] / used[1][1], 2, delta=0.3)

    def test_some_withdrawals_are_refused_in_whatever_order_they_come(self):
        money = sum(int(row[4]) for row in self.rows if row[1] == "deposit")
        hopeless = [row for row in self.rows if row[1] != "deposit" and int(row[4]) > money]
        self.assertGreater(len(hopeless), 100)


if __name__ == "__main__":
    unittest.main()
