#!/usr/bin/env python3
"""Opens the dashboard of a real cluster in headless Chromium, adds a node, kills one, and looks.

usage: dashboard_cluster_test.py [--pictures <folder>] <catga-account-node> <page.html>

A node program with an admin listener serves the page itself; in front of another one stands nats_door.py.
"""
import argparse
import itertools
import os
import pathlib
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "chaos"))
import browser as chromium  # noqa: E402
import nats_door  # noqa: E402
from processes import Process, Trouble, free_port, until  # noqa: E402
from servers import Nats, Redis  # noqa: E402

NETWORK = ("Failed to load resource", "net::ERR_")
AWKWARD = 'eu/7 "west" <b>'
TOKEN, NAME = "a-token-of-the-test", "dashboard"


class Cluster:
    def __init__(self, folder: pathlib.Path, node: pathlib.Path, page: pathlib.Path):
        self.folder, self.program = folder, node
        self.nats = Nats("nats", folder, "127.0.0.1").start()
        self.redis = Redis("redis", folder, "127.0.0.1").start()
        (folder / "token").write_text(TOKEN + "\n", encoding="utf-8")
        (folder / "token").chmod(0o600)
        self.nodes: dict[str, Process] = {}
        helped = subprocess.run([node, "--help"], capture_output=True, text=True, check=True)
        self.listens = "--admin-listen" in helped.stdout
        self.port, self.door, self.stopped = free_port(), None, False
        if not self.listens:
            self.door = nats_door.serve(self.nats.port, NAME, page, TOKEN, self.port)

    def start(self, name: str) -> None:
        command = [self.program, "--cluster-name", NAME, "--node-id", name]
        command += ["--nats-urls", f"nats://127.0.0.1:{self.nats.port}"]
        command += ["--redis-url", f"redis://127.0.0.1:{self.redis.port}/0"]
        if self.listens:
            port = free_port() if self.nodes else self.port  # the page is that of the first
            command += ["--admin-listen", f"127.0.0.1:{port}", "--health-listen", "off"]
            command += ["--admin-token-file", str(self.folder / "token")]
        self.nodes[name] = Process(name, command, self.folder / f"{name}.log")

    def look(self, path: str) -> dict:
        question = {
            "method": "GET",
            "path": f"/api/v1{path}",
            "query": {},
            "body": "",
            "by": "test",
        }
        return nats_door.ask(self.nats.port, f"catga.{NAME}.admin", question)

    def settled(self, nodes: int) -> bool:
        try:
            said = self.look("/cluster")
        except OSError:  # no node answers yet
            return False
        return (
            said["status"] == 200 and said["body"]["settled"] and said["body"]["nodes_up"] == nodes
        )

    def deposit(self, key: str) -> None:
        subject = f"catga.{NAME}.call.account.{urllib.parse.quote(key, safe='')}.Deposit"
        said = nats_door.ask(self.nats.port, subject, {"cents": 500})
        if said.get("cents") != 500:
            raise Trouble(f"no deposit for {key!r}: {said}")

    def keep_busy(self) -> None:
        """For pictures: some thousand accounts get deposits until the test ends."""

        def work() -> None:
            line = nats_door.Line(self.nats.port, "_INBOX.busy")
            for number in itertools.count():
                if self.stopped:
                    return
                key = min(number * 7919 % 3000, number * 104729 % 3000)  # some more than others
                subject = f"catga.{NAME}.call.account.customer-{key}.Deposit"
                line.publish(subject, "_INBOX.nobody", b'{"cents":1}')
                if number % 20 == 0:
                    time.sleep(0.02)

        threading.Thread(target=work, daemon=True).start()

    def stop(self) -> None:
        self.stopped = True
        if self.door:
            self.door.shutdown()
            self.door.server_close()
        for process in [*self.nodes.values(), self.nats.process, self.redis.process]:
            process.kill9()


class Page:
    def __init__(self, cluster: Cluster):
        self.cluster, self.browser = cluster, chromium.Browser(1280, 1040)
        self.browser.hosts()  # what an empty window asks for is not the page's
        self.browser.open(f"http://127.0.0.1:{cluster.port}/ui")

    def nodes(self) -> dict[str, str]:
        cards = "[...document.querySelectorAll('[data-test=node]')]"
        return dict(self.browser.js(f"return {cards}.map(n => [n.dataset.node, n.dataset.state])"))

    def shards(self, name: str) -> int:
        card = 'document.querySelector(`[data-node="${arguments[0]}"]`)'
        return int(self.browser.js(f"return {card}?.dataset.shards || 0", name))

    def count(self, selector: str) -> int:
        return self.browser.js("return document.querySelectorAll(arguments[0]).length", selector)

    def asks_for_token(self) -> bool:
        return self.browser.js("return document.querySelector('[data-test=token-dialog]').open")

    def shows(self, test: str, *words: str) -> bool:
        text = self.browser.text(test)
        return all(word in text for word in words)

    def expect(self, claim: str, what, seconds: float = 15) -> float:
        began = time.monotonic()
        self.browser.wait(what, claim, seconds)
        took = time.monotonic() - began
        print(f"ok   {claim} ({took:.2f} s)", flush=True)
        return took


def lets_in(page: Page) -> None:
    page.expect("a token is asked for", page.asks_for_token)
    page.browser.type("token", "wrong")
    page.browser.click("token-send")
    page.expect(
        "a wrong one shows the prompt again",
        lambda: page.asks_for_token() and page.shows("token-wrong", "not the right one"),
    )
    page.browser.type("token", TOKEN)
    page.browser.click("token-send")
    page.expect("three nodes appear", lambda: list(page.nodes().values()) == ["up"] * 3)
    page.expect(
        "every shard has a cell with an owner",
        lambda: page.count("[data-test=grid] i:not(.none)") == 1024,
    )
    page.expect("the stream is live", lambda: page.shows("stream", "live"))
    page.browser.js("window.sameAsBefore = true")


def finds(page: Page) -> None:
    page.browser.click("nav-entities")
    for key in ("alice", AWKWARD):
        page.browser.type("kind", "account")
        page.browser.type("key", key)
        page.browser.click("find")
        page.expect(
            f"account {key!r} is found",
            lambda: page.browser.text("entity-name") == f"account/{key}"
            and page.shows("entity", "shard", "owner", "catga-"),
        )
    page.expect("its kind names its messages", lambda: page.shows("kinds", "account", "Deposit"))
    page.browser.click("nav-sagas")
    page.expect("there are no sagas, which is no failure", lambda: page.shows("sagas", "No sagas"))
    page.browser.click("nav-config")
    page.expect("settings name their source", lambda: page.shows("config", "cluster.name", NAME))
    page.browser.click("nav-overview")


def grows(cluster: Cluster, page: Page, pictures: pathlib.Path | None) -> None:
    cluster.start("catga-3")
    page.expect("a fourth node shows up", lambda: page.nodes().get("catga-3") == "up", 30)
    page.expect("it gets shards", lambda: page.shards("catga-3") > 150, 30)
    page.expect("its rebalance is told", lambda: page.shows("rebalances", "catga-3 got"))
    if pictures:
        time.sleep(2)  # for the transitions to end
        page.browser.picture(pictures / "overview-light.png")


def shrinks(cluster: Cluster, page: Page, pictures: pathlib.Path | None) -> None:
    page.expect("the cluster is settled", lambda: cluster.settled(4), 30)
    cluster.nodes["catga-1"].kill9()
    marked = lambda: page.nodes().get("catga-1") in ("gone", "suspected", "no answer")  # noqa: E731
    took = page.expect("a killed node is marked", marked)
    assert pictures or took < 2, f"it took {took:.2f} s to mark a killed node, and 2 s are the most"
    page.expect("it is gone", lambda: page.nodes().get("catga-1") == "gone")
    page.expect("the others serve all shards", lambda: page.shows("tile-shards", "1,024"))
    if pictures:
        page.browser.js("document.documentElement.dataset.theme = 'dark'")
        time.sleep(2)
        page.browser.picture(pictures / "overview-dark.png")
    assert page.browser.js("return window.sameAsBefore === true"), "the page was loaded anew"


def is_clean(page: Page) -> None:
    entries = page.browser.log("browser")
    wrong = [
        e for e in entries if e["level"] == "SEVERE" and not any(n in e["message"] for n in NETWORK)
    ]
    assert not wrong, f"the console has errors: {wrong}"
    hosts = page.browser.hosts()
    assert hosts == {f"127.0.0.1:{page.cluster.port}"}, f"the page asked {hosts}"
    print("ok   no error in the console, and no other host was asked")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=pathlib.Path)
    parser.add_argument("node", type=pathlib.Path)
    parser.add_argument("html", type=pathlib.Path)
    asked = parser.parse_args()
    if chromium.missing():
        print(
            f"SKIPPED: no cluster's dashboard was tried in a browser, because {chromium.missing()}"
        )
        return 77
    sys.path.insert(0, str(asked.html.resolve().parent))
    os.environ.pop("CATGA_CONFIG", None)
    with tempfile.TemporaryDirectory(prefix="catga-dashboard-") as folder:
        cluster = Cluster(pathlib.Path(folder), asked.node.resolve(), asked.html.resolve())
        page = None
        try:
            for name in ("catga-0", "catga-1", "catga-2"):
                cluster.start(name)
            until("the cluster is settled", lambda: cluster.settled(3), 60, 0.2)
            cluster.deposit("alice")
            cluster.deposit(AWKWARD)
            if asked.pictures:
                cluster.keep_busy()
            page = Page(cluster)
            lets_in(page)
            grows(cluster, page, asked.pictures)
            finds(page)
            shrinks(cluster, page, asked.pictures)
            is_clean(page)
        except (AssertionError, Trouble) as error:
            print(f"FAIL {error}")
            for entry in page.browser.log("browser") if page else []:
                print(f"     console: {entry['message']}")
            for process in cluster.nodes.values():
                print(process.tail(3))
            return 1
        finally:
            if page:
                page.browser.close()
            cluster.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
