#!/usr/bin/env python3
"""helm and kubeconform, built from pinned sources with `go install` (tools.txt).

    k8s/tests/tools.py install     builds what is missing; takes minutes the first time
They lie outside the repository: in $CATGA_TOOLS, else in ~/.cache/catga-tools/. The tests only look
for them there: they never download.
"""
import os
import pathlib
import shutil
import subprocess
import sys

SKIPPED = 77  # meson's "skipped"


def pinned():
    """name -> (package, version)"""
    lines = (pathlib.Path(__file__).parent / "tools.txt").read_text().splitlines()
    words = [line.split() for line in lines if line and not line.startswith("#")]
    return {name: (package, version) for name, package, version in words}


def place(name):
    default = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache")
    folder = os.environ.get("CATGA_TOOLS") or default / "catga-tools"
    return pathlib.Path(folder) / f"{name}-{pinned()[name][1]}" / name


def need(what_is_not_checked, *names):
    """Ends the test as skipped, loudly, if one of the tools is missing; as failed if it must not be."""
    missing = [name for name in names if not place(name).exists()]
    if missing:
        skip(f"{' and '.join(missing)} missing; run k8s/tests/tools.py install (needs Go)",
             what_is_not_checked)


def skip(reason, what_is_not_checked):
    print(f"SKIPPED: {reason}. Not checked: {what_is_not_checked}.", file=sys.stderr)
    sys.exit(1 if os.environ.get("CATGA_REQUIRE_HELM") == "1" else SKIPPED)


def install():
    go = shutil.which("go", path=os.environ.get("PATH", "") + ":/usr/local/go/bin:/usr/lib/go/bin")
    for name, (package, version) in pinned().items():
        if place(name).exists():
            continue
        if not go:
            print(f"Go is missing, so {name} {version} cannot be built", file=sys.stderr)
            return False
        print(f"building {name} {version}", flush=True)
        folder = place(name).parent
        environment = {**os.environ, "GOBIN": str(folder), "GOTOOLCHAIN": "local", "CGO_ENABLED": "0"}
        environment.pop("GOFLAGS", None)
        if subprocess.run([go, "install", f"{package}@{version}"], env=environment,
                          stdin=subprocess.DEVNULL, check=False).returncode != 0:
            print(f"{name} {version} could not be built; see above", file=sys.stderr)
            return False
    return True


if __name__ == "__main__":
    if sys.argv[1:] != ["install"]:
        sys.exit(__doc__)
    sys.exit(0 if install() else 1)
