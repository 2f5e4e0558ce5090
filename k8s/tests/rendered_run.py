#!/usr/bin/env python3
"""Starts what the chart renders: three pods as processes, with real NATS and Redis on loopback.

    k8s/tests/rendered_run.py NODE_PROGRAM [TOOL [StatefulSet|Deployment]]

Command, arguments, variables (field references filled in), mounted files, ports, probe paths and
their timings, and the grace period are taken from `helm template`. This program plays the kubelet:
startup probe, then readiness and liveness; SIGTERM; SIGKILL when the grace is over; a restart under
the same name. It plays the rolling update of the StatefulSet or the Deployment too, while callers
deposit money and nobody repeats a call. Expected: no call fails, no cent is lost or doubled, every
pod ends with 0 inside its grace, and at no time is every pod unready.
"""
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request

import pods
import tools

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "tests" / "chaos"))
from processes import Process, Trouble, until  # pylint: disable=wrong-import-position
from servers import Nats, Redis  # pylint: disable=wrong-import-position
from nats_caller import Caller, Load  # pylint: disable=wrong-import-position

try:
    import yaml
except ImportError:
    tools.skip("python3-yaml is missing", "the chart, by running what it renders")

CHART = HERE.parent / "chart" / "catga"
USER, PASSWORD, REDIS_PASSWORD, TOKEN = "catga", "nats-secret", "redis-secret", "a-token-of-this-test"
REGION, ZONE = "eu-west-1", "eu-west-1a"


def secrets(nats):
    return {"servers-nats": {"user": USER, "password": PASSWORD},
            "nats-authority": {"ca.crt": (nats.folder / "ca.crt").read_text()},
            "nats-client": {f"tls.{part}": (nats.folder / f"client.{part}").read_text()
                            for part in ("crt", "key")},
            "servers-redis": {"redis-password": REDIS_PASSWORD},
            "admin": {"token": TOKEN}}


class SecureNats(Nats):
    """With TLS by an authority of its own, which clients must show a certificate of, and a password."""

    def command(self):
        self._certify()
        command = super().command()
        with open(self.folder / "nats.conf", "a", encoding="utf-8") as file:
            file.write(f'jetstream {{ store_dir: "{self.folder}" }}\n'
                       f"authorization {{ user: {USER}, password: {PASSWORD} }}\n"
                       f'tls {{ cert_file: "{self.folder}/server.crt", '
                       f'key_file: "{self.folder}/server.key", '
                       f'ca_file: "{self.folder}/ca.crt", verify: true }}\n')
        return command

    def _certify(self):
        def openssl(*words):
            subprocess.run(["openssl", *words], cwd=self.folder, check=True, capture_output=True)
        new = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
        openssl("req", "-x509", *new, "-keyout", "ca.key", "-out", "ca.crt", "-days", "2",
                "-subj", "/CN=authority of this test")
        for name, use in (("server", "subjectAltName=DNS:localhost"),
                          ("client", "extendedKeyUsage=clientAuth")):
            openssl("req", *new, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
            (self.folder / "use").write_text(use)
            openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.crt", "-CAkey", "ca.key",
                    "-CAcreateserial", "-out", f"{name}.crt", "-days", "2", "-extfile", "use")


class RedisWithPassword(Redis):
    def command(self):
        return [*super().command(), "--requirepass", REDIS_PASSWORD]

    def ready(self):
        return self.says("PING").startswith("-NOAUTH")


def render(nats, redis, kind):
    values = {
        "nats": {"urls": [f"tls://localhost:{nats.port}"], "existingSecret": "servers-nats",
                 "keys": {"user": "user", "password": "password"},
                 "tls": {"enabled": True, "existingSecret": "nats-authority",
                         "clientSecret": "nats-client"}},
        "redis": {"url": f"redis://127.0.0.1:{redis.port}/0", "existingSecret": "servers-redis"},
        "admin": {"existingTokenSecret": "admin", "readOnly": False},
        "config": {"entity": {"idle_timeout": "1m"}},
        "cluster": {"minMembers": 3},
        "topology": {"region": REGION},
        # As an API server does it that copies the machine's labels to the pod.
        "podLabels": {"topology.kubernetes.io/zone": ZONE},
        "workload": {"kind": kind, "minReadySeconds": 1}}  # 10 s, three times, show nothing more
    done = subprocess.run([tools.place("helm"), "template", "run", CHART, "--namespace", "default",
                           "--kube-version", "1.32.4", "--values", "-"], input=yaml.safe_dump(values), text=True,
                          capture_output=True, check=False)
    if done.returncode:
        raise Trouble(f"helm template: {done.stderr}")
    return [thing for thing in yaml.safe_load_all(done.stdout) if thing]


class Kubelet:
    """One pod: its process, its probes, and what they have said."""

    def __init__(self, pod, command, environment, log):
        self.pod, self.command, self.environment, self.log = pod, command, environment, log
        self.grace_s = pod.spec["terminationGracePeriodSeconds"]
        self.started = self.ready = self.ending = False
        self.restarts, self.troubles, self.process = 0, [], None
        self.start()

    def start(self):
        self.started = self.ready = self.ending = False
        self.process = Process(self.pod.name, ["env", "-i", *[f"{k}={v}" for k, v in
                               self.environment.items()], *self.command], self.log)
        threading.Thread(target=self._probe, args=(self.process,), daemon=True).start()

    def look(self, probe):
        """Whether the endpoint that a probe names answers with success."""
        get = self.pod.container[probe]["httpGet"]
        address = f"http://{self.pod.address}:{self.pod.port(get['port'])}{get['path']}"
        try:
            with urllib.request.urlopen(address, timeout=self.pod.container[probe][
                    "timeoutSeconds"]) as answer:
                return 200 <= answer.status < 400
        except (OSError, urllib.error.URLError):
            return False

    def _probe(self, process):
        """Startup until it succeeds; then readiness and liveness, each in its own rhythm."""
        startup, readiness, liveness = (self.pod.container[name] for name in (
            "startupProbe", "readinessProbe", "livenessProbe"))
        failures = 0
        while not self.look("startupProbe"):
            failures += 1
            if not process.running() or self.ending or self.process is not process:
                return
            if failures >= startup["failureThreshold"]:
                return self._fail(process, "startup")
            time.sleep(startup["periodSeconds"])
        self.started = True
        next_ready = next_alive = time.monotonic()
        unready = dead = 0
        while process.running() and self.process is process and not self.ending:
            now = time.monotonic()
            if now >= next_ready:
                next_ready += readiness["periodSeconds"]
                if self.look("readinessProbe"):
                    unready, self.ready = 0, not self.ending
                else:
                    unready += 1
                    self.ready = self.ready and unready < readiness["failureThreshold"]
            if now >= next_alive:
                next_alive += liveness["periodSeconds"]
                dead = 0 if self.look("livenessProbe") else dead + 1
                if dead >= liveness["failureThreshold"]:
                    return self._fail(process, "liveness")
            time.sleep(0.05)

    def _fail(self, process, probe):
        self.troubles.append(f"{self.pod.name}: the {probe} probe failed too often")
        self.restarts += 1
        process.signal(signal.SIGTERM)

    def stop(self):
        """Deletes the pod. Gives the exit code (None: killed after the grace) and the seconds."""
        self.ending, self.ready = True, False  # a pod that ends leaves the Services at once
        begun = time.monotonic()
        code = self.process.terminate(self.grace_s)
        return code, time.monotonic() - begun


class Watch:
    """How few pods were ready at once, since it was started."""

    def __init__(self, kubelets):
        self.kubelets, self.fewest, self.stopped = kubelets, len(kubelets), threading.Event()
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self):
        while not self.stopped.is_set():
            self.fewest = min(self.fewest, sum(kubelet.ready for kubelet in self.kubelets))
            time.sleep(0.02)


class Release:
    """The workload of the nodes, and the pods that are made from it."""

    def __init__(self, objects, given, kind, program, folder):
        self.objects, self.given, self.program, self.folder = objects, given, program, folder
        self.workload = pods.the(objects, kind, "run-catga")
        self.spec, self.made, self.kubelets = self.workload["spec"], 0, []

    def start_pod(self):
        """A pod of a Deployment has another name each time, one of a StatefulSet its number."""
        self.made += 1
        name = f"run-catga-{'' if self.workload['kind'] == 'StatefulSet' else 'x7k2-'}{self.made - 1}"
        image, of_image = pods.entry_point(HERE.parent / "image" / "Dockerfile")
        pod = pods.Pod(self.objects, self.given, self.spec["template"], name, "node", self.folder / name,
                       f"127.0.7.{self.made}")
        command = pod.command(image)
        if command[0] != self.program.name:
            raise Trouble(f"the pods start {command[0]}, but this is {self.program.name}")
        environment = {"PATH": os.environ["PATH"], **pod.environment(of_image)}
        self.kubelets.append(Kubelet(pod, [self.program, *command[1:]], environment,
                                     self.folder / f"{name}.log"))


def wait_ready(kubelets, patience_s=60):
    def look():
        for kubelet in kubelets:
            if not kubelet.process.running():
                raise Trouble(f"{kubelet.pod.name} ended:\n{kubelet.process.tail()}")
        return all(kubelet.ready for kubelet in kubelets)
    until(f"{', '.join(kubelet.pod.name for kubelet in kubelets)} ready", look, patience_s)


def stop(kubelet, wrong):
    code, took_s = kubelet.stop()
    print(f"{kubelet.pod.name}: exit {code} after {took_s:.1f} s of {kubelet.grace_s} s")
    if code != 0:
        wrong.append(f"{kubelet.pod.name} ended with {code} after {took_s:.1f} s:\n{kubelet.process.tail()}")


def roll(release, kubelets, wrong):
    """A StatefulSet updates from the highest number down, each pod available before the next."""
    for kubelet in reversed(kubelets):
        stop(kubelet, wrong)
        kubelet.start()
        wait_ready(release.kubelets)
        time.sleep(release.spec["minReadySeconds"])


def replace(release, wrong):
    """A Deployment: one pod more first, as its strategy says, then one of the old ones goes."""
    pace = release.spec["strategy"]["rollingUpdate"]
    if pace != {"maxSurge": 1, "maxUnavailable": 0}:
        raise Trouble(f"this is not how to roll with {pace}")
    for kubelet in list(release.kubelets):
        release.start_pod()
        wait_ready(release.kubelets)
        time.sleep(release.spec["minReadySeconds"])
        stop(kubelet, wrong)
        release.kubelets.remove(kubelet)


def run_helm_test(objects, given, tool, folder, wrong):
    """The pod of `helm test`, with the tool as it is built."""
    manifest = pods.the(objects, "Pod")
    pod = pods.Pod(objects, given, manifest, "check", "check", folder / "check")
    command = pod.command(["catga"])
    environment = {"PATH": os.environ["PATH"], **pod.environment()}
    done = subprocess.run([tool, *command[1:]], env=environment, capture_output=True, text=True,
                          timeout=90, check=False)
    if done.returncode:
        wrong.append(f"helm test: {' '.join(command)} ended with {done.returncode}:\n"
                     f"{done.stdout}{done.stderr}")


def check_places(objects, given, tool, folder, wrong):
    """Whether the members know where they run, asked as an operator would, from a pod."""
    pod = pods.Pod(objects, given, pods.the(objects, "Pod"), "places", "check", folder / "places")
    environment = {"PATH": os.environ["PATH"], **pod.environment()}
    done = subprocess.run([tool, "cluster", "nodes", "--json"], env=environment, capture_output=True,
                          text=True, timeout=30, check=False)
    nodes = json.loads(done.stdout)["data"]["nodes"] if done.returncode == 0 else []
    places = [(node["region"], node["zone"]) for node in nodes]
    if places != [(REGION, ZONE)] * 3:
        wrong.append(f"the nodes are in {places}, say the members {done.stderr}")


def check_certificate_needed(kubelet, wrong):
    """The server must refuse who shows no certificate, or the run would prove nothing about it."""
    environment = {key: value for key, value in kubelet.environment.items()
                   if not key.startswith(("CATGA_NATS_CERTIFICATE", "CATGA_NATS_KEY"))}
    environment |= {"CATGA_NODE_ID": "stranger", "CATGA_START_PATIENCE": "1s",
                    "CATGA_HEALTH_LISTEN": "off", "CATGA_ADMIN_LISTEN": "off"}
    done = subprocess.run(kubelet.command, env=environment, capture_output=True, text=True,
                          timeout=60, check=False)
    if done.returncode == 0 or "nats.certificate_file" not in done.stdout + done.stderr:
        wrong.append(f"a node without a certificate ended with {done.returncode}:\n"
                     f"{(done.stdout + done.stderr)[-1000:]}")


def with_pods(program, folder, body, kind="StatefulSet"):
    """Runs `body` while three rendered pods are ready and answer calls. Gives what went wrong."""
    wrong, kubelets = [], ()
    nats = SecureNats("nats", folder, "127.0.0.1").start()
    redis = RedisWithPassword("redis", folder, "127.0.0.1").start()
    try:
        release = Release(render(nats, redis, kind), secrets(nats), kind, program, folder)
        kubelets = release.kubelets
        for _ in range(release.spec["replicas"]):
            release.start_pod()
        wait_ready(kubelets)
        print("three pods are ready")
        caller = Caller(nats.port, kubelets[0].environment["CATGA_CLUSTER_NAME"], USER, PASSWORD,
                        nats.folder)
        load = Load(caller)
        until("calls are answered", lambda: load.count() > 100, 20)
        body(release, load, wrong)
        load.stop()
        wrong += load.failures[:10] + load.wrong_balances()[:10]
        if load.failures:
            wrong.append(f"{len(load.failures)} of {load.count()} calls failed")
        wrong += [trouble for kubelet in kubelets for trouble in kubelet.troubles]
        caller.close()
    finally:
        for kubelet in kubelets:
            kubelet.ending = True
            kubelet.process.signal(signal.SIGTERM)
        for kubelet in kubelets:
            kubelet.process.ended(20)
        for server in (nats, redis):
            server.kill9()
    return wrong


def scenario(program, tool, folder, kind):
    def body(release, load, wrong):
        watch, wanted = Watch(release.kubelets), release.spec["replicas"]
        if tool:
            run_helm_test(release.objects, release.given, tool, folder, wrong)
            check_places(release.objects, release.given, tool, folder, wrong)
        check_certificate_needed(release.kubelets[0], wrong)
        if kind == "StatefulSet":
            roll(release, release.kubelets, wrong)
            wanted -= 1
        else:
            replace(release, wrong)
        before = load.count()
        until("calls are answered after the roll", lambda: load.count() > before + 100, 20)
        watch.stopped.set()
        if watch.fewest < wanted:
            wrong.append(f"only {watch.fewest} pods were ready at some time")
        print(f"{load.count()} calls, {len(load.failures)} failed, slowest {load.slowest_s:.2f} s; "
              f"never fewer than {watch.fewest} pods ready")
    return with_pods(program, folder, body, kind)


def need_health_listener(program):
    said = subprocess.run([program, "--check-config"], capture_output=True, text=True, check=False)
    if "health.listen" not in said.stdout:
        tools.skip("this node has no health listener yet", "that what the chart renders can run")


def main(arguments):
    tools.need("that what the chart renders can run", "helm")
    program = pathlib.Path(arguments[0]).resolve()
    tool = pathlib.Path(arguments[1]).resolve() if len(arguments) > 1 else None
    kind = arguments[2] if len(arguments) > 2 else "StatefulSet"
    need_health_listener(program)
    with tempfile.TemporaryDirectory() as folder:
        try:
            wrong = scenario(program, tool, pathlib.Path(folder), kind)
        except Trouble as trouble:
            wrong = [str(trouble)]
    for what in wrong:
        print(f"FAILED: {what}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
