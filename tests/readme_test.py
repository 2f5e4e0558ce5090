#!/usr/bin/env python3
"""The README shows samples/quickstart.cpp as it is, and what it prints; its other claims hold too.

Usage: readme_test.py [path of the built catga-quickstart [path of catga-account-node]]
"""
import pathlib
import re
import subprocess
import sys
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
PROGRAMS = sys.argv[1:]
sys.argv[1:] = []


def block(language):
    """The first fenced block of that language."""
    found = re.search(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    return found.group(1) if found else None


class Readme(unittest.TestCase):
    def test_the_code_is_the_quickstart(self):
        source = (ROOT / "samples" / "quickstart.cpp").read_text(encoding="utf-8")
        shown = re.search(r"^// \[readme\]\n(.*?)^// \[/readme\]$", source,
                          re.MULTILINE | re.DOTALL)
        self.assertEqual(block("cpp"), shown.group(1))

    @unittest.skipUnless(PROGRAMS, "the quickstart was not built")
    def test_the_quickstart_prints_what_the_readme_says(self):
        done = subprocess.run([PROGRAMS[0]], capture_output=True, text=True, timeout=30, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(done.stdout, block("text"))

    @unittest.skipUnless(len(PROGRAMS) > 1, "the node program was not built")
    def test_every_setting_it_names_exists(self):
        helped = subprocess.run([PROGRAMS[1], "--help"], capture_output=True, text=True, timeout=30,
                                check=True).stdout
        keys = re.findall(r"^\| `([a-z]+\.[a-z_.]+)` \|", README, re.MULTILINE)
        self.assertGreater(len(keys), 10)
        for key in keys:
            flag = "--" + re.sub(r"[._]", "-", key)
            variable = "CATGA_" + key.upper().replace(".", "_")
            self.assertTrue(flag + " " in helped or variable + " " in helped, key)

    def test_the_two_commands_are_there_and_can_be_run(self):
        for command in ("samples/demo", "tests/run"):
            self.assertIn(command, README)
            self.assertTrue((ROOT / command).stat().st_mode & 0o111, command)

    def test_links_to_files_lead_somewhere(self):
        for target in re.findall(r"\]\(([^)#:]+)\)", README):
            self.assertTrue((ROOT / target).exists(), target)


if __name__ == "__main__":
    unittest.main()
