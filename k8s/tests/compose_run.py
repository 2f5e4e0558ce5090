#!/usr/bin/env python3
"""Starts what compose.yaml says, without an engine: its NATS, its Redis and its three nodes.

    k8s/tests/compose_run.py NODE_PROGRAM TOOL
Commands, variables and health checks are those of the file; each service gets a loopback address of its
own, to which its name leads, and volumes lie in a folder. Services start in the order of `depends_on`.
Expected: all are healthy; a killed node is missed by nobody; every node ends inside its stop_grace_period.
"""
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

import pods
import tools

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "tests" / "chaos"))
from processes import Process, Trouble, until  # pylint: disable=wrong-import-position
from servers import ask, program as program_called  # pylint: disable=wrong-import-position

try:
    import yaml
except ImportError:
    tools.skip("python3-yaml is missing", "compose.yaml, by running it")

COMPOSE = HERE.parent / "compose" / "compose.yaml"
ADDRESSES = {"nats": "127.0.8.10", "redis": "127.0.8.20", "node-1": "127.0.8.1", "node-2": "127.0.8.2",
             "node-3": "127.0.8.3"}
# What listens everywhere in a container has to be told its address here.
LISTEN = {"nats": "--addr", "redis": "--bind"}


class Compose:
    def __init__(self, folder, node, tool):
        self.folder, self.programs = folder, {"catga-account-node": node, "catga": tool}
        self.services = yaml.safe_load(COMPOSE.read_text())["services"]
        entry_point, self.of_image = pods.entry_point(HERE.parent / "image" / "Dockerfile")
        self.entry_points = {"nats": ["nats-server"]}  # of its image
        self.entry_points |= {name: entry_point for name in self.services if name.startswith("node-")}
        self.processes = {}

    def here(self, name, text):
        """A word of the file as it must read on this machine."""
        text = re.sub(r"\$\{\w+-(.*?)\}", r"\1", str(text))
        text = re.sub(r"^/data$", str(self.folder / name), text)
        text = re.sub(r"\b0\.0\.0\.0(?=:)", ADDRESSES[name], text)
        return re.sub(r"(?<=//)(nats|redis)(?=:)", lambda found: ADDRESSES[found[1]], text)

    def environment(self, name):
        # A container has a loopback of its own, where the node's default is.
        loopback = {"CATGA_ADMIN_LISTEN": f"{ADDRESSES[name]}:8080"} if name.startswith("node-") else {}
        given = {**loopback, **self.of_image, **self.services[name].get("environment", {})}
        return {"PATH": os.environ["PATH"], **{key: self.here(name, value) for key, value in given.items()}}

    def start(self, name):
        service = self.services[name]
        words = [*self.entry_points.get(name, []), *service.get("command", [])]
        first = self.programs.get(words[0]) or program_called(words[0])
        listen = [LISTEN[name], ADDRESSES[name]] if name in LISTEN else []
        where = ["--dir", str(self.folder / name)] if name == "redis" else []
        (self.folder / name).mkdir(exist_ok=True)
        environment = [f"{key}={value}" for key, value in self.environment(name).items()]
        self.processes[name] = Process(name, ["env", "-i", *environment, first, *[
            self.here(name, word) for word in words[1:]], *listen, *where], self.folder / f"{name}.log")

    def healthy(self, name):
        """Asks as the file's health check does; the images' own tools are not here."""
        words = self.services[name]["healthcheck"]["test"][1:]
        if not self.processes[name].running():
            raise Trouble(f"{name} ended:\n{self.processes[name].tail()}")
        if words[0] == "catga":
            return subprocess.run([self.programs["catga"], *words[1:]], env=self.environment(name),
                                  capture_output=True, check=False).returncode == 0
        if words == ["redis-cli", "ping"]:
            return ask(ADDRESSES[name], 6379, "PING\r\n").startswith("+PONG")
        [port, path] = re.search(r"http://127\.0\.0\.1:(\d+)(/\S+)", words[-1]).groups()
        return " 200 " in ask(ADDRESSES[name], int(port), f"GET {path} HTTP/1.0\r\n\r\n")

    def up(self, name):
        for other in self.services[name].get("depends_on", {}):
            if other not in self.processes:
                self.up(other)
                until(f"{other} is healthy", lambda o=other: self.healthy(o), 30, every_s=0.1)
        self.start(name)

    def catga(self, *words):
        done = subprocess.run([self.programs["catga"], *words], env=self.environment("node-1"),
                              capture_output=True, text=True, check=False)
        if done.returncode:
            raise Trouble(f"catga {' '.join(words)}: {done.stdout}{done.stderr}")
        return done.stdout


def scenario(compose, nodes, wrong):
    for name in nodes:
        compose.up(name)
    for name in nodes:
        until(f"{name} is healthy", lambda n=name: compose.healthy(n), 60, every_s=0.2)
    compose.catga("cluster", "check", "--expect-nodes", "3", "--settled", "--wait", "30")
    for number in range(10):
        compose.catga("entity", "call", f"account/a{number}", "Deposit", '{"cents":5}')
    compose.processes["node-2"].kill9()
    compose.catga("cluster", "check", "--expect-nodes", "2", "--settled", "--wait", "30")
    for number in range(10):
        reply = compose.catga("entity", "call", f"account/a{number}", "Deposit", '{"cents":5}')
        if json.loads(reply)["cents"] != 10:
            wrong.append(f"account/a{number} after the kill: {reply}")
    compose.start("node-2")
    compose.catga("cluster", "check", "--expect-nodes", "3", "--settled", "--wait", "30")
    for name in nodes:
        grace_s = int(compose.services[name]["stop_grace_period"].removesuffix("s"))
        if (code := compose.processes[name].terminate(grace_s)) != 0:
            wrong.append(f"{name} ended with {code}:\n{compose.processes[name].tail()}")


def main(arguments):
    if not all(shutil.which(name, path="/usr/bin:/usr/sbin:/usr/local/bin") for name in ("nats-server", "redis-server")):
        tools.skip("nats-server or redis-server is missing", "compose.yaml, by running it")
    wrong = []
    with tempfile.TemporaryDirectory() as name:
        compose = Compose(pathlib.Path(name), *(pathlib.Path(argument).resolve() for argument in arguments))
        nodes = [name for name in compose.services if name.startswith("node-")]
        try:
            scenario(compose, nodes, wrong)
        except Trouble as trouble:
            wrong.append(str(trouble))
        finally:
            for process in compose.processes.values():
                process.kill9()
    for what in wrong:
        print(f"FAILED: {what}", file=sys.stderr)
    print("failed" if wrong else "compose.yaml runs: three healthy nodes, one of them killed and back")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
