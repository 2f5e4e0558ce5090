#!/usr/bin/env python3
"""The last line of tests/run tells the truth, also when programs crash or hang."""
import json
import pathlib
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import summary  # noqa: E402

DOCTEST = "[doctest] test cases: 17 | 15 passed | 2 failed | 1 skipped\n"


def test(result, stdout="", stderr="", command=("program",)):
    return {"name": "x", "result": result, "stdout": stdout, "stderr": stderr,
            "command": list(command)}


class Counting(unittest.TestCase):
    def test_doctest_programs_count_their_cases(self):
        self.assertEqual(summary.counts(test("FAIL", DOCTEST)), (15, 2, 1))
        self.assertEqual(summary.counts(test("FAIL", DOCTEST + DOCTEST)), (30, 4, 2))

    def test_cases_left_to_another_run_are_not_skipped(self):
        self.assertEqual(summary.counts(test("FAIL", DOCTEST, command=["p", "-tc=a*"])), (15, 2, 0))
        self.assertEqual(summary.counts(test("FAIL", DOCTEST, command=["p", "-d"])), (15, 2, 1))

    def test_python_tests_count_their_cases(self):
        ran = "Ran 5 tests in 0.1s\n\n"
        self.assertEqual(summary.counts(test("OK", "", ran + "OK\n")), (5, 0, 0))
        self.assertEqual(summary.counts(test("OK", "", ran + "OK (skipped=2)\n")), (3, 0, 2))
        self.assertEqual(
            summary.counts(test("FAIL", "", ran + "FAILED (failures=1, errors=2)\n")), (2, 3, 0))

    def test_a_program_without_a_count_is_one_test(self):
        self.assertEqual(summary.counts(test("OK")), (1, 0, 0))
        self.assertEqual(summary.counts(test("SKIP")), (0, 0, 1))

    def test_a_crash_after_a_good_count_is_a_failure(self):
        good = "[doctest] test cases: 3 | 3 passed | 0 failed | 0 skipped\n"
        self.assertEqual(summary.counts(test("FAIL", good)), (3, 1, 0))
        for result in ("TIMEOUT", "ERROR", "INTERRUPT", "FAIL"):
            self.assertEqual(summary.counts(test(result)), (0, 1, 0))

    def test_a_missing_log_is_a_failure(self):
        done = subprocess.run([sys.executable, summary.__file__, "/nonexistent/testlog.json"],
                              capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 1)
        self.assertEqual(done.stdout.splitlines()[-1], "0 passed, 1 failed, 0 skipped")

    def test_what_a_failed_test_said_stands_before_the_last_line(self):
        said = ("TEST CASE:  a good one\nfine\n====\nTEST CASE:  a bad one\n\n"
                "a.cpp:7: ERROR: CHECK( two == 3 ) is NOT correct!\n  values: CHECK( 2 == 3 )\n\n"
                + DOCTEST)
        with tempfile.NamedTemporaryFile("w", suffix=".json") as log:
            log.write(json.dumps(test("FAIL", said)) + "\n" + json.dumps(test("OK")) + "\n")
            log.flush()
            done = subprocess.run([sys.executable, summary.__file__, log.name],
                                  capture_output=True, text=True, check=False)
        self.assertEqual([line.strip() for line in done.stdout.splitlines()[3:-1]], [
            f"-- x ({log.name}) ended with FAIL:", "TEST CASE:  a bad one",
            "a.cpp:7: ERROR: CHECK( two == 3 ) is NOT correct!", "values: CHECK( 2 == 3 )"])

    def test_without_a_reason_its_last_lines_stand_there(self):
        said = "\n".join(f"line {i}" for i in range(100))
        lines = summary.reasons(test("TIMEOUT", said))
        self.assertEqual((lines[0], lines[-1]), ("line 60", "line 99"))


if __name__ == "__main__":
    unittest.main()
