#!/usr/bin/env python3
"""Counts test cases in meson's logs and prints `N passed, N failed, N skipped` as the last line.

Usage: summary.py BUILD/meson-logs/testlog.json... The first log is the one that is counted; of the
others (the same tests again, under sanitizers) a line is printed and failures are added. A test
program that broke before it could count itself is one failure. Exit code 1 if anything failed.
"""
import json
import re
import sys

DOCTEST = re.compile(
    r"\[doctest\] test cases:\s*(\d+)\s*\|\s*(\d+) passed\s*\|\s*(\d+) failed\s*\|\s*(\d+) skipped")
UNITTEST = re.compile(r"^Ran (\d+) tests? in ", re.MULTILINE)
UNITTEST_END = re.compile(r"^(?:OK|FAILED)(?: \((.*)\))?$", re.MULTILINE)
FINE = {"OK", "EXPECTEDFAIL"}


def doctest_counts(test, output):
    """Sums over all doctest programs that wrote to `output`; None if there was none."""
    found = DOCTEST.findall(output)
    if not found:
        return None
    passed, failed, skipped = (sum(int(row[i]) for row in found) for i in (1, 2, 3))
    # With a filter, "skipped" are the cases that another run of the same program takes.
    if any(re.match(r"-?-(dt-)?(tc|ts|sf|test-case|test-suite|source-file)", word)
           for word in test.get("command", [])[1:]):
        skipped = 0
    return passed, failed, skipped


def unittest_counts(output):
    """The same for Python's unittest."""
    ran = UNITTEST.search(output)
    end = UNITTEST_END.search(output, ran.end()) if ran else None
    if not end:
        return None
    told = dict(part.split("=") for part in (end.group(1) or "").split(", ") if "=" in part)
    failed = sum(int(told.get(word, 0)) for word in ("failures", "errors", "unexpected successes"))
    skipped = int(told.get("skipped", 0))
    return int(ran.group(1)) - failed - skipped, failed, skipped


def counts(test):
    """(passed, failed, skipped) of one entry of testlog.json."""
    if test["result"] == "SKIP":
        return 0, 0, 1
    output = (test.get("stdout") or "") + "\n" + (test.get("stderr") or "")
    fine = test["result"] in FINE
    passed, failed, skipped = (doctest_counts(test, output) or unittest_counts(output)
                               or (int(fine), 0, 0))
    if not fine and failed == 0:
        failed = 1  # crashed, timed out, or found something after its own count
    return passed, failed, skipped


def total(path):
    """Sums over one log. A log that is not there is one failure: something did not run."""
    try:
        with open(path, encoding="utf-8", errors="replace") as log:
            tests = [json.loads(line) for line in log if line.strip()]
    except OSError as trouble:
        print(f"{path}: {trouble.strerror}")
        return 0, 1, 0
    sums = [0, 0, 0]
    for test in tests:
        one = counts(test)
        sums = [a + b for a, b in zip(sums, one)]
        mark = "failed" if one[1] else "ok"
        print(f"  {mark:<7} {one[0]:>5} passed {one[1]:>3} failed {one[2]:>3} skipped   {test['name']}")
    return tuple(sums)


def main(paths):
    passed, failed, skipped = 0, 0, 0
    for number, path in enumerate(paths):
        print(path)
        one = total(path)
        failed += one[1]
        if number == 0:
            passed, skipped = one[0], one[2]
    if passed + failed == 0:
        print("no test was run")
        failed = 1
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
