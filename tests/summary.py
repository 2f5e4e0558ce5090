#!/usr/bin/env python3
"""Counts test cases in meson's logs and prints `N passed, N failed, N skipped` as the last line.

Usage: summary.py BUILD/meson-logs/testlog.json... The first log is the one that is counted; of the
others (the same tests again, under sanitizers) a line is printed and failures are added. A test
program that broke before it could count itself is one failure. What the failed ones said is
repeated before the last line: of a long log often only the end is kept. Exit code 1 if anything
failed.
"""
import json
import re
import sys

DOCTEST = re.compile(
    r"\[doctest\] test cases:\s*(\d+)\s*\|\s*(\d+) passed\s*\|\s*(\d+) failed\s*\|\s*(\d+) skipped")
UNITTEST = re.compile(r"^Ran (\d+) tests? in ", re.MULTILINE)
UNITTEST_END = re.compile(r"^(?:OK|FAILED)(?: \((.*)\))?$", re.MULTILINE)
FINE = {"OK", "EXPECTEDFAIL"}
# What tells why: a check of doctest or unittest, a sanitizer, an assert, a compiler.
REASON = re.compile(r"ERROR|FAIL|Assertion|runtime error|Traceback|error:")
TITLE = re.compile(r"^(TEST CASE:|ERROR: test_|FAIL: )")
LINES_OF_ONE = 40


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


def reasons(test):
    """The lines of a failed test that say why, at most LINES_OF_ONE; the last ones if none does."""
    output = (test.get("stdout") or "") + "\n" + (test.get("stderr") or "")
    lines = [line for line in output.splitlines()
             if line.strip(" =-") and not line.startswith("[doctest]")]
    kept, title, until = [], None, -1
    for number, line in enumerate(lines):
        title = line if TITLE.match(line) else title
        if REASON.search(line):
            until = number + 2
            if title and title not in kept:
                kept.append(title)
        if number <= until and line not in kept[-1:]:
            kept.append(line)
    return kept[:LINES_OF_ONE] or lines[-LINES_OF_ONE:]


def total(path, said):
    """Sums over one log. A log that is not there is one failure: something did not run. Adds to
    `said` what its failed tests said."""
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
        if one[1]:
            said.append(f"-- {test['name']} ({path}) ended with {test['result']}:")
            said += ["   " + line for line in reasons(test)]
    return tuple(sums)


def main(paths):
    passed, failed, skipped = 0, 0, 0
    said = []
    for number, path in enumerate(paths):
        print(path)
        one = total(path, said)
        failed += one[1]
        if number == 0:
            passed, skipped = one[0], one[2]
    if passed + failed == 0:
        print("no test was run")
        failed = 1
    for line in said:
        print(line)
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
