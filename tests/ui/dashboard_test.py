#!/usr/bin/env python3
"""Opens the dashboard in headless Chromium in front of a cluster that is not there, and does what its readers do.

usage: dashboard_test.py [--pictures <folder>] <page.html>
"""
import argparse
import pathlib
import sys
import time

import browser as chromium
import cluster_stub

NETWORK = (
    "Failed to load resource",
    "net::ERR_",
)  # what Chromium itself says of a refusal; the test counts those it causes
AWKWARD = 'eu/7 "west" <b>&amp;'


class Dashboard:
    """The page, asked by its data-test attributes."""

    def __init__(self, page: pathlib.Path):
        self.cluster = cluster_stub.Cluster(["catga-0", "catga-1", "catga-2"])
        self.page = page
        self.server = cluster_stub.serve(self.cluster, page)
        self.port = self.server.server_address[1]
        self.browser = chromium.Browser()
        self.browser.hosts()  # what an empty window asks for is not the page's
        self.browser.open(f"http://127.0.0.1:{self.port}/ui")

    def close(self) -> None:
        self.browser.close()
        self.server.shutdown()
        self.server.server_close()

    def nodes(self) -> dict[str, str]:
        rows = self.browser.js(
            "return [...document.querySelectorAll('[data-test=node]')].map(n => [n.dataset.node, n.dataset.state])"
        )
        return dict(rows)

    def expect(self, claim: str, what, seconds: float = 10) -> float:
        began = time.monotonic()
        self.browser.wait(what, claim, seconds)
        took = time.monotonic() - began
        print(f"ok   {claim} ({took:.2f} s)", flush=True)
        return took

    def shows(self, test: str, *words: str) -> bool:
        text = self.browser.text(test)
        return all(word in text for word in words)


def appears(at: Dashboard) -> None:
    at.expect("three nodes appear", lambda: list(at.nodes().values()) == ["up"] * 3, 20)
    at.expect(
        "every shard has a cell",
        lambda: at.browser.js("return document.querySelectorAll('[data-test=grid] i').length")
        == 1024,
    )
    at.expect(
        "the ring has an arc for each node",
        lambda: at.browser.js("return document.querySelectorAll('[data-test=arc]').length") == 3,
    )
    at.expect(
        "nothing has moved yet, and the page says so",
        lambda: at.shows("rebalances", "Nothing has moved yet"),
    )
    at.expect(
        "a node's card says where it runs",
        lambda: at.browser.js(
            "return document.querySelector('[data-node=catga-1]').innerText.includes('eu-west-1a')"
        ),
    )
    at.expect("the stream is live", lambda: at.shows("stream", "live"))
    at.expect("all nodes answered", lambda: at.shows("answered", "3 of 3 nodes"))
    at.browser.js("window.sameAsBefore = true")


def changes(at: Dashboard) -> None:
    at.cluster.join("catga-3")
    at.expect("a fourth node shows up", lambda: at.nodes().get("catga-3") == "up", 5)
    at.expect(
        "the fourth node gets shards",
        lambda: at.browser.js(
            "return Number(document.querySelector('[data-node=\"catga-3\"]').dataset.shards) > 200"
        ),
    )
    at.expect(
        "its rebalance is drawn",
        lambda: at.browser.js(
            "return document.querySelectorAll('[data-test=rebalance] svg rect').length"
        )
        > 200,
    )
    at.expect("the events tell it", lambda: at.shows("recent", "catga-3 joined"))
    at.cluster.kill("catga-1")
    took = at.expect("a killed node is marked", lambda: at.nodes().get("catga-1") == "gone", 10)
    assert took < 2, f"it took {took:.2f} s to mark a killed node, and 2 s are the most"
    at.expect("a warning names it", lambda: at.shows("alerts", "catga-1 is gone"))
    at.cluster.join("catga-1")
    at.expect("it comes back", lambda: at.nodes().get("catga-1") == "up", 5)
    assert at.browser.js("return window.sameAsBefore === true"), "the page was loaded anew"


def crowd(at: Dashboard) -> None:
    """A free machine draws them in less than 100 ms; the bound is for one that has much else to do."""
    at.browser.js(
        "window.longest = 0; new PerformanceObserver(all => all.getEntries().forEach("
        "one => window.longest = Math.max(window.longest, one.duration))).observe({type: 'longtask'})"
    )
    for n in range(4, 50):
        at.cluster.nodes[f"catga-{n}"] = at.cluster.fresh(f"catga-{n}")
    at.expect("fifty nodes are drawn", lambda: len(at.nodes()) == 50)
    for n in range(4, 50):
        del at.cluster.nodes[f"catga-{n}"]
    at.expect("and they go again", lambda: list(at.nodes().values()).count("up") == 4)
    longest = at.browser.js("return window.longest")
    print(f"ok   the longest task took {longest:.0f} ms (0: below 50)")
    assert longest < 1000, f"the page was busy for {longest} ms at a stretch"


def streams(at: Dashboard) -> None:
    told = len(at.cluster.events)
    at.browser.click("nav-events")
    at.cluster.break_streams()
    for n in range(20):
        at.cluster.tell("catga.config.reloaded", f"told number {n} in the gap")
    at.expect(
        "a broken stream reconnects and loses no event",
        lambda: all(at.shows("log", f"told number {n} in the gap") for n in range(20)),
    )
    assert len(at.cluster.events) == told + 20
    shown = at.browser.js(
        "return [...document.querySelectorAll('[data-test=log] .what')].filter(x => x.innerText.includes('told number')).length"
    )
    assert shown == 20, f"{shown} of 20 events are shown: some twice or not at all"
    at.browser.type("filter", "number 17")
    at.browser.js("document.querySelector('[data-test=filter]').dispatchEvent(new Event('input'))")
    at.expect(
        "a filter leaves what fits",
        lambda: at.browser.js("return document.querySelectorAll('[data-test=log] .ev').length")
        == 1,
    )
    at.cluster.stream_clients = 0
    at.cluster.break_streams()
    at.expect(
        "one watcher too many is told so", lambda: at.shows("stream", "too many watch this node")
    )
    at.cluster.stream_clients = 16
    at.expect("and comes in when there is room", lambda: at.shows("stream", "live"))


def finds(at: Dashboard) -> None:
    at.browser.js("document.activeElement.blur()")
    at.browser.press("/")
    at.expect(
        "the key / goes to the entity",
        lambda: at.browser.js("return document.activeElement.dataset.test === 'kind'"),
    )
    at.expect("kinds name their messages", lambda: at.shows("kinds", "account", "Deposit"))
    for key in ("alice", AWKWARD):
        at.browser.type("kind", "account")
        at.browser.type("key", key)
        at.browser.click("find")
        at.expect(
            f"account {key!r} is found",
            lambda: at.browser.text("entity-name") == f"account/{key}"
            and at.shows("entity", "messages so far", "812"),
        )
    at.browser.type("kind", "nonsense")
    at.browser.click("find")
    at.expect(
        "an unknown kind is answered in words",
        lambda: at.shows("entity", "No node hosts the kind 'nonsense'"),
    )
    at.browser.click("nav-sagas")
    at.expect(
        "three sagas are listed",
        lambda: at.browser.js("return document.querySelectorAll('[data-test=saga-row]').length")
        == 3,
    )
    at.browser.js("document.querySelectorAll('[data-test=saga-row]')[1].click()")
    at.expect(
        "a saga shows its steps",
        lambda: at.browser.js("return document.querySelectorAll('[data-test=step]').length") == 3,
    )
    at.browser.click("nav-config")
    at.expect(
        "settings name their source", lambda: at.shows("config", "nats.urls", "***", "environment")
    )


def keyboard(at: Dashboard) -> None:
    at.browser.press("1")
    at.expect(
        "the key 1 goes to the overview",
        lambda: at.browser.js("return location.hash") == "#overview",
    )
    before = at.browser.js("return document.documentElement.dataset.theme")
    at.browser.press("t")
    at.expect(
        "the key t turns light to dark",
        lambda: at.browser.js("return document.documentElement.dataset.theme") != before,
    )
    at.browser.js("document.querySelector('[data-test=grid] i').focus()")
    for key in ("\ue014", "\ue014", "\ue007"):  # right, right, Enter
        at.browser.press(key)
    at.expect(
        "arrows walk through the shards, and Enter opens one",
        lambda: at.browser.js(
            "return document.querySelector('[data-test=grid] [aria-selected=true]')?.dataset.id"
        )
        == "2"
        and at.shows("shard-detail", "epoch"),
    )


def lacks(at: Dashboard) -> None:
    at.cluster.silent = "catga-2"
    at.expect(
        "a node that does not answer is named",
        lambda: at.shows("answered", "3 of 4 nodes")
        and at.shows("alerts", "The figures lack catga-2"),
    )
    at.cluster.silent = ""
    at.cluster.token = "right"
    at.cluster.break_streams()
    opened = lambda: at.browser.js("return document.querySelector('[data-test=token-dialog]').open")
    at.expect("a token is asked for", opened)
    at.browser.type("token", "wrong")
    at.browser.click("token-send")
    at.expect(
        "a wrong token shows the prompt again",
        lambda: opened() and at.shows("token-wrong", "not the right one"),
    )
    assert (
        at.cluster.wrong_tokens < 4
    ), f"a wrong token was tried {at.cluster.wrong_tokens} times: a node locks out who tries ten"
    at.browser.type("token", "right")
    at.browser.click("token-send")
    at.expect(
        "the right token opens the page",
        lambda: not opened() and at.shows("answered", "4 of 4") and at.shows("stream", "live"),
    )
    assert not any(
        "right" in path for path in at.cluster.asked_for
    ), "the token went into an address"
    at.cluster.away = True
    at.cluster.break_streams()
    at.expect(
        "a node that is away is said to be, and what was known stays",
        lambda: at.shows("answered", "no answer") and list(at.nodes().values()).count("up") == 4,
    )
    at.cluster.away = False
    at.expect(
        "it is found again", lambda: at.shows("answered", "4 of 4") and at.shows("stream", "live")
    )


def pictures(at: Dashboard, folder: pathlib.Path) -> None:
    """For the README. The seconds are there for the transitions to end."""
    folder.mkdir(parents=True, exist_ok=True)
    at.browser.size(1280, 1040)
    at.cluster.join("catga-3")
    time.sleep(3)
    at.browser.js("document.documentElement.dataset.theme = 'light'")
    time.sleep(1)
    at.browser.picture(folder / "overview-light.png")
    time.sleep(6)
    at.cluster.kill("catga-1")
    at.browser.js("document.documentElement.dataset.theme = 'dark'")
    time.sleep(3)
    at.browser.picture(folder / "overview-dark.png")
    at.browser.size(1280, 560)
    for view in ("sagas", "entities", "events", "config"):
        at.browser.js("location.hash = arguments[0]", view)
        time.sleep(1.5)
        if view == "sagas":
            at.browser.js("document.querySelectorAll('[data-test=saga-row]')[2].click()")
        if view == "entities":
            at.browser.js("location.hash = 'entities?kind=account&key=alice'")
        time.sleep(1)
        at.browser.picture(folder / f"{view}.png")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=pathlib.Path)
    parser.add_argument("page", type=pathlib.Path)
    asked = parser.parse_args()
    if chromium.missing():
        print(f"SKIPPED: the dashboard was not tried in a browser, because {chromium.missing()}")
        return 77
    sys.path.insert(0, str(asked.page.resolve().parent))
    at = Dashboard(asked.page.resolve())
    try:
        if asked.pictures:
            at.browser.wait(lambda: len(at.nodes()) == 3, "three nodes appear", 20)
            pictures(at, asked.pictures)
            return 0
        for part in (appears, changes, crowd, streams, finds, keyboard, lacks):
            part(at)
        wrong = [
            entry
            for entry in at.browser.log("browser")
            if entry["level"] == "SEVERE" and not any(n in entry["message"] for n in NETWORK)
        ]
        assert not wrong, f"the console has errors: {wrong}"
        hosts = at.browser.hosts()
        assert hosts == {f"127.0.0.1:{at.port}"}, f"the page asked {hosts}"
        print("ok   no error in the console, and no other host was asked")
    except AssertionError as error:
        print(f"FAIL {error}")
        for entry in at.browser.log("browser"):
            print(f"     console: {entry['message']}")
        return 1
    finally:
        at.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
