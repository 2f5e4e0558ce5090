#!/usr/bin/env python3
"""Checks the chart without a cluster: lint, every ci file for two Kubernetes versions, schemas,
refusals, goldens, and that the node program knows every variable, argument and file that is rendered.

    k8s/tests/check.py NODE_PROGRAM TOOL       checks
    k8s/tests/check.py --write NODE_PROGRAM    writes what is derived: goldens, manifests, the table of
                                               values in k8s/README.md, the keys of `config` in the schema
"""
import contextlib
import functools
import http.server
import json
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import threading

import pods
import tools

try:
    import make_schemas
    import yaml
except ImportError:
    tools.skip("python3-yaml is missing", "the chart")

HERE = pathlib.Path(__file__).resolve().parent
K8S = HERE.parent
CHART = K8S / "chart" / "catga"
VERSIONS = ["1.27.16", "1.32.4"]
RELEASE = "trial"
ENTRY_POINT, IMAGE_ENV = pods.entry_point(K8S / "image" / "Dockerfile")

# Read by others than Catga: by other variables, which are put together of them, and by OpenSSL.
NOT_OF_CATGA = {"POD_NAME", "POD_NAMESPACE", "POD_UID", "NODE_NAME", "SSL_CERT_FILE"}
# Of the ci files, for the program of their user.
OF_THE_USER = {"TZ"}

# Values that cannot work, and a part of the sentence that says so. The first of each line is a ci file.
REFUSED = [
    ("", {}, "no NATS: set nats.urls"),
    ("", {"nats": {"urls": ["nats://n:4222"]}}, "no Redis: set redis.url"),
    ("dev", {"nats": {"urls": ["nats://n:4222"]}}, "keep your own NATS, or the throw-away one"),
    ("dev", {"redis": {"url": "redis://r:6379"}}, "keep your own Redis, or the throw-away one"),
    ("default", {"workload": {"replicas": 0}}, "nobody would own a shard"),
    ("hpa", {"autoscaling": {"minReplicas": 0}}, "nobody would own a shard"),
    ("hpa", {"autoscaling": {"minReplicas": 20}}, "the minimum must not be above the maximum"),
    ("hpa", {"cluster": {"shards": 30}}, "autoscaling.maxReplicas is 16 with cluster.shards 30"),
    ("default", {"workload": {"replicas": 9}, "cluster": {"shards": 16}}, "at most 8 nodes"),
    ("default", {"cluster": {"minMembers": 4}}, "would wait in vain"),
    ("default", {"cluster": {"name": "a" * 53}}, "cluster.name has 53 characters"),
    ("default", {"cluster": {"name": "Orders"}}, "may have only a-z"),
    ("tls", {"nats": {"tls": {"existingSecret": ""}}}, "nats.tls.enabled without"),
    ("tls", {"nats": {"urls": ["nats://n:4222"]}}, "must begin with tls://"),
    ("tls", {"nats": {"tls": {"enabled": False}}}, "the certificate would not be used"),
    ("tls", {"nats": {"urls": ["nats://n:4222"], "tls": {"enabled": False, "existingSecret": "",
                                                         "clientSecret": "c"}}}, "shown to nobody"),
    ("dev", {"nats": {"tls": {"enabled": True, "existingSecret": "s"}}}, "has neither TLS nor"),
    ("dev", {"redis": {"existingSecret": "s"}}, "has no password and would refuse one"),
    ("default", {"redis": {"url": "rediss://r:6379"}}, "TLS to Redis"),
    ("default", {"redis": {"tls": {"enabled": True}}}, "TLS to Redis"),
    ("hpa", {"resources": {"requests": {"cpu": None}}}, "nothing to be a percentage of"),
    ("default", {"tracing": {"headersSecret": "s"}}, "nothing would be sent"),
    ("default", {"redis": {"url": "redis://u:secret@r:6379"}}, "holds a password"),
    ("default", {"nats": {"keys": {"token": "t"}}}, "nats.keys without nats.existingSecret"),
    ("ha", {"nats": {"keys": {"token": "t"}}}, "NATS takes one of the two"),
    ("default", {"nats": {"existingSecret": "s"}}, "nats.existingSecret without nats.keys"),
    ("default", {"admin": {"readOnly": False}}, "must show a token"),
    ("deployment", {"ingress": {"hosts": []}}, "name at least one host"),
    ("deployment", {"ingress": {"target": "admin"}}, "not shown to the world without a token"),
    ("deployment", {"ingress": {"target": "admin"}, "admin": {"existingTokenSecret": "s"}},
     "lets no Ingress controller in"),
    ("deployment", {"application": {"port": 0}}, "ingress.enabled without application.port"),
    ("default", {"admin": {"port": 8081}}, "must differ"),
    ("default", {"drain": {"preStopSleepSeconds": 5}}, "needs Kubernetes 1.30, this is v1.27.16"),
    # What the schema refuses.
    ("default", {"replicas": 3}, "replicas is not allowed"),
    ("default", {"workload": {"replica": 3}}, "replica is not allowed"),
    ("default", {"workload": {"replicas": "three"}}, "Expected: integer, given: string"),
    ("default", {"workload": {"kind": "DaemonSet"}}, "workload.kind"),
    ("default", {"cluster": {"shards": 8}}, "Must be greater than or equal to 16"),
    ("default", {"log": {"level": "loud"}}, "log.level"),
    ("default", {"config": {"entity": {"mailbx": 5}}}, "mailbx is not allowed"),
    ("default", {"config": {"cluster": {"shards": 64}}}, "shards is not allowed"),
    ("default", {"config": {"nats": {"password": "x"}}}, "password is not allowed"),
    ("default", {"nats": {"urls": ["n:4222"]}}, "nats.urls.0"),
    ("default", {"image": {"digest": "latest"}}, "image.digest"),
    ("default", {"topology": {"zone": "a b"}}, "topology.zone"),
]


class Checks:
    def __init__(self):
        self.failures, self.done = [], 0

    def expect(self, good, what):
        self.done += 1
        if not good:
            self.failures.append(what)
            print(f"FAILED: {what}", file=sys.stderr)


def run(*command, text=""):
    return subprocess.run([str(word) for word in command], input=text, capture_output=True,
                          text=True, check=False)


def ci_files():
    return sorted((CHART / "ci").glob("*-values.yaml"))


def ci(name):
    return CHART / "ci" / f"{name}-values.yaml"


def template(*more, version=VERSIONS[-1]):
    return run(tools.place("helm"), "template", RELEASE, CHART, "--namespace", "default",
               "--kube-version", version, *more)


def objects_of(text):
    return [thing for thing in yaml.safe_load_all(text) if thing]


def versions_for(file):
    """A sleep before SIGTERM came with 1.30, and the chart says so."""
    values = yaml.safe_load(file.read_text())
    return VERSIONS[1:] if values.get("drain", {}).get("preStopSleepSeconds") else VERSIONS


# ---- Helm and the schemas -------------------------------------------------------------------------

def kubeconform(text, version):
    where = "{{ .ResourceKind }}{{ .KindSuffix }}.json"
    return run(tools.place("kubeconform"), "-strict", "-summary", "-kubernetes-version", version,
               "-schema-location", f"{HERE}/schemas/{{{{ .NormalizedKubernetesVersion }}}}/{where}",
               "-schema-location", f"{HERE}/schemas/operator/{where}", "-", text=text)


def check_renders(checks):
    for file in ci_files():
        lint = run(tools.place("helm"), "lint", "--strict", CHART, "--values", file)
        checks.expect(lint.returncode == 0, f"helm lint with {file.name}:\n{lint.stdout}{lint.stderr}")
        for version in versions_for(file):
            render = template("--values", file, version=version)
            name = f"{file.name} for {version}"
            checks.expect(render.returncode == 0, f"helm template of {name}:\n{render.stderr}")
            if render.returncode == 0:
                valid = kubeconform(render.stdout, version)
                checks.expect(valid.returncode == 0, f"kubeconform on {name}:\n{valid.stdout}")
                check_objects(checks, name, objects_of(render.stdout))


def check_schemas_bite(checks):
    """A check that lets everything pass would not be noticed otherwise."""
    for wrong in ({"spec": {"replicas": "three"}}, {"spec": {"replica": 3}}, {"spec": {}}):
        text = yaml.safe_dump({"apiVersion": "apps/v1", "kind": "StatefulSet",
                               "metadata": {"name": "x"}, **wrong})
        for version in VERSIONS:
            checks.expect(kubeconform(text, version).returncode != 0,
                          f"the schemas of {version} let {wrong} pass")


def check_refusals(checks):
    with tempfile.TemporaryDirectory() as folder:
        for base, values, sentence in REFUSED:
            file = pathlib.Path(folder) / "values.yaml"
            file.write_text(yaml.safe_dump(values))
            files = [*(["--values", ci(base)] if base else []), "--values", file]
            render = template(*files, version=VERSIONS[0])
            words = " ".join(render.stderr.split())
            checks.expect(render.returncode != 0 and sentence in words,
                          f"{values} on {base or 'nothing'} should be refused with \"{sentence}\", "
                          f"but: {words or 'was accepted'}")


# ---- What was there before ------------------------------------------------------------------------

class OldRelease(http.server.BaseHTTPRequestHandler):
    """An API server that knows one thing: the ConfigMap of the release as it was installed."""
    shards = "1024"

    @staticmethod
    def resources(group, kinds):
        return {"kind": "APIResourceList", "groupVersion": group, "resources": [
            {"name": kind.lower() + ("es" if kind.endswith("s") else "s"), "kind": kind,
             "namespaced": True, "verbs": ["get"]} for kind in kinds]}

    def do_GET(self):  # pylint: disable=invalid-name
        answers = {
            "/version": {"major": "1", "minor": "32", "gitVersion": "v1.32.4"},
            "/api": {"kind": "APIVersions", "versions": ["v1"]},
            "/api/v1": self.resources("v1", make_schemas.KINDS["", "v1"]),
            "/apis": {"kind": "APIGroupList", "groups": [
                {"name": group, "versions": [{"groupVersion": f"{group}/{version}",
                                              "version": version}]}
                for group, version in make_schemas.KINDS if group]},
            **{f"/apis/{group}/{version}": self.resources(f"{group}/{version}", kinds)
               for (group, version), kinds in make_schemas.KINDS.items() if group},
            f"/api/v1/namespaces/default/configmaps/{RELEASE}-catga-config": {
                "kind": "ConfigMap", "apiVersion": "v1", "metadata": {
                    "name": f"{RELEASE}-catga-config", "annotations": {
                        "catga/cluster-shards": self.shards,
                        "catga/cluster-name": f"{RELEASE}-catga"}}}}
        found = answers.get(self.path.split("?")[0])
        body = json.dumps(found or {"kind": "Status", "status": "Failure", "code": 404,
                                    "reason": "NotFound"}).encode()
        self.send_response(200 if found else 404)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def old_release():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), OldRelease)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory() as folder:
        config = pathlib.Path(folder) / "kubeconfig"
        address = f"http://127.0.0.1:{server.server_address[1]}"
        config.write_text(yaml.safe_dump({
            "apiVersion": "v1", "kind": "Config", "current-context": "old",
            "clusters": [{"name": "old", "cluster": {"server": address}}],
            "users": [{"name": "old", "user": {}}],
            "contexts": [{"name": "old", "context": {"cluster": "old", "user": "old"}}]}))
        config.chmod(0o600)
        yield config
    server.shutdown()


# Addresses, and the ports that a restricted pod has to reach for them.
EGRESS = [({"nats": {"urls": ["nats://a", "tls://b:4443"]}, "redis": {"url": "redis://r:6380/3"}},
           {53, 4222, 4443, 6380}),
          ({"nats": {"urls": ["nats://[::1]:4222"]}, "redis": {"sentinels": ["s:26380"]},
            "tracing": {"endpoint": "https://collector/v1"}}, {53, 4222, 6379, 26380, 443})]


def check_egress(checks):
    for values, wanted in EGRESS:
        values = {**values, "networkPolicy": {"egress": {"restrict": True}}}
        render = run(tools.place("helm"), "template", RELEASE, CHART, "--values", "-", "--kube-version",
                     VERSIONS[-1], text=yaml.safe_dump(values))
        policies = pods.by_kind(objects_of(render.stdout), "NetworkPolicy")
        ports = {port["port"] for policy in policies for rule in policy["spec"]["egress"]
                 for port in rule["ports"]}
        checks.expect(ports == wanted, f"{values}: the way is open to {ports}, not {wanted} {render.stderr}")


def check_upgrades(checks):
    with old_release() as config:
        def upgrade(*more):
            # The client remembers what a server can do; not in the user's home.
            return run("env", f"HOME={config.parent}", tools.place("helm"), "template", RELEASE, CHART,
                       "--kubeconfig", config, "--dry-run=server", "--is-upgrade", "--namespace",
                       "default", "--kube-version", VERSIONS[-1],
                       "--values", ci("default"), *more)
        same = upgrade()
        checks.expect(same.returncode == 0, f"an upgrade that changes nothing:\n{same.stderr}")
        for more, sentence in ((("--set", "cluster.shards=2048"), "changes from 1024 to 2048"),
                               (("--set", "cluster.name=other"), "the cluster's name changes")):
            render = upgrade(*more)
            words = " ".join(render.stderr.split())
            checks.expect(render.returncode != 0 and sentence in words,
                          f"an upgrade with {more} should be refused with \"{sentence}\": {words}")


# What NOTES.txt says: always, and for whom it warns.
NOTES = [("default", ["1024 shards", "port-forward", "redis.waitReplicas is 0", "Traces are off",
                      "metricsNamespaceSelector"]),
         ("dev", ["devDependencies are for trials"]),
         ("ha", ["5 nodes"]), ("hpa", ["2 nodes"]), ("deployment", ["deployment/life-catga"])]


def check_notes(checks):
    with old_release() as config:
        for name, sentences in NOTES:
            shown = run("env", f"HOME={config.parent}", tools.place("helm"), "install", "life", CHART,
                        "--kubeconfig", config, "--namespace", "default", "--dry-run=client",
                        "--disable-openapi-validation", "--values", ci(name), "--set",
                        "metrics.podMonitor.enabled=false,metrics.prometheusRule.enabled=false")
            notes = shown.stdout.partition("NOTES:")[2]
            for sentence in sentences:
                checks.expect(sentence in notes, f"the notes of {name} do not say \"{sentence}\": "
                              f"{notes or shown.stderr}")
            checks.expect(("WARNING" in notes) == (name == "dev"), f"{name}: {notes}")


# ---- What the objects say of each other -----------------------------------------------------------

def workloads(objects):
    return [thing for thing in objects if thing["kind"] in ("StatefulSet", "Deployment")]


def selects(selector, labels):
    return selector.items() <= labels.items()


def check_objects(checks, name, objects):
    templates = [thing["spec"]["template"] for thing in workloads(objects)]
    names = [(thing["kind"], thing["metadata"]["name"]) for thing in objects]
    checks.expect(len(names) == len(set(names)), f"{name}: two objects of one name in {names}")
    for thing in workloads(objects):
        selector = thing["spec"]["selector"]["matchLabels"]
        labels = thing["spec"]["template"]["metadata"]["labels"]
        checks.expect(selects(selector, labels), f"{name}: {thing['kind']} does not select its pods")
        checks.expect(set(selector) == {f"app.kubernetes.io/{part}" for part in
                                        ("name", "instance", "component")},
                      f"{name}: a selector may never change, and {selector} would")
    for service in pods.by_kind(objects, "Service"):
        chosen = [t for t in templates if selects(service["spec"]["selector"], t["metadata"]["labels"])]
        ports = {p["name"] for t in chosen for c in t["spec"]["containers"] for p in c.get("ports", [])}
        for port in service["spec"]["ports"]:
            checks.expect(port["targetPort"] in ports, f"{name}: no pod has the port of {service}")
    for kind, key in (("PodDisruptionBudget", "selector"), ("NetworkPolicy", "podSelector"),
                      ("PodMonitor", "selector")):
        for thing in pods.by_kind(objects, kind):
            selector = thing["spec"][key]["matchLabels"]
            chosen = [t for t in templates if selects(selector, t["metadata"]["labels"])]
            checks.expect(len(chosen) == 1, f"{name}: {kind} selects {len(chosen)} workloads")
    for pod in templates:
        check_pod(checks, name, pod["spec"])


def check_pod(checks, name, spec):
    volumes = {volume["name"] for volume in spec.get("volumes", [])}
    for container in spec["containers"]:
        for mount in container.get("volumeMounts", []):
            checks.expect(mount["name"] in volumes, f"{name}: no volume {mount['name']}")
        variables = [variable["name"] for variable in container.get("env", [])]
        checks.expect(len(variables) == len(set(variables)), f"{name}: set twice in {variables}")
        if container["name"] == "node":
            check_node(checks, name, spec, container)


def check_node(checks, name, spec, container):
    values = {v["name"]: v.get("value") for v in container["env"]}
    sleep = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
    drain = int(values["CATGA_DRAIN_TIMEOUT"].removesuffix("s"))
    checks.expect(spec["terminationGracePeriodSeconds"] > sleep + drain,
                  f"{name}: the drain of {drain} s after {sleep} s does not fit into the grace period")
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    checks.expect(values["CATGA_HEALTH_LISTEN"] == f"0.0.0.0:{ports['health']}",
                  f"{name}: the probes would not reach the health listener")
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        checks.expect(container[probe]["httpGet"]["port"] == "health",
                      f"{name}: {probe} does not look at the health port")
    checks.expect(not spec["enableServiceLinks"], f"{name}: variables of Services would come in")
    checks.expect("replicas" not in json.dumps(container["env"]).lower().replace("wait_replicas", ""),
                  f"{name}: the number of replicas is in the pod: scaling would restart all")


# ---- What the node program says of it -------------------------------------------------------------

def secrets_of(objects):
    """A text for every key of every Secret that the pods name."""
    class Any(dict):
        def __missing__(self, key):
            return "text"

    class Keys(dict):
        def __missing__(self, name):
            self[name] = Any({key: "text" for key in (
                "user", "password", "token", "redis-password", "admin-token", "ca.crt", "tls.crt",
                "tls.key", "headers")})
            return self[name]

        def __contains__(self, name):
            return True
    return Keys()


def check_config_of(checks, name, command, environment):
    """The node program itself says whether it knows the variables and arguments."""
    asked = subprocess.run([*command, "--check-config"], env=environment, capture_output=True,
                           text=True, check=False)
    said = asked.stdout + asked.stderr
    checks.expect(asked.returncode == 0, f"{name}: --check-config says\n{said[-2000:]}")
    unknown = set(re.findall(r"unknown variable (\w+)", said))
    checks.expect(not unknown, f"{name}: the node does not know {unknown}")
    for variable in environment:
        # The node prints where each value comes from; those of files by the variable too.
        if (variable.startswith("CATGA_") and not variable.endswith("_FILE") and
                variable not in {"CATGA_CONFIG", *unknown} and environment[variable]):
            checks.expect(f"env {variable}" in said, f"{name}: {variable} sets nothing")


class Known:
    """What `catga config vars --json` lists."""

    def __init__(self, tool):
        listed = json.loads(run(tool, "config", "vars", "--json").stdout)["data"]
        settings = listed["settings"]
        self.flags = {one["flag"] for one in settings if one["flag"]}
        self.variables = {one["variable"] for one in settings} | set(listed["opentelemetry"]) | {
            f"{one['variable']}_FILE" for one in settings if one["secret"]} | {"CATGA_CONFIG"}

    def check(self, checks, name, environment, arguments=()):
        strange = set(environment) - self.variables - NOT_OF_CATGA - OF_THE_USER
        checks.expect(not strange, f"{name}: `catga config vars` does not know {strange}")
        strange = {word.split("=")[0] for word in arguments if word.startswith("--")} - self.flags
        checks.expect(not strange, f"{name}: `catga config vars` does not know {strange}")


def check_with_the_node(checks, node, known):
    for file in ci_files():
        objects = objects_of(template("--values", file).stdout)
        [workload] = [thing for thing in workloads(objects) if
                      thing["metadata"]["labels"]["app.kubernetes.io/component"] == "node"]
        with tempfile.TemporaryDirectory() as folder:
            given = secrets_of(objects)
            pod = pods.Pod(objects, given, workload["spec"]["template"], f"{RELEASE}-catga-0", "node",
                           folder)
            arguments = pod.command([str(node)])[1:]  # a program of one's own takes the same ones
            check_config_of(checks, file.name, [node, *arguments], pod.environment(IMAGE_ENV))
            known.check(checks, file.name, pod.environment(IMAGE_ENV), arguments)
            check = pods.Pod(objects, given, pods.the(objects, "Pod"), "check", "check", folder)
            known.check(checks, f"helm test of {file.name}", check.environment(IMAGE_ENV))


@functools.lru_cache
def library_of(node):
    """The library that the program is linked with."""
    [library] = re.findall(r"libcatga\S+ => (\S+)", run("ldd", node).stdout)
    return pathlib.Path(library)


def check_compose(checks, node, known):
    compose = yaml.safe_load((K8S / "compose" / "compose.yaml").read_text())
    services = compose["services"]
    fields = {"image", "build", "command", "entrypoint", "environment", "ports", "volumes", "profiles",
             "depends_on", "healthcheck", "stop_grace_period", "user", "read_only", "tmpfs",
             "restart", "networks"}
    nodes = [name for name in services if name.startswith("node-")]
    checks.expect(len(nodes) == 3, f"compose.yaml has the nodes {nodes}, not three")
    ids = set()
    for name, service in services.items():
        checks.expect(service.keys() <= fields, f"compose.yaml, {name}: {service.keys() - fields}")
        for other, how in service.get("depends_on", {}).items():
            checks.expect(other in services, f"compose.yaml, {name}: depends on no service {other}")
            if how["condition"] == "service_healthy" and not other.startswith("node-"):
                checks.expect("healthcheck" in services[other], f"compose.yaml: {other} has no check")
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            there = (K8S / "compose" / source).exists() if source.startswith(".") else \
                source in compose.get("volumes", {})
            checks.expect(there, f"compose.yaml, {name}: no {source}")
    for name in nodes:
        environment = {key: str(value) for key, value in
                       {**IMAGE_ENV, **services[name]["environment"]}.items()}
        ids.add(environment["CATGA_NODE_ID"])
        check_config_of(checks, f"compose.yaml, {name}", [node], environment)
        known.check(checks, f"compose.yaml, {name}", environment)
        checks.expect(services[name]["healthcheck"]["test"] == ["CMD", *health_check()],
                      f"{name}: another health check than the image's")
        checks.expect(services[name]["stop_grace_period"] == "90s", f"{name}: the drain would be cut")
    checks.expect(len(ids) == 3, f"compose.yaml: the nodes are called {ids}")


def check_compose_prometheus(checks):
    """Prometheus itself reads its file, with the alerts where compose.yaml mounts them."""
    if not shutil.which("promtool"):
        checks.expect(os.environ.get("CATGA_REQUIRE_HELM") != "1", "promtool is missing")
        print("NOT CHECKED, as promtool is missing: compose/prometheus.yml", file=sys.stderr)
        return
    compose = yaml.safe_load((K8S / "compose" / "compose.yaml").read_text())
    mounts = dict(reversed(volume.split(":")[:2]) for volume in
                  compose["services"]["prometheus"]["volumes"])
    place = "/etc/prometheus/alerts"
    text = (K8S / "compose" / "prometheus.yml").read_text()
    checks.expect(place in text, "compose: Prometheus reads no alerts")
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder) / "prometheus.yml"
        file.write_text(text.replace(place, str((K8S / "compose" / mounts[place]).resolve())))
        read = run("promtool", "check", "config", file)
    checks.expect(read.returncode == 0 and "rules found" in read.stdout,
                  f"compose: {read.stdout}{read.stderr}")


def health_check():
    """The words of HEALTHCHECK in the image."""
    text = (K8S / "image" / "Dockerfile").read_text()
    [words] = re.findall(r"^HEALTHCHECK .*CMD \[(.*)\]$", text, re.M)
    return re.findall(r'"([^"]*)"', words)


def check_image(checks, node):
    """Every library that the program loads comes from a package that the image installs."""
    dockerfile = (K8S / "image" / "Dockerfile").read_text()
    last = dockerfile.split("\nFROM ")[-1]
    listed = set(re.findall(r"^\s+(lib\S+|zlib1g)", last, re.M))
    checks.expect(ENTRY_POINT == [node.name], f"the image starts {ENTRY_POINT}, this is {node.name}")
    if "debian" not in pathlib.Path("/etc/os-release").read_text():
        return
    base = {"libc6", "libgcc-s1", "libstdc++6"}
    needed = "".join(run("readelf", "-d", file).stdout for file in (node, library_of(node)))
    loaded = dict(re.findall(r"(\S+) => (/\S+)", run("ldd", node).stdout))
    for name in re.findall(r"NEEDED.*\[(.*)\]", needed):
        if "catga" in name or name not in loaded:
            continue
        # dpkg knows a file below /usr by either of its two names.
        package = run("dpkg", "-S", "*" + loaded[name].removeprefix("/usr")).stdout.split(":")[0]
        checks.expect(package in listed | base, f"the image does not install {package} ({name})")


# ---- What is derived ------------------------------------------------------------------------------

def keys_of(values, path=""):
    for key, value in values.items():
        if isinstance(value, dict) and value and not path.startswith(".config"):
            yield from keys_of(value, f"{path}.{key}")
        else:
            yield f"{path}.{key}".lstrip("."), value


def values_table():
    """The rows of the table in the README: key, default, the comment above the key."""
    rows, path, comment = [], [], []
    plain = yaml.safe_load((CHART / "values.yaml").read_text())
    for line in (CHART / "values.yaml").read_text().splitlines():
        if match := re.match(r"( *)# ?(.*)", line):
            comment.append(match[2])
        elif match := re.match(r"( *)([A-Za-z]+):(.*)", line):
            path[len(match[1]) // 2:] = [match[2]]
            value = plain
            for part in path:
                value = value[part]
            # One with inner keys that have comments of their own is not a row.
            if match[3].strip() or not isinstance(value, dict):
                rows.append((".".join(path), json.dumps(value), " ".join(comment)))
            elif comment:
                rows.append((".".join(path), "see values.yaml", " ".join(comment)))
            comment = []
        else:
            comment = []
    return rows


def readme_with_table():
    text = (K8S / "README.md").read_text()
    head, rest = text.split("<!-- values -->\n")[0], text.split("<!-- end of values -->\n")[-1]
    table = "".join(f"| `{key}` | `{value}` | {comment} |\n" for key, value, comment in values_table()
                    if comment)
    return (f"{head}<!-- values -->\n| value | default | meaning |\n|---|---|---|\n{table}"
            f"<!-- end of values -->\n{rest}")


# What the chart sets itself, or what must not lie in a ConfigMap.
NOT_IN_CONFIG = re.compile(r"cluster\.(name|shards|min_members)|node\.(id|region|zone)|drain\.timeout|"
                           r"nats\.(urls|certificate_file|key_file)|"
                           r"(health|admin)\.listen|admin\.(read_only|token_file|allowed_hosts)|"
                           r"redis\.(url|sentinels|sentinel_master|wait_replicas)|log\.(level|format)|"
                           r".*(password|token|user)(_file)?|telemetry\.service_name")


def schema_with_config(node):
    schema = json.loads((CHART / "values.schema.json").read_text())
    said = run(node, "--check-config").stdout
    groups = {}
    for key in re.findall(r"^([a-z_]+\.[a-z_.]+) ", said, re.M):
        if not NOT_IN_CONFIG.fullmatch(key):
            group, name = key.split(".", 1)
            groups.setdefault(group, {})[name] = {
                "type": ["string", "number", "boolean", "array"]}
    schema["properties"]["config"] = {
        "type": "object", "additionalProperties": False,
        "properties": {group: {"type": "object", "additionalProperties": False, "properties": keys}
                       for group, keys in groups.items()}}
    return json.dumps(schema, indent=2) + "\n"


def derived(node):
    """path -> what should be there"""
    header = "# Made by k8s/tests/check.py --write; do not edit.\n"
    return {HERE / "golden" / "default.yaml": template("--values", ci("default")).stdout,
            K8S / "manifests" / "catga.yaml":
                header + template("--values", ci("ha"), "--skip-tests").stdout,
            K8S / "README.md": readme_with_table(),
            CHART / "values.schema.json": schema_with_config(node)}


def check_derived(checks, node):
    for path, wanted in derived(node).items():
        checks.expect(path.exists() and path.read_text() == wanted,
                      f"{path.relative_to(K8S.parent)} is not what k8s/tests/check.py --write makes")
    for key, _, comment in values_table():
        checks.expect(comment or "." in key, f"values.yaml: {key} has no comment")


# ---- What the README tells people to do -----------------------------------------------------------

def commands_of(text):
    """Each command of the code blocks, in one line, without comments and what is only shown."""
    for block in re.findall(r"^```[^\n]*\n(.*?)^```", text, re.M | re.S):
        for line in block.replace("\\\n", " ").splitlines():
            if line.startswith(("helm ", "kubectl ")):
                yield line.split(" #")[0].strip()


def check_readme(checks):
    """helm is asked to render what is to be installed; what kubectl names has to be in it."""
    installed = []
    for command in commands_of((K8S.parent / "README.md").read_text() + (K8S / "README.md").read_text()):
        words = shlex.split(command.split(" && ")[0].split(" | ")[0])
        if words[:2] in (["helm", "install"], ["helm", "upgrade"]):
            rest = [word for word in words[4:] if word != "--reuse-values"]
            before = ["--values", ci("default")] if words[1] == "upgrade" else []
            render = run(tools.place("helm"), "template", words[2], K8S.parent / words[3], "--kube-version",
                         VERSIONS[-1], *before, *rest)
            checks.expect(render.returncode == 0, f"README: {command}\n{render.stderr}")
            if render.returncode == 0:
                installed += objects_of(render.stdout)
            continue
        for kind, name in re.findall(r"\b(statefulset|deployment)/(\S+)", command):
            there = {thing["metadata"]["name"] for thing in installed if thing["kind"].lower() == kind}
            checks.expect(name in there, f"README: no {kind} {name} after its own commands: {command}")
        for selector in re.findall(r" -l (\S+)", command):
            wanted = dict(pair.split("=") for pair in selector.split(","))
            checks.expect(any(selects(wanted, thing["spec"]["template"]["metadata"]["labels"])
                              for thing in workloads(installed)), f"README: no pod has {wanted}")
    checks.expect(len(installed) > 20, "README: nothing is installed")


def write(node):
    for _ in range(2):  # the goldens need the schema
        for path, wanted in derived(node).items():
            path.parent.mkdir(exist_ok=True)
            path.write_text(wanted)


def main(arguments):
    tools.need("the chart", "helm", "kubeconform")
    if arguments[0] == "--write":
        return write(pathlib.Path(arguments[1]).resolve())
    node, tool = (pathlib.Path(argument).resolve() for argument in arguments)
    known = Known(tool)
    checks = Checks()
    check_renders(checks)
    check_schemas_bite(checks)
    check_refusals(checks)
    check_egress(checks)
    check_upgrades(checks)
    check_notes(checks)
    check_with_the_node(checks, node, known)
    check_compose(checks, node, known)
    check_compose_prometheus(checks)
    check_image(checks, node)
    check_readme(checks)
    check_derived(checks, node)
    print(f"{checks.done} checks, {len(checks.failures)} failed")
    return 1 if checks.failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
