#!/usr/bin/env python3
"""Checks that each mistake is a compile error one understands, and that what is right compiles.

usage: check.py <compiler> [compiler arguments...] <include folder>

Each .cpp beside this file names in its first lines, `// expect: ...`, what the compiler has to say. A file without
such a line has to compile.
"""
import pathlib
import subprocess
import sys


def expected(source: pathlib.Path) -> list[str]:
    lines = source.read_text(encoding="utf-8").splitlines()
    return [line.split(":", 1)[1].strip() for line in lines if line.startswith("// expect:")]


def trouble(source: pathlib.Path, compiler: list[str]) -> str:
    run = subprocess.run([*compiler, "-fsyntax-only", str(source)], capture_output=True, text=True, check=False)
    said = run.stdout + run.stderr
    wanted = expected(source)
    if not wanted:
        return "" if run.returncode == 0 else "should compile, but:\n" + said
    if run.returncode == 0:
        return "compiles, but should not"
    # Only error lines count: a compiler also prints the source around them, static_assert sentences included.
    errors = [line for line in said.splitlines() if "error:" in line]
    missing = [sentence for sentence in wanted if not any(sentence in line for line in errors)]
    return "".join(f"the compiler does not say: {sentence}\n" for sentence in missing) + (said if missing else "")


def main() -> int:
    if len(sys.argv) < 3:
        print(__doc__, file=sys.stderr)
        return 2
    compiler = [*sys.argv[1:-1], "-std=c++20", "-I", sys.argv[-1]]
    failures = 0
    for source in sorted(pathlib.Path(__file__).resolve().parent.glob("*.cpp")):
        wrong = trouble(source, compiler)
        failures += bool(wrong)
        print(f"{'FAIL' if wrong else 'ok  '} {source.name}" + (f"\n{wrong}" if wrong else ""))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
