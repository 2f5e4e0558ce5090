#!/usr/bin/env python3
"""Checks that every row of the table of cluster events is used. (A name that is not in it does not compile.)"""
import pathlib
import re
import sys

TABLE = pathlib.Path("runtime/telemetry/cluster_events.hpp")


def main():
    rows = re.findall(r'EventRow\{"([^"]+)"', TABLE.read_text(encoding="utf-8"))
    code = "".join(path.read_text(encoding="utf-8") for path in pathlib.Path("runtime").rglob("*.?pp") if path != TABLE)
    wrong = [f"{name}: in the table, used by nobody" for name in rows if f'"{name}"' not in code]
    wrong += [f"{name}: twice in the table" for name in {name for name in rows if rows.count(name) > 1}]
    if not rows:
        wrong.append(f"no rows found in {TABLE}")
    print("\n".join(wrong) if wrong else f"vocabulary: {len(rows)} events, all used")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
