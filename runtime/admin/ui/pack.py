#!/usr/bin/env python3
"""Turns the dashboard's page into a C++ file with its bytes and the headers it is to be served with.

usage: pack.py <page.html> <page.cpp>
"""
import base64
import hashlib
import pathlib
import re
import sys

MOST = 100_000


def policy(page: str) -> str:
    """Content-Security-Policy: only the script and the style that are in the page, and only its own host."""

    def sources(tag: str) -> str:
        parts = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        hashes = (
            base64.b64encode(hashlib.sha256(part.encode()).digest()).decode() for part in parts
        )
        return " ".join(f"'sha256-{one}'" for one in hashes)

    return (
        f"default-src 'none'; script-src {sources('script')}; style-src {sources('style')}; connect-src 'self'; "
        "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def main() -> None:
    source, target = map(pathlib.Path, sys.argv[1:3])
    page = source.read_bytes()
    if len(page) > MOST:
        sys.exit(f"{source.name} has {len(page)} bytes, and {MOST} are the most: make it smaller")
    numbers = ",".join(map(str, page))
    lines = re.sub(r"(.{90,94},)", r"\1\n", numbers)
    target.write_text(
        "// Made from page.html by pack.py.\n"
        '#include "catga/runtime/admin/ui/page.hpp"\n\nnamespace catga::admin {\nnamespace {\n'
        f"constexpr unsigned char bytes[] = {{\n{lines}}};\n}}  // namespace\n\n"
        "Page dashboard() {\n"
        f'  return {{{{reinterpret_cast<const char*>(bytes), sizeof bytes}},\n          "{policy(page.decode())}"}};\n'
        "}\n}  // namespace catga::admin\n",
        encoding="utf-8",
    )


if __name__ == "__main__":
    main()
