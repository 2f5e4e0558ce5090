#!/usr/bin/env python3
"""Writes ledger.csv, the work of the demo: deposits, withdrawals and transfers over 5,000 accounts.

The same seed gives the same bytes on every machine: the generator below is ours, because the
methods of Python's own may change between versions. Usage: ledger.py > ledger.csv
"""
import bisect
import sys

SEED = 20260301
ACCOUNTS = 5_000
LINES = 120_000


class Random:
    """splitmix64: small, known, and the same for ever."""

    def __init__(self, seed):
        self.state = seed

    def next(self):
        self.state = (self.state + 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF
        z = self.state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & 0xFFFFFFFFFFFFFFFF
        return z ^ (z >> 31)

    def below(self, bound):
        return self.next() % bound  # the bias of 2^-50 does not matter here


def zipf_table():
    """Running sums of 1/rank in integers: floating point could differ in the last digit."""
    total, sums = 0, []
    for rank in range(1, ACCOUNTS + 1):
        total += 10**12 // rank
        sums.append(total)
    return sums


def names(random):
    """Account names in an order that has nothing to do with how often they are used."""
    numbers = list(range(ACCOUNTS))
    for i in range(ACCOUNTS - 1, 0, -1):
        j = random.below(i + 1)
        numbers[i], numbers[j] = numbers[j], numbers[i]
    return [f"a{number:04}" for number in numbers]


def lines(random):
    """Yields (operation, account, other, cents)."""
    accounts, sums = names(random), zipf_table()

    def pick():
        return accounts[bisect.bisect_right(sums, random.below(sums[-1]))]

    for account in accounts:  # everybody begins with a little
        yield "deposit", account, "", 1_000 + random.below(9_000)
    for _ in range(LINES - ACCOUNTS):
        dice, account = random.below(1000), pick()
        if dice < 450:
            yield "deposit", account, "", 1 + random.below(5_000)
        elif dice < 745:
            yield "withdraw", account, "", 1 + random.below(4_000)
        elif dice < 750:
            # More than there ever is: refused in whatever order the lines happen to arrive.
            yield "withdraw", account, "", 10**11 + random.below(10**6)
        else:
            other = pick()
            while other == account:
                other = pick()
            yield "transfer", account, other, 1 + random.below(3_000)


def main():
    out = ["line,op,account,other,cents\n"]
    for number, (op, account, other, cents) in enumerate(lines(Random(SEED)), start=1):
        out.append(f"{number},{op},{account},{other},{cents}\n")
    sys.stdout.write("".join(out))


if __name__ == "__main__":
    main()
