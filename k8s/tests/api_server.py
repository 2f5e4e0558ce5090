#!/usr/bin/env python3
"""The chart against a real API server: install, upgrade, rollback, and what the server has to say.

    k8s/tests/api_server.py install     builds kube-apiserver from its Go modules; takes 8 minutes of
                                        one core, and a few GB of build cache
    k8s/tests/api_server.py             runs the test: `meson test --suite long`
etcd comes from Debian (etcd-server). No kubelet and no controllers run: objects are checked, defaulted
and stored by the server, pods are not started. Every warning that the server sends is a failure.
"""
import json
import os
import pathlib
import re
import shutil
import ssl
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request

import tools

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "tests" / "chaos"))
from processes import Process, Trouble, free_port, until  # pylint: disable=wrong-import-position

CHART = HERE.parent / "chart" / "catga"
VERSION = "v1.32.4"
PLACE = tools.place("helm").parent.parent / f"kube-apiserver-{VERSION}" / "kube-apiserver"
TOKEN = "of-this-test"


def build():
    """Kubernetes refers to parts of itself by folders that its module does not have: each has a
    module of its own, of the version 0.x."""
    go = shutil.which("go", path=os.environ.get("PATH", "") + ":/usr/local/go/bin")
    if not go or PLACE.exists():
        return bool(go)
    # Not every version of these modules is in the public checksum database.
    environment = {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-mod=mod -p=1",
                   "GONOSUMDB": "k8s.io/*"}
    with tempfile.TemporaryDirectory() as folder:
        def run(*command):
            return subprocess.run(command, cwd=folder, env=environment, check=True,
                                  capture_output=True, text=True).stdout
        (pathlib.Path(folder) / "go.mod").write_text("module build\n\ngo 1.23.0\n")
        where = json.loads(run(go, "mod", "download", "-json", f"k8s.io/kubernetes@{VERSION}"))
        own = pathlib.Path(where["GoMod"]).read_text()
        own = own.replace("module k8s.io/kubernetes", "module build", 1)
        own = re.sub(r"=> \./staging/src/\S+", lambda m: "=> " + m[0].rsplit("src/")[-1] +
                     VERSION.replace("v1.", " v0."), own)
        (pathlib.Path(folder) / "go.mod").write_text(
            own + f"\nrequire k8s.io/kubernetes {VERSION}\n")
        PLACE.parent.mkdir(parents=True, exist_ok=True)
        major, minor, _ = VERSION[1:].split(".")
        stamp = " ".join(f"-X k8s.io/component-base/version.{name}={value}" for name, value in (
            ("gitVersion", VERSION), ("gitMajor", major), ("gitMinor", minor)))
        subprocess.run([go, "build", "-o", PLACE, f"-ldflags=-s -w {stamp}", "-trimpath",
                        "k8s.io/kubernetes/cmd/kube-apiserver"], cwd=folder, env=environment,
                       check=True)
    return True


def etcd():
    return shutil.which("etcd", path=os.environ.get("PATH", "") + ":/usr/bin:/usr/local/bin")


class Server:
    def __init__(self, folder):
        self.folder, self.port, self.processes = folder, free_port(), []

    def start(self):
        client, peer = free_port(), free_port()
        self.processes.append(Process("etcd", [
            etcd(), "--data-dir", self.folder / "etcd", "--listen-client-urls",
            f"http://127.0.0.1:{client}", "--advertise-client-urls", f"http://127.0.0.1:{client}",
            "--listen-peer-urls", f"http://127.0.0.1:{peer}", "--initial-advertise-peer-urls",
            f"http://127.0.0.1:{peer}", "--initial-cluster", f"default=http://127.0.0.1:{peer}"],
            self.folder / "etcd.log"))
        (self.folder / "tokens.csv").write_text(f"{TOKEN},tester,1,system:masters\n")
        key = self.folder / "accounts.key"
        subprocess.run(["openssl", "genrsa", "-out", key, "2048"], check=True, capture_output=True)
        self.processes.append(Process("kube-apiserver", [
            PLACE, f"--etcd-servers=http://127.0.0.1:{client}", f"--secure-port={self.port}",
            "--bind-address=127.0.0.1", "--advertise-address=127.0.0.1", f"--cert-dir={self.folder}/certificates",
            f"--token-auth-file={self.folder}/tokens.csv", "--authorization-mode=RBAC",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={key}", f"--service-account-signing-key-file={key}",
            "--service-cluster-ip-range=10.0.0.0/24",
            # Without its controller nobody would make the default account that pods name.
            "--disable-admission-plugins=ServiceAccount"], self.folder / "apiserver.log"))
        until("the API server is ready", self._ready, 120, every_s=0.5)
        self.config = self.folder / "kubeconfig"
        self.config.write_text(json.dumps({
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{"name": "c", "cluster": {"server": f"https://127.0.0.1:{self.port}",
                          "insecure-skip-tls-verify": True}}],
            "users": [{"name": "u", "user": {"token": TOKEN}}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}]}))
        self.config.chmod(0o600)
        return self

    def ask(self, path, method="GET", body=None, content="application/json"):
        """The answer and the warnings of the server."""
        request = urllib.request.Request(
            f"https://127.0.0.1:{self.port}{path}", method=method,
            data=body.encode() if body else None,
            headers={"Authorization": f"Bearer {TOKEN}", "Content-Type": content})
        unverified = ssl._create_unverified_context()  # pylint: disable=protected-access
        with urllib.request.urlopen(request, timeout=30, context=unverified) as answer:
            return json.loads(answer.read() or b"null"), answer.headers.get_all("Warning") or []

    def _ready(self):
        for process in self.processes:
            if not process.running():
                raise Trouble(f"{process.name} ended:\n{process.tail(30)}")
        try:
            return self.ask("/api/v1/namespaces/default")
        except OSError:
            return False

    def stop(self):
        for process in reversed(self.processes):
            process.terminate(20)

    def helm(self, *words):
        done = subprocess.run([tools.place("helm"), *map(str, words), "--kubeconfig", self.config],
                              env={**os.environ, "HOME": str(self.folder)}, text=True,
                              capture_output=True, check=False)
        return done.returncode, done.stdout + done.stderr


class Wrong(list):
    def expect(self, good, what):
        if not good:
            self.append(what)
            print(f"FAILED: {what}", file=sys.stderr)


def crds():
    """The two kinds of the Prometheus operator, open: kubeconform knows their fields."""
    for kind, plural in (("PodMonitor", "podmonitors"), ("PrometheusRule", "prometheusrules")):
        yield json.dumps({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": f"{plural}.monitoring.coreos.com"},
            "spec": {"group": "monitoring.coreos.com", "scope": "Namespaced",
                     "names": {"kind": kind, "plural": plural, "singular": kind.lower(),
                               "listKind": f"{kind}List"},
                     "versions": [{"name": "v1", "served": True, "storage": True, "schema": {
                         "openAPIV3Schema": {"type": "object",
                                             "x-kubernetes-preserve-unknown-fields": True}}}]}})


def place_of(server, thing):
    group = thing["apiVersion"]
    prefix = f"/apis/{group}" if "/" in group else f"/api/{group}"
    resources, _ = server.ask(prefix)
    [plural] = [r["name"] for r in resources["resources"]
                if r["kind"] == thing["kind"] and "/" not in r["name"]]
    return f"{prefix}/namespaces/{thing['metadata'].get('namespace', 'default')}/{plural}"


def check_objects(server, wrong):
    """Every object of every ci file, by the server's own strict validation."""
    import yaml
    for file in sorted((CHART / "ci").glob("*-values.yaml")):
        code, text = server.helm("template", "check", CHART, "--namespace", "default", "--values",
                                 file, "--kube-version", VERSION)
        wrong.expect(code == 0, f"{file.name}: {text}")
        for thing in filter(None, yaml.safe_load_all(text) if code == 0 else []):
            name = f"{file.name}: {thing['kind']} {thing['metadata']['name']}"
            try:
                _, warnings = server.ask(place_of(server, thing) +
                                         "?dryRun=All&fieldValidation=Strict", "POST",
                                         json.dumps(thing))
                wrong.expect(not warnings, f"{name}: {warnings}")
            except urllib.error.HTTPError as trouble:
                wrong.expect(False, f"{name}: {trouble.read().decode()[:500]}")


def check_life(server, wrong):
    """Install, upgrade, a refused upgrade, rollback, uninstall."""
    def helm(what, *words):
        code, text = server.helm(*words)
        wrong.expect(code == 0, f"{what}: {text}")
        wrong.expect("warning" not in text.lower().replace("\nwarning: ", ""), f"{what} warns: {text}")

    def replicas():
        found, _ = server.ask("/apis/apps/v1/namespaces/default/statefulsets/life-catga")
        return found["spec"]["replicas"], found["spec"]["template"]

    values = ["--values", CHART / "ci" / "default-values.yaml"]
    helm("dry run", "install", "life", CHART, *values, "--dry-run=server")
    helm("install", "install", "life", CHART, *values)
    first = replicas()
    helm("upgrade", "upgrade", "life", CHART, *values, "--set", "workload.replicas=5")
    second = replicas()
    wrong.expect((first[0], second[0]) == (3, 5), f"replicas {first[0]}, then {second[0]}")
    wrong.expect(first[1] == second[1], "scaling changed the pods: all would restart")
    code, text = server.helm("upgrade", "life", CHART, *values, "--set", "cluster.shards=2048")
    wrong.expect(code != 0 and "changes from 1024 to 2048" in " ".join(text.split()),
                 f"another shard count was not refused: {text}")
    helm("upgrade to all values", "upgrade", "life", CHART, *values, "--set",
         "log.level=debug,metrics.podMonitor.enabled=true,metrics.prometheusRule.enabled=true,"
         "metrics.grafanaDashboard.enabled=true")
    helm("rollback", "rollback", "life", "1")
    wrong.expect(replicas() == first, "the rollback did not bring back what was there")
    helm("uninstall", "uninstall", "life")


def main(arguments):
    if arguments == ["install"]:
        return 0 if tools.install() and build() else 1
    tools.need("the chart against a real API server", "helm")
    if not PLACE.exists() or not etcd():
        tools.skip("kube-apiserver or etcd missing; run k8s/tests/api_server.py install, and "
                   "apt-get install etcd-server", "the chart against a real API server")
    wrong = Wrong()
    with tempfile.TemporaryDirectory() as folder:
        server = Server(pathlib.Path(folder))
        try:
            server.start()
            for crd in crds():
                server.ask("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", "POST", crd)
            until("the kinds of the operator are served", lambda: "podmonitors" in json.dumps(
                [v for v in [_try(server, "/apis/monitoring.coreos.com/v1")] if v]), 30)
            check_objects(server, wrong)
            check_life(server, wrong)
        finally:
            server.stop()
    print("failed" if wrong else "the API server took everything, without a warning")
    return 1 if wrong else 0


def _try(server, path):
    try:
        return server.ask(path)[0]
    except urllib.error.HTTPError:
        return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
