#!/usr/bin/env python3
"""Installs the library into a folder and uses it from there, as a stranger's program would.

usage: install_test.py [--every-header] <build folder> <source folder> <compiler> [compiler arguments...]

Built and run against the installed files: the README's program by pkg-config alone, and tests/consumer by CMake and
by Meson. Each public header must compile alone: without --every-header only those are tried that no .cpp of the
library includes first, since its build has shown it for the others.
"""
import argparse
import os
import pathlib
import re
import shutil
import subprocess
import sys

STRICT = ["-Wall", "-Wextra", "-Wconversion", "-Werror"]
HIDDEN = re.compile(r"/(caf|nats|hiredis|fmt|spdlog|CLI|nlohmann|curl)/|/(nats|httplib|xxhash)\.h")
failures = []


def check(claim: str, trouble: str = "") -> None:
    """Trouble is what speaks against the claim; none is good."""
    print(f"{'FAIL' if trouble else 'ok  '} {claim}" + (f"\n{trouble}" if trouble else ""), flush=True)
    if trouble:
        failures.append(claim)


def run(*command: str | pathlib.Path, env: dict[str, str] | None = None) -> tuple[int, str]:
    done = subprocess.run([str(word) for word in command], env=env, stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, check=False, timeout=300)
    return done.returncode, done.stdout + done.stderr


def works(*command: str | pathlib.Path, env: dict[str, str] | None = None) -> str:
    """What a command said if it failed."""
    code, said = run(*command, env=env)
    return "" if code == 0 else f"{' '.join(map(str, command))}\nended with {code}:\n{said}"


def says(wanted: str, *command: str | pathlib.Path, env: dict[str, str] | None = None, code: int = 0) -> str:
    ended, said = run(*command, env=env)
    return "" if ended == code and wanted in said else f"ended with {ended} and said, without '{wanted}':\n{said}"


class Installed:
    """The prefix with the library in it, and how to compile against it."""

    def __init__(self, build: pathlib.Path, source: pathlib.Path, compiler: list[str], name: str):
        self.build, self.source, self.compiler = build, source, compiler
        self.work = build / "tests" / name
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir(parents=True)
        stage = self.work / "stage"
        trouble = works("meson", "install", "--no-rebuild", "--destdir", stage, "-C", build)
        check("the library can be installed", trouble)
        if trouble:
            sys.exit(1)
        self.headers = next(stage.rglob("catga/catga.hpp")).parent
        self.prefix = self.headers.parent.parent
        self.library = next(stage.rglob("libcatga.so"))
        self.env = os.environ | {
            "PKG_CONFIG_PATH": str(self.library.parent / "pkgconfig"),
            "LD_LIBRARY_PATH": str(self.library.parent),
            "CMAKE_PREFIX_PATH": str(self.prefix),
        }

    def flags(self, *questions: str) -> list[str]:
        return run("pkg-config", *questions, "catga", env=self.env)[1].split()

    def seen(self, listing: pathlib.Path) -> str:
        """Headers a program should not have met, by the list of them that the compiler wrote."""
        met = [os.path.realpath(word) for word in listing.read_text(encoding="utf-8").replace("\\\n", " ").split()[2:]]
        catga = [path for path in met if path.startswith((f"{self.source}/", f"{self.build}/"))]
        if not catga:
            return f"{listing} names no header of Catga"
        return "\n".join([path for path in met if HIDDEN.search(path)] +
                         [path for path in catga if not path.startswith(f"{self.headers}/")])


def linked(at: Installed) -> None:
    _, said = run("objdump", "-p", at.library)
    names = [line.split()[1] for line in said.splitlines() if line.split()[:1] == ["SONAME"]]
    check("the soname carries 0.1", "" if names == ["libcatga.so.0.1"] else f"it is {names}")
    _, said = run("nm", "-D", "--defined-only", "--demangle", at.library)
    names = [line.split(maxsplit=2)[2] for line in said.splitlines() if len(line.split(maxsplit=2)) == 3]
    foreign = [name for name in names if not re.match(
        r"(guard variable for |TLS \w+ function for |typeinfo (name )?for |vtable for |VTT for )?catga::", name)]
    check("the library shows names of catga only", "\n".join(foreign[:20]))
    check("the library shows names at all", "" if len(names) > 500 else f"{len(names)} of them")


def packaged(at: Installed) -> None:
    cflags, libs = at.flags("--cflags"), at.flags("--libs")
    check("pkg-config asks for no standard of its own", " ".join(w for w in cflags if w.startswith("-std")))
    check("pkg-config needs the package files of no other library",
          " ".join(at.flags("--print-requires", "--print-requires-private")))
    wanted = [f"-L{at.library.parent}", "-lcatga"]
    real = [w[:2] + os.path.realpath(w[2:]) if w.startswith("-L") else w for w in libs]
    check("pkg-config links nothing but catga", "" if real == wanted else f"{real} instead of {wanted}")
    program = at.work / "readme"
    check("the README's program builds by pkg-config with C++20 and strict warnings",
          works(*at.compiler, "-std=c++20", *STRICT, *cflags, "-MMD", "-MF", at.work / "readme.d",
                at.source / "samples/quickstart.cpp", "-o", program, *libs, env=at.env))
    if program.exists():
        check("the README's program runs", says("alice has 380 cents", program, env=at.env))
        check("a program meets no header of CAF, NATS, Redis or the other libraries", at.seen(at.work / "readme.d"))
    check("C++17 is refused in words",
          says("Catga needs C++20", *at.compiler, "-std=c++17", "-Wfatal-errors", "-fsyntax-only", *cflags,
               at.source / "samples/quickstart.cpp", env=at.env, code=1))


def used_by_meson(at: Installed) -> None:
    folder = at.work / "meson"
    trouble = works("meson", "setup", "-Dcpp_std=c++20", folder, at.source / "tests/consumer", env=at.env)
    trouble = trouble or works("ninja", "-C", folder, env=at.env)
    check("a Meson project with two files builds with C++20", trouble)
    if not trouble:
        check("what Meson built runs", says("counted 42", folder / "consumer", env=at.env))


def used_by_cmake(at: Installed) -> None:
    if not shutil.which("cmake"):
        print("SKIPPED: the CMake package was not tried, because cmake is missing", flush=True)
        return
    folder = at.work / "cmake"
    launcher = [f"-DCMAKE_CXX_COMPILER_LAUNCHER={at.compiler[0]}"] if "ccache" in at.compiler[0] else []
    trouble = works("cmake", "-G", "Ninja", "-S", at.source / "tests/consumer", "-B", folder,
                    "-DCMAKE_CXX_STANDARD=23", "-DCMAKE_EXPORT_NO_PACKAGE_REGISTRY=ON", *launcher, env=at.env)
    trouble = trouble or works("ninja", "-C", folder, env=at.env)
    check("a CMake project with two files builds with C++23", trouble)
    if not trouble:
        check("what CMake built runs", says("counted 42", folder / "consumer", env=at.env))
    for version, found in (("0.1", True), ("0.1.0 EXACT", True), ("0", True), ("0.2", False), ("0.1.99", False),
                           ("0.0.9", False), ("1.0", False)):
        project = at.work / "version"
        shutil.rmtree(project, ignore_errors=True)
        project.mkdir()
        (project / "CMakeLists.txt").write_text("cmake_minimum_required(VERSION 3.16)\nproject(version NONE)\n"
                                                f"find_package(Catga {version} REQUIRED)\n", encoding="utf-8")
        package = next(at.prefix.rglob("CatgaConfig.cmake")).parent
        configure = ["cmake", "-S", project, "-B", project / "build", f"-DCatga_DIR={package}"]
        check(f"find_package(Catga {version}) is {'met' if found else 'refused'}",
              works(*configure, env=at.env) if found else says("version: 0.1.0", *configure, env=at.env, code=1))


def proven_by_build(source: pathlib.Path, header: pathlib.PurePath) -> bool:
    """Whether a .cpp of the library includes it before anything else."""
    body = source / header.with_suffix(".cpp")
    if not body.is_file():
        return False
    first = re.search(r'^#include (.*)$', body.read_text(encoding="utf-8"), re.MULTILINE)
    return first is not None and first[1] == f'"catga/{header}"'


def headers_alone(at: Installed, every: bool) -> None:
    names = sorted(path.relative_to(at.headers) for path in at.headers.rglob("*.hpp"))
    wrong, tried = [], 0
    flags = ["-fsyntax-only", "-std=c++20", *STRICT, *at.flags("--cflags")]
    for name in names:
        if not every and (str(name) in ("catga.hpp", "version.hpp") or proven_by_build(at.source, name)):
            continue
        tried += 1
        alone = at.work / "alone.cpp"
        alone.write_text(f"#include <catga/{name}>\n", encoding="utf-8")
        wrong += [f"{name}: {trouble}" for trouble in [works(*at.compiler, *flags, alone)] if trouble]
    check(f"each public header compiles alone ({tried} of {len(names)} tried here)", "\n".join(wrong))
    together = at.work / "together.cpp"
    together.write_text("".join(f"#include <catga/{name}>\n" for name in reversed(names)), encoding="utf-8")
    check("all public headers compile together, in the wrong order too, and with C++23",
          works(*at.compiler, *flags, "-std=c++23", "-MD", "-MF", at.work / "together.d", together))
    if (at.work / "together.d").exists():
        check("no public header shows another library", at.seen(at.work / "together.d"))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--every-header", action="store_true")
    parser.add_argument("build", type=pathlib.Path)
    parser.add_argument("source", type=pathlib.Path)
    parser.add_argument("compiler", nargs=argparse.REMAINDER)
    asked = parser.parse_args()
    at = Installed(asked.build.resolve(), asked.source.resolve(), asked.compiler,
                   "every-header" if asked.every_header else "installed")
    linked(at)
    headers_alone(at, asked.every_header)
    if not asked.every_header:
        packaged(at)
        used_by_meson(at)
        used_by_cmake(at)
    print(f"{len(failures)} failed" if failures else "all as promised")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
