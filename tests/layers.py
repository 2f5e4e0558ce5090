#!/usr/bin/env python3
"""Checks who includes whom. Run from the source root; one line per offence, exit code 1 if any."""
import pathlib
import re
import sys

# Folder -> folders of the library whose headers it may include.
DIRECTION = {
    "sharding": {"sharding"},
    "persistence": {"persistence", "sharding"},
    "entities": {"entities", "sharding"},
    "runtime": {"runtime", "entities", "persistence", "sharding"},
}
# Where the library ends: what is behind it may use all of it, and nothing of it may use that.
PROGRAM = "runtime/tool/"
# Third-party header -> where it may be included (start of the path).
FENCES = {
    r"caf/": ("runtime/actors/", "runtime/node.cpp"),
    r"(nats/)?nats\.h": ("runtime/messaging/",),
    r"hiredis": ("persistence/redis/",),
    r"msgpack": ("entities/",),
    r"xxh": ("sharding/hash.cpp",),
    r"spdlog/": ("runtime/telemetry/",),
    r"(curl/|zlib\.h)": ("runtime/telemetry/exporter.cpp",),
    r"CLI/": ("runtime/config.cpp", "runtime/tool/"),
    r"httplib": ("runtime/http/server.cpp",),
    r"nlohmann/": ("entities/", "runtime/"),
    r"fmt/": ("entities/", "persistence/", "runtime/"),
    # Decisions are pure: time and chance come in as arguments, nothing waits or prints.
    r"(thread|mutex|shared_mutex|condition_variable|future|iostream|fstream|random|unistd\.h)$":
        ("persistence/", "entities/", "runtime/"),
}
HIDDEN = re.compile(r"caf/|(nats/)?nats\.h|hiredis|fmt/|spdlog/|CLI/|curl/|zlib\.h|httplib")  # not in a public header
PUBLIC = re.compile(r"(entities|sharding)/.*\.hpp|runtime/(catga|config|node|testing)\.hpp")
INCLUDE = re.compile(r"\s*#\s*include\s*([<\"])([^>\"]+)[>\"]")


def includes(path):
    """(line number, quote, header) of each include of a file."""
    lines = path.read_text(encoding="utf-8").splitlines()
    found = ((number, INCLUDE.match(line)) for number, line in enumerate(lines, 1))
    return [(number, match[1], match[2]) for number, match in found if match]


def source_of(header):
    """The file behind catga/x/y.hpp; the links in the build folder add two without a folder."""
    name = header.removeprefix("catga/")
    return name if "/" in name else "runtime/" + name


def offences_of_library(path, quote, header):
    folder = path.split("/")[0]
    if header.startswith("catga/"):
        target = source_of(header).split("/")[0]
        if quote == "<":
            yield f'write "{header}" in quotes inside the library'
        if target not in DIRECTION[folder]:
            yield f"{folder} must not include {header}"
        if source_of(header).startswith(PROGRAM) and not path.startswith(PROGRAM):
            yield f"{header} is of a program: the library must not include it"
    elif quote == '"':
        yield f'write "{header}" as "catga/<folder>/..."'
    elif re.match(r"(.*/)?(samples|tests)/|doctest", header):
        yield f"the library must not include {header}"
    for pattern, allowed in FENCES.items():
        if re.match(pattern, header) and not path.startswith(allowed):
            yield f"{header} belongs in {', '.join(allowed)} only"


def leaks(path, files, seen):
    """What a header shows of other libraries, through Catga's own headers too."""
    seen.add(path)
    for _, _, header in files.get(path, []):
        if HIDDEN.match(header):
            yield f"shows {header}" + (f" ({path})" if len(seen) > 1 else "")
        elif header.startswith("catga/") and source_of(header) not in seen:
            yield from leaks(source_of(header), files, seen)


def main():
    root, offences = pathlib.Path("."), []
    if not (root / "sharding" / "ids.hpp").is_file():
        sys.exit("layers.py: run it from the source root")
    folders = (*DIRECTION, "samples", "tests")
    paths = sorted(p for f in folders for p in (root / f).rglob("*") if p.suffix in (".hpp", ".cpp"))
    files = {path.as_posix(): includes(path) for path in paths}
    for path, lines in files.items():
        for number, quote, header in lines:
            if path.split("/")[0] in DIRECTION:
                offences += [f"{path}:{number}: {o}" for o in offences_of_library(path, quote, header)]
            elif quote == '"' and header.startswith("catga/"):
                offences.append(f"{path}:{number}: write <{header}> in samples and tests")
        if PUBLIC.fullmatch(path):
            offences += [f"{path}: public header {leak}" for leak in leaks(path, files, set())]
    print("\n".join(offences) if offences else f"layers: {len(files)} files, no offence")
    return 1 if offences else 0


if __name__ == "__main__":
    sys.exit(main())
