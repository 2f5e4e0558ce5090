#!/usr/bin/env python3
"""Builds the image from its Dockerfile, and runs what is in it as Kubernetes would: as a user without
rights or a way to get some, with a root that cannot be written to.

    k8s/tests/image_run.py install     installs buildah, and makes a Debian root to build on
    k8s/tests/image_run.py             builds and runs: `meson test --suite long`; compiles everything
    k8s/tests/image_run.py BUILD       the same without the first stage: what is built in the folder BUILD
                                       is installed, which takes minutes instead of half an hour
No container engine is needed: buildah runs the steps in a chroot, and here so does the program. It
needs root. The steps install packages, so a Debian mirror is contacted; no registry of images is:
`debian:12-slim` is made by debootstrap, as Debian makes it.
"""
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import check
import tools

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "tests" / "chaos"))
from processes import Process, Trouble, free_port, until  # pylint: disable=wrong-import-position
from servers import Nats, Redis, ask  # pylint: disable=wrong-import-position

TOP, DOCKERFILE = HERE.parents[1], HERE.parent / "image" / "Dockerfile"
BASE = tools.place("helm").parent.parent / "debian-12-root.tar"
BASE_NAME = "docker.io/library/debian:12-slim"  # what FROM means by debian:12-slim
NOT_CHECKED = "that the image can be built and run"
# What a pod of the chart is: another user, nothing kept of root's rights, and a root that is read only.
IN_THE_IMAGE = """
mount --make-rprivate / && mount --bind "$root" "$root" && mount -o remount,bind,ro "$root" &&
mount -t tmpfs tmpfs "$root/tmp" && mount --rbind /dev "$root/dev" && mount -t proc proc "$root/proc" &&
exec chroot "$root" /usr/bin/setpriv --reuid "${user%:*}" --regid "${user#*:}" --clear-groups \\
  --no-new-privs --bounding-set=-all --inh-caps=-all /usr/bin/env -i "$@"
"""


def install():
    packages = [name for name, command in (("buildah", "buildah"), ("debootstrap", "debootstrap"))
                if not shutil.which(command, path="/usr/bin:/usr/sbin")]
    if packages:
        subprocess.run(["apt-get", "install", "-y", "--no-install-recommends", *packages], check=True)
    if BASE.exists():
        return 0
    BASE.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder) / "root"
        subprocess.run(["debootstrap", "--variant=minbase", "bookworm", root,
                        "http://deb.debian.org/debian"], check=True)
        subprocess.run(["tar", "-C", root, "-cf", BASE.with_suffix(".new"), "--exclude=./dev/*",
                        "--exclude=./proc/*", "--exclude=./sys/*", "--exclude=./var/cache/apt/*.bin",
                        "--exclude=./var/cache/apt/archives/*.deb", "."], check=True)
    BASE.with_suffix(".new").rename(BASE)
    return 0


def install_of(build, folder):
    """What the first stage would leave, of a build folder of this tree."""
    usr = folder / "built" / "installed" / "usr"
    [library] = [path for path in pathlib.Path(build).glob("libcatga.so.*") if path.is_file() and
                 not path.is_symlink()]
    for file, kind in ((library, "lib"), (pathlib.Path(build) / "runtime/tool/catga", "bin"),
                       (pathlib.Path(build) / "samples/catga-account-node", "bin")):
        (usr / kind).mkdir(parents=True, exist_ok=True)
        subprocess.run(["strip", "--strip-unneeded", "-o", usr / kind / file.name, file], check=True)
    for link in (path for path in pathlib.Path(build).glob("libcatga.so.*") if path.is_symlink()):
        (usr / "lib" / link.name).symlink_to(library.name)
    return folder / "built"


class Builder:
    """buildah, with all that it keeps in a folder of this test."""

    def __init__(self, folder):
        self.store = ["--root", folder / "store", "--runroot", folder / "run", "--storage-driver", "vfs"]

    def __call__(self, *words, log=None):
        command = ["buildah", *map(str, [*self.store, *words])]
        if log:
            with open(log, "w", encoding="utf-8") as file:
                done = subprocess.run(command, stdout=file, stderr=file, check=False)
            tail = "\n".join(log.read_text(errors="replace").splitlines()[-30:])
            if done.returncode:
                raise Trouble(f"{' '.join(words[:1])} ended with {done.returncode}:\n{tail}")
            return ""
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise Trouble(f"buildah {words[0]}: {done.stderr}")
        return done.stdout.strip()

    def build(self, log, built=None):
        """`built`: a folder that stands for the stage `build`."""
        container = self("from", "scratch")
        self("add", "--quiet", container, BASE, "/")
        self("commit", "--quiet", container, BASE_NAME)
        self("rm", container)
        # As an engine would, but for the registry, and with the form that has a HEALTHCHECK.
        self("bud", "--isolation", "chroot", "--pull-never", "--format", "docker", "--ignorefile",
             f"{DOCKERFILE}.dockerignore", *(["--build-context", f"build={built}"] if built else []),
             "-f", DOCKERFILE, "-t", "catga/node:test", TOP, log=log)
        return json.loads(self("inspect", "--type", "image", "catga/node:test"))["Docker"]["config"]


class Image:
    def __init__(self, root, config):
        self.root, self.config = root, config

    def command(self, words, variables=()):
        given = dict(pair.split("=", 1) for pair in self.config["Env"]) | dict(variables)
        return ["env", f"root={self.root}", f"user={self.config['User']}", "unshare", "--mount", "sh", "-c",
                IN_THE_IMAGE, "sh", *[f"{name}={value}" for name, value in given.items()], *words]

    def run(self, *words, variables=()):
        return subprocess.run(self.command(words, variables), capture_output=True, text=True,
                              timeout=60, check=False)


def check_image(image, wrong):
    """What the image says of itself, and what it lacks on purpose."""
    config = image.config
    for what, found, wanted in (
            ("user", config["User"], "65532:65532"), ("signal", config["StopSignal"], "SIGTERM"),
            ("entry point", config["Entrypoint"], check.ENTRY_POINT),
            ("health check", config["Healthcheck"]["Test"], ["CMD", *check.health_check()])):
        if found != wanted:
            wrong.append(f"the image's {what} is {found}, not {wanted}")
    for name in ("g++", "meson", "python3"):
        if (image.root / "usr/bin" / name).exists():
            wrong.append(f"{name} came along from the build")
    who = image.run("sh", "-c", "id -u; touch /here /usr/here; grep -E 'Cap(Prm|Bnd)|NoNewPrivs' /proc/self/status")
    if who.stdout.split() != ["65532", "CapPrm:", "0" * 16, "CapBnd:", "0" * 16, "NoNewPrivs:", "1"] or \
            who.stderr.count("Read-only file system") != 2:
        wrong.append(f"the run would prove nothing: {who.stdout}{who.stderr}")


def check_life(image, folder, wrong):
    """Starts the entry point, asks the health check and the tool, and ends it."""
    nats = Nats("nats", folder, "127.0.0.1").start()
    redis = Redis("redis", folder, "127.0.0.1").start()
    port = free_port()
    variables = {"CATGA_NATS_URLS": f"nats://127.0.0.1:{nats.port}", "CATGA_NODE_ID": "in-the-image",
                 "CATGA_REDIS_URL": f"redis://127.0.0.1:{redis.port}/0", "CATGA_CLUSTER_SHARDS": "64",
                 "CATGA_HEALTH_LISTEN": f"127.0.0.1:{port}", "CATGA_ADMIN_LISTEN": "off"}
    node = Process("node", image.command(image.config["Entrypoint"], variables), folder / "node.log")

    def ready():
        if not node.running():
            raise Trouble(f"the node ended:\n{node.tail()}")
        return " 200 " in ask("127.0.0.1", port, "GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n")
    try:
        until("the node is ready", ready, 60, every_s=0.2)
        for words in (image.config["Healthcheck"]["Test"][1:], ["catga", "cluster", "check", "--settled"],
                      ["catga", "entity", "call", "account/alice", "Deposit", '{"cents":500}']):
            done = image.run(*words, variables=variables)
            print(f"{' '.join(words)}: {done.stdout.strip()}")
            if done.returncode:
                wrong.append(f"{words} ended with {done.returncode}: {done.stdout}{done.stderr}")
        code = node.terminate(30)
        if code != 0:
            wrong.append(f"the node ended with {code} after SIGTERM:\n{node.tail()}")
        done = image.run(*image.config["Healthcheck"]["Test"][1:], variables=variables)
        if done.returncode == 0:
            wrong.append("the health check finds a node that has ended well")
    finally:
        node.kill9()
        nats.kill9()
        redis.kill9()


def main(arguments):
    if arguments == ["install"]:
        return install()
    if os.geteuid() != 0:
        tools.skip("needs root", NOT_CHECKED)
    if not shutil.which("buildah") or not BASE.exists():
        tools.skip("buildah or its Debian root is missing; run k8s/tests/image_run.py install", NOT_CHECKED)
    wrong = []
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        builder = Builder(folder)
        try:
            built = install_of(arguments[0], folder) if arguments else None
            config = builder.build(folder / "build.log", built)
            container = builder("from", "--pull-never", "catga/node:test")
            image = Image(pathlib.Path(builder("mount", container)), config)
            check_image(image, wrong)
            check_life(image, folder, wrong)
        except Trouble as trouble:
            wrong.append(str(trouble))
        finally:
            subprocess.run(["buildah", *map(str, [*builder.store, "rm", "--all"])], capture_output=True,
                           check=False)
    for what in wrong:
        print(f"FAILED: {what}", file=sys.stderr)
    print("failed" if wrong else "the image was built, and its program runs without rights")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
