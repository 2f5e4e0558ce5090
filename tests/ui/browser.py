"""Headless Chromium by WebDriver over plain HTTP: as much of it as the tests of the dashboard need."""
import base64
import json
import pathlib
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

FLAGS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--force-color-profile=srgb",
    "--disable-default-apps",
]


def missing() -> str:
    """What is not there of the packages, as a sentence; empty if all is."""
    lacks = [
        package
        for package, program in (("chromium", "chromium"), ("chromium-driver", "chromedriver"))
        if not shutil.which(program)
    ]
    return f"{' and '.join(lacks)} cannot be found" if lacks else ""


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class Browser:
    def __init__(self, width: int = 1360, height: int = 900):
        self.home = tempfile.TemporaryDirectory(prefix="catga-browser-", ignore_cleanup_errors=True)
        port = free_port()
        self.driver = subprocess.Popen(
            ["chromedriver", f"--port={port}", "--log-level=SEVERE"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.base, self.session = f"http://127.0.0.1:{port}", ""
        self.wait(lambda: self.ask("GET", "/status")["ready"], "chromedriver starts", 20)
        flags = [*FLAGS, f"--user-data-dir={self.home.name}", f"--window-size={width},{height}"]
        options = {
            "goog:chromeOptions": {"args": flags},
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
        }
        made = self.ask(
            "POST",
            "/session",
            {"capabilities": {"alwaysMatch": {"browserName": "chrome", **options}}},
            60,
        )
        self.session = "/session/" + made["sessionId"]
        self.size(width, height)

    def ask(self, method: str, path: str, body: dict | None = None, timeout: float = 30):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            self.base + self.session + path,
            data,
            {"Content-Type": "application/json"},
            method=method,
        )
        try:
            with urllib.request.urlopen(request, timeout=timeout) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            raise RuntimeError(json.load(error)["value"]["message"].splitlines()[0]) from None

    def wait(self, what, claim: str, seconds: float):
        """Asks until it is so, and gives what it was given; the seconds are for a slow machine."""
        until, last = time.monotonic() + seconds, "never asked"
        while True:
            try:
                last = what()
                if last:
                    return last
            except (OSError, RuntimeError) as error:
                last = error
            if time.monotonic() > until:
                raise AssertionError(f"not within {seconds} s: {claim} (last: {last!r})")
            time.sleep(0.03)

    def size(self, width: int, height: int) -> None:
        """Of the page itself, whatever the frame of the window takes."""
        self.command(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )

    def command(self, name: str, **parameters):
        return self.ask("POST", "/goog/cdp/execute", {"cmd": name, "params": parameters})

    def open(self, address: str) -> None:
        self.ask("POST", "/url", {"url": address})

    def js(self, script: str, *arguments):
        return self.ask("POST", "/execute/sync", {"script": script, "args": list(arguments)})

    def text(self, test: str) -> str:
        return self.js(
            "return document.querySelector(`[data-test=\"${arguments[0]}\"]`)?.innerText || ''",
            test,
        )

    def press(self, key: str) -> None:
        self.ask(
            "POST",
            "/actions",
            {
                "actions": [
                    {
                        "type": "key",
                        "id": "keys",
                        "actions": [
                            {"type": "keyDown", "value": key},
                            {"type": "keyUp", "value": key},
                        ],
                    }
                ]
            },
        )

    def type(self, test: str, words: str) -> None:
        self.js(
            "const it = document.querySelector(`[data-test=\"${arguments[0]}\"]`); it.focus(); it.value = ''",
            test,
        )
        self.command("Input.insertText", text=words)

    def click(self, test: str) -> None:
        self.js('document.querySelector(`[data-test="${arguments[0]}"]`).click()', test)

    def log(self, kind: str) -> list[dict]:
        return self.ask("POST", "/se/log", {"type": kind})

    def hosts(self) -> set[str]:
        """Whom the page itself asked so far."""
        asked = set()
        for entry in self.log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                asked.add(
                    message["params"]["request"]["url"].split("/", 3)[2]
                    if "//" in message["params"]["request"]["url"]
                    else ""
                )
        return asked - {""}

    def picture(self, file: pathlib.Path) -> None:
        file.write_bytes(base64.b64decode(self.ask("GET", "/screenshot")))

    def close(self) -> None:
        try:
            if self.session:
                self.ask("DELETE", "")
        except (OSError, RuntimeError, ValueError):
            pass
        self.driver.terminate()
        try:
            self.driver.wait(10)
        except subprocess.TimeoutExpired:
            self.driver.kill()
            self.driver.wait()
        self.home.cleanup()
