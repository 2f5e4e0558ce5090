"""From a rendered pod to a process of this machine: what the kubelet would make of it.

A pod gets a loopback address of its own (127.0.7.n), so that the ports stay as rendered; where the
pod would listen on 0.0.0.0 or its own loopback, it listens there. Mounted files lie in a folder, and
paths of mounts in arguments and variables lead into it. Nothing else is changed.
"""
import pathlib
import re


class Rendered(Exception):
    """What is rendered cannot be run, and a kubelet could not either."""


def by_kind(objects, kind):
    return [thing for thing in objects if thing["kind"] == kind]


def the(objects, kind, name=None):
    [found] = [thing for thing in by_kind(objects, kind)
               if name is None or thing["metadata"]["name"] == name]
    return found


def entry_point(dockerfile):
    """The words of ENTRYPOINT, and the variables of ENV, of the last stage."""
    text = dockerfile.read_text().split("\nFROM ")[-1].replace("\\\n", " ")
    [words] = re.findall(r"^ENTRYPOINT \[(.*)\]$", text, re.M)
    variables = dict(pair.split("=", 1) for line in re.findall(r"^ENV (.*)$", text, re.M)
                     for pair in line.split())
    return re.findall(r'"([^"]*)"', words), variables


class Pod:
    """One container of one pod, ready to be started."""

    def __init__(self, objects, secrets, template, name, container, folder, address="127.0.0.1"):
        """`secrets`: name -> key -> text of the Secrets that are not of the chart."""
        self.objects, self.secrets, self.name = objects, secrets, name
        self.metadata, self.spec = template["metadata"], template["spec"]
        self.folder, self.address = pathlib.Path(folder), address
        [self.container] = [c for c in self.spec["containers"] if c["name"] == container]
        self.mounts = self._mount()

    def _text_files(self, volume):
        if "configMap" in volume:
            name = volume["configMap"]["name"]
            return the(self.objects, "ConfigMap", name)["data"]
        if "secret" in volume:
            name = volume["secret"]["secretName"]
            if name not in self.secrets:
                raise Rendered(f"the Secret {name} is not in the release and was not given")
            return self.secrets[name]
        if "emptyDir" in volume:
            return {}
        raise Rendered(f"no way to mount {volume}")

    def _mount(self):
        """mountPath -> path on this machine"""
        volumes = {volume["name"]: volume for volume in self.spec.get("volumes", [])}
        mounts = {}
        for mount in self.container.get("volumeMounts", []):
            place = self.folder / mount["name"]
            place.mkdir(parents=True, exist_ok=True)
            for file, text in self._text_files(volumes[mount["name"]]).items():
                (place / file).write_text(text)
            inner = place / mount["subPath"] if "subPath" in mount else place
            if not inner.exists():
                raise Rendered(f"{mount['mountPath']}: the volume has no {mount['subPath']}")
            mounts[mount["mountPath"]] = inner
        return mounts

    def here(self, text):
        """A value of the pod as it must read on this machine."""
        if self.mounts:
            any_mount = "|".join(map(re.escape, sorted(self.mounts, key=len, reverse=True)))
            text = re.sub(rf"(?<![\w/])({any_mount})(?=$|[/\s\"'])",
                          lambda found: str(self.mounts[found[1]]), text)
        return re.sub(r"\b(0\.0\.0\.0|127\.0\.0\.1)(?=:\d+$)", self.address, text)

    def _field(self, path):
        fields = {"metadata.name": self.name, "metadata.namespace": "default",
                  "metadata.uid": f"uid-of-{self.name}", "spec.nodeName": "machine-1",
                  "status.podIP": self.address}
        if label := re.fullmatch(r"metadata\.labels\['(.*)'\]", path):
            return self.metadata["labels"].get(label[1], "")
        if path not in fields:
            raise Rendered(f"no field {path}")
        return fields[path]

    def _value(self, variable):
        source = variable.get("valueFrom", {})
        if "fieldRef" in source:
            return self._field(source["fieldRef"]["fieldPath"])
        if "secretKeyRef" in source:
            return self.secrets[source["secretKeyRef"]["name"]][source["secretKeyRef"]["key"]]
        return variable.get("value", "")

    def environment(self, of_image=()):
        """As Kubernetes sets it: $(NAME) stands for a variable set before."""
        values = dict(of_image)
        for variable in self.container.get("env", []):
            text = re.sub(r"\$\((\w+)\)", lambda m: values.get(m[1], m[0]), self._value(variable))
            values[variable["name"]] = text
        return {name: self.here(text) for name, text in values.items()}

    def command(self, image_entry_point):
        words = self.container.get("command") or image_entry_point
        return [self.here(word) for word in [*words, *self.container.get("args", [])]]

    def port(self, name):
        if isinstance(name, int):
            return name
        [port] = [p["containerPort"] for p in self.container["ports"] if p["name"] == name]
        return port
