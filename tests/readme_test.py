#!/usr/bin/env python3
"""The README shows samples/quickstart.cpp as it is, and what it prints; its other claims hold too.

Usage: readme_test.py [catga-quickstart [catga-account-node [catga-transfer]]]   (their paths)
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


def block(language, number=0):
    """A fenced block of that language."""
    found = re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    return found[number] if number < len(found) else None


def shown_part(sample):
    source = (ROOT / "samples" / sample).read_text(encoding="utf-8")
    return re.search(r"^// \[readme\]\n(.*?)^// \[/readme\]$", source,
                     re.MULTILINE | re.DOTALL).group(1)


class Readme(unittest.TestCase):
    def test_the_code_is_that_of_the_samples(self):
        self.assertEqual(block("cpp"), shown_part("quickstart.cpp"))
        self.assertEqual(block("cpp", 1), shown_part("transfer.cpp"))
        self.assertIn("```cpp\n" + shown_part("quickstart_test.cpp") + "```\n", README)

    @unittest.skipUnless(PROGRAMS, "the quickstart was not built")
    def test_the_quickstart_prints_what_the_readme_says(self):
        done = subprocess.run([PROGRAMS[0]], capture_output=True, text=True, timeout=30, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(done.stdout, block("text"))

    @unittest.skipUnless(len(PROGRAMS) > 2, "the saga sample was not built")
    def test_the_saga_ends_as_the_readme_says(self):
        done = subprocess.run([PROGRAMS[2]], capture_output=True, text=True, timeout=30, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(done.stdout, block("text", 1))

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
        text = re.sub(r"^```.*?^```$", "", README, flags=re.MULTILINE | re.DOTALL)
        for target in re.findall(r"\]\(([^)#:]+)\)", text):
            self.assertTrue((ROOT / target).exists(), target)


if __name__ == "__main__":
    unittest.main()
