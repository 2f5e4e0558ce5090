#!/usr/bin/env python3
"""Starts the throw-away NATS and Redis of the chart as they are rendered, and one node on them; then
the pod of the Redis primary is lost with its disk.

    k8s/tests/trial_run.py NODE_PROGRAM        `meson test --suite long`
Names of pods lead to loopback addresses by an /etc/hosts of a mount namespace of its own; so it needs
root. Expected: one primary and two replicas, Sentinels that agree; after the loss a new primary that
has all keys, the lost pod back as its replica, the node serving again, and its drain without a rest.
"""
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import pods
import tools

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "tests" / "chaos"))
from processes import Process, Trouble, until  # pylint: disable=wrong-import-position
from servers import ask  # pylint: disable=wrong-import-position

try:
    import yaml
except ImportError:
    tools.skip("python3-yaml is missing", "the throw-away servers")

CHART = HERE.parent / "chart" / "catga"
NAME, MASTER = "trial-catga", "mymaster"


def render():
    done = subprocess.run([tools.place("helm"), "template", "trial", CHART, "--namespace", "default",
                           "--kube-version", "1.32.4", "--values", CHART / "ci" / "dev-values.yaml"],
                          text=True, capture_output=True, check=True)
    return [thing for thing in yaml.safe_load_all(done.stdout) if thing]


class Trial:
    def __init__(self, folder, program):
        self.folder, self.program, self.objects, self.processes = folder, program, render(), {}
        self.addresses = {f"{NAME}-{server}-{i}": f"127.0.7.{first + i}" for server, first in
                          (("nats", 10), ("redis", 20)) for i in range(3)}

    def set_hosts(self):
        lines = ["127.0.0.1 localhost"] + [
            f"{address} {pod}.{pod.rsplit('-', 1)[0]}.default.svc"
            for pod, address in self.addresses.items()]
        (self.folder / "hosts").write_text("\n".join(lines) + "\n")
        subprocess.run(["mount", "--bind", self.folder / "hosts", "/etc/hosts"], check=True)

    def pod(self, name, container, address):
        workload = pods.the(self.objects, "StatefulSet", name.rsplit("-", 1)[0])
        return pods.Pod(self.objects, {}, workload["spec"]["template"], name, container,
                        self.folder / f"{name}.{container}", address)

    def start(self, name, container):
        address = self.addresses[name]
        pod = self.pod(name, container, address)
        for place in pod.mounts.values():
            for file in [*place.glob("*.sh"), *place.glob("*.conf")]:  # these name paths and ports
                file.write_text(pod.here(file.read_text()).replace("0.0.0.0", address))
        self._launch(name, container, pod, pod.command([]))

    def start_node(self):
        pod = self.pod(f"{NAME}-0", "node", "127.0.7.1")
        self._launch(pod.name, "node", pod, pod.command([str(self.program)]))

    def _launch(self, name, container, pod, command):
        variables = {"PATH": os.environ["PATH"], **pod.environment()}
        self.processes[name, container] = Process(
            f"{name}.{container}", ["env", "-i", *[f"{k}={v}" for k, v in variables.items()],
                                    *command], self.folder / f"{name}.{container}.log")

    def redis(self, number, *words, port=6379):
        command = f"*{len(words)}\r\n" + "".join(f"${len(w)}\r\n{w}\r\n" for w in words)
        return ask(self.addresses[f"{NAME}-redis-{number}"], port, command).split("\r\n")

    def primaries(self):
        """The numbers of those who say that they are the primary."""
        return [i for i in range(3) if "master" in self.redis(i, "ROLE")]

    def settled_on(self, number):
        named = f"{NAME}-redis-{number}.{NAME}-redis.default.svc"
        return self.primaries() == [number] and all(
            named in self.redis(i, "SENTINEL", "get-master-addr-by-name", MASTER, port=26379) and
            (i == number or {named, "connected"} <= set(self.redis(i, "ROLE"))) for i in range(3))

    def keys(self):
        return [self.redis(i, "DBSIZE")[0] for i in range(3)]

    def node_says(self, text, after=0):
        return text in self.processes[f"{NAME}-0", "node"].log.read_text()[after:]

    def run(self):
        for i in range(3):
            self.start(f"{NAME}-nats-{i}", "nats")
            self.start(f"{NAME}-redis-{i}", "redis")
            self.start(f"{NAME}-redis-{i}", "sentinel")
        until("Redis has its primary, and all Sentinels name it", lambda: self.settled_on(0), 30)
        # They ask for replicas every 10 s; before they know any, nobody could be promoted.
        until("all Sentinels know the replicas", lambda: all(self.redis(
            i, "SENTINEL", "REPLICAS", MASTER, port=26379)[0] == "*2" for i in range(3)), 30)
        self.start_node()
        until("the node is ready", lambda: self.node_says(" is ready: "), 60)
        until("the replicas have what the primary has", lambda: len(set(self.keys())) == 1, 10)
        keys = int(self.keys()[0].removeprefix(":"))
        print(f"primary 0 with {keys} keys; its pod is lost with its disk")
        for container in ("redis", "sentinel"):
            self.processes[f"{NAME}-redis-0", container].kill9()
        shutil.rmtree(self.folder / f"{NAME}-redis-0.redis" / "data")
        said = len(self.processes[f"{NAME}-0", "node"].log.read_text())
        for container in ("redis", "sentinel"):
            self.start(f"{NAME}-redis-0", container)
        until("another Redis is the primary and the lost one follows",
              lambda: self.settled_on(1) or self.settled_on(2), 60)
        left = min(int(size.removeprefix(":")) for size in self.keys())
        if left < keys:
            raise Trouble(f"{keys} keys before, {left} after")
        until("the node serves again", lambda: self.node_says("is served here", said), 30)
        code = self.processes[f"{NAME}-0", "node"].terminate(90)
        if code != 0:
            raise Trouble(f"the node ended with {code}:\n"
                          f"{self.processes[f'{NAME}-0', 'node'].tail()}")
        print(f"primary {self.primaries()[0]} with {left} keys; the node has drained")

    def state(self):
        return "\n".join(
            f"redis {i}: {self.redis(i, 'ROLE')}, its Sentinel names " +
            str(self.redis(i, "SENTINEL", "get-master-addr-by-name", MASTER, port=26379)) +
            "\n" + self.processes[f"{NAME}-redis-{i}", "sentinel"].tail(8) for i in range(3))

    def stop(self):
        for process in self.processes.values():
            process.kill9()


def main(program):
    tools.need("the throw-away servers", "helm")
    if os.geteuid() != 0:
        tools.skip("only root may have an /etc/hosts of its own", "the throw-away servers")
    if os.environ.get("CATGA_OWN_HOSTS") != "1":  # once more, in a mount namespace
        os.environ["CATGA_OWN_HOSTS"] = "1"
        os.execvp("unshare", ["unshare", "--mount", sys.executable, __file__, program])
    with tempfile.TemporaryDirectory() as folder:
        trial = Trial(pathlib.Path(folder), pathlib.Path(program).resolve())
        try:
            trial.set_hosts()
            trial.run()
        except Trouble as trouble:
            print(f"FAILED: {trouble}\n{trial.state()}", file=sys.stderr)
            return 1
        finally:
            trial.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
