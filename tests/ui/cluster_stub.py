"""A cluster that is not there: answers /api/v1 (as runtime/admin/api.hpp says) and streams events, for tests of the page.

Runs in the test's own process. Nodes join and die when told; shards move by rendezvous hashing, so that only those of
the changed node do. Alone (`cluster_stub.py <page.html> [port]`) it serves a cluster whose nodes come and go, for
whoever works on the page.
"""
import collections
import datetime
import hashlib
import http.server
import json
import pathlib
import random
import sys
import threading
import time
import urllib.parse

SHARDS = 1024


def best(shard: int, nodes: list[str]) -> str:
    return max(
        nodes, key=lambda node: hashlib.blake2b(f"{node} {shard}".encode(), digest_size=8).digest()
    )


class Cluster:
    """Thread-safe. `token` wanted when set; `stream_clients` is how many may follow the events."""

    def __init__(self, names: list[str]):
        self.lock = threading.Condition()
        self.token, self.stream_clients, self.silent, self.away = "", 16, "", False
        self.streams, self.cut, self.wrong_tokens = 0, 0, 0
        self.dice = random.Random(7)
        self.nodes = {name: self.fresh(name) for name in names}
        self.epochs = [1] * SHARDS
        self.owners = [best(shard, names) for shard in range(SHARDS)]
        self.rebalances: list[dict] = []
        self.moves: list[list[dict]] = [[] for _ in range(SHARDS)]
        self.events: list[dict] = []
        self.view = 1838300000000509
        self.asked_for: list[str] = []

    def fresh(self, name: str) -> dict:
        return {
            "id": name,
            "incarnation": f"{self.dice.getrandbits(64):016x}",
            "since": time.time() - 40 * 3600,
            "rate": self.dice.uniform(7800, 9100),
            "memory": self.dice.randrange(180, 260) * 2**20,
        }

    def say(
        self, name: str, message: str, severity: str = "INFO", at: float | None = None, **fields
    ) -> None:
        stamp = datetime.datetime.fromtimestamp(at or time.time(), datetime.timezone.utc)
        speaker = next(iter(self.nodes))
        names = {
            "peer": "catga.peer.id",
            "source": "catga.node.from",
            "target": "catga.node.to",
            "rebalance": "catga.rebalance.id",
            "reason": "catga.rebalance.reason",
            "shard": "catga.shard.id",
            "kind": "catga.entity.kind",
            "key": "catga.entity.key",
        }
        event = {
            "timestamp": stamp.isoformat(timespec="microseconds").replace("+00:00", "Z"),
            "severity": severity,
            "message": message,
            "event.name": name,
            "catga.node.id": speaker,
            "catga.view.version": str(self.view),
            "catga.event.id": f"7f3a-{len(self.events) + 1}",
        }
        self.events.append(event | {names.get(key, key): value for key, value in fields.items()})

    def move(self, reason: str, peer: str) -> None:
        """Gives every shard to the node it belongs to now, and tells the story of it. Called with the lock held."""
        names = sorted(self.nodes)
        self.view += 1
        moves = [
            (shard, self.owners[shard], best(shard, names))
            for shard in range(SHARDS)
            if self.owners[shard] != best(shard, names)
        ]
        identity, began, told = str(self.view), time.time(), []
        self.say(
            "catga.rebalance.planned",
            f"{len(moves)} shards move, because {peer} {reason.split('_')[1]}",
            rebalance=identity,
            reason=reason,
            moves=len(moves),
        )
        for index, (shard, source, target) in enumerate(moves):
            start = 4 + index // 24 * 5.2 + self.dice.uniform(0, 3)
            took = self.dice.uniform(2.5, 9) + (self.dice.random() < 0.03) * self.dice.uniform(
                5, 16
            )
            self.owners[shard] = target
            self.epochs[shard] += 1
            told.append({"from": source, "to": target, "end": start + took, "pause": took / 2})
            self.moves[shard] = [
                {
                    "at_ms": int(began * 1000 + start + took),
                    "from": source,
                    "to": target,
                    "epoch": str(self.epochs[shard]),
                    "mode": "planned",
                    "pause_ms": round(took / 2),
                    "entities": 51,
                },
                *self.moves[shard],
            ][:16]
            self.say(
                "catga.shard.handoff.completed",
                f"shard {shard} moved {source} -> {target} in {took:.0f} ms",
                "DEBUG" if index % 60 else "INFO",
                at=began + (start + took) / 1000,
                rebalance=identity,
                shard=shard,
                source=source,
                target=target,
                drain_ms=round(took / 2, 2),
                transfer_ms=round(took / 2, 2),
                unavailable_ms=round(took / 2, 2),
            )
        took = max((m["end"] for m in told), default=0)
        worst = max((m["pause"] for m in told), default=0)
        ways = collections.Counter((m["from"], m["to"]) for m in told)
        self.rebalances.append(
            {
                "id": identity,
                "reason": reason,
                "began_ms": int(began * 1000),
                "last_ms": int(began * 1000 + took),
                "running": False,
                "moved": len(moves),
                "failed": 0,
                "pending": 0,
                "pause_ms_max": round(worst),
                "by_node": [
                    {"from": source, "to": target, "mode": "planned", "shards": count}
                    for (source, target), count in sorted(ways.items())
                ],
            }
        )
        self.say(
            "catga.rebalance.completed",
            f"{len(moves)} shards moved in {took:.0f} ms, worst pause {worst:.0f} ms",
            at=began + took / 1000,
            rebalance=identity,
            moved=len(moves),
            failed=0,
            duration_ms=took,
        )

    def join(self, name: str) -> None:
        with self.lock:
            self.nodes[name] = self.fresh(name) | {"since": time.time()}
            self.say(
                "catga.node.joined",
                f"{name} joined, {len(self.nodes)} nodes",
                peer=name,
                nodes=len(self.nodes),
            )
            self.move("node_joined", name)
            self.lock.notify_all()

    def kill(self, name: str) -> None:
        with self.lock:
            self.say(
                "catga.node.suspected",
                f"{name} is silent for 640 ms, 2 of 2 votes",
                "WARN",
                peer=name,
                cause="heartbeat",
            )
            del self.nodes[name]
            self.say(
                "catga.node.left",
                f"{name} left: evicted",
                "WARN",
                peer=name,
                cause="evicted",
                shards=self.owners.count(name),
            )
            self.move("node_left", name)
            self.lock.notify_all()

    def tell(self, name: str, message: str, severity: str = "INFO", **fields) -> None:
        with self.lock:
            self.say(name, message, severity, **fields)
            self.lock.notify_all()

    def break_streams(self) -> None:
        with self.lock:
            self.cut += 1
            self.lock.notify_all()

    # ---- the answers --------------------------------------------------------------------------------------------
    def answer(self, path: str, query: dict[str, str]) -> tuple[int, dict]:
        with self.lock:
            missing = [self.silent] if self.silent in self.nodes else []
            frame = {
                "asked": len(self.nodes),
                "answered": len(self.nodes) - len(missing),
                "missing": missing,
            }
            known = {
                "/cluster": self.cluster,
                "/hot": self.hot,
                "/config": config,
                "/kinds": kinds,
                "/rebalances": lambda: {"rebalances": self.rebalances[::-1][:50]},
            }
            if path in known:
                return 200, frame | known[path]()
            if path == "/shards":
                start, limit = int(query.get("cursor", 0)), min(
                    600, int(query.get("limit", 600))
                )  # so that there are pages
                page = [self.shard(shard) for shard in range(start, min(SHARDS, start + limit))]
                return 200, frame | {"shards": page} | (
                    {"next": str(start + limit)} if start + limit < SHARDS else {}
                )
            if path.startswith("/shards/") and path[8:].isdigit() and int(path[8:]) < SHARDS:
                return 200, frame | {
                    "shard": self.shard(int(path[8:])),
                    "position": 0.5,
                    "history": self.moves[int(path[8:])],
                }
            if path == "/sagas":
                return 200, {
                    "sagas": [
                        one
                        for one, _ in sagas()
                        if query.get("status", one["status"]) == one["status"]
                    ],
                    "more": False,
                }
            for one, journal in sagas() if path.startswith("/sagas/") else []:
                if one["id"] == urllib.parse.unquote(path[7:]):
                    return 200, {"saga": one, "journal": journal}
            if path == "/entity":
                return self.entity(query.get("kind", ""), query.get("key", ""))
            return 404, {
                "error": {
                    "code": "not_found",
                    "message": f"There is no {path} here.",
                    "retry": False,
                }
            }

    def shard(self, shard: int) -> dict:
        return {
            "id": shard,
            "node": self.owners[shard],
            "target": self.owners[shard],
            "epoch": str(self.epochs[shard]),
            "state": "owned",
            "entities": 40 + shard * 7 % 23,
            "held": 0,
            "messages_per_s": 4.5 + shard % 13,
        }

    def cluster(self) -> dict:
        nodes = [self.node(node) for _, node in sorted(self.nodes.items())]
        return {
            "cluster": "orders",
            "view": str(self.view),
            "nodes_up": len(nodes),
            "settled": True,
            "entities": sum(node.get("entities", 0) for node in nodes),
            "messages_per_s": sum(node.get("messages_per_s", 0) for node in nodes),
            "nodes": nodes,
            "shards": {
                "configured": SHARDS,
                "held": SHARDS,
                "serving": SHARDS,
                "moving": 0,
                "unowned": 0,
            },
        }

    def node(self, node: dict) -> dict:
        held = self.owners.count(node["id"])
        seen = {
            "id": node["id"],
            "incarnation": node["incarnation"],
            "state": "UP",
            "weight": 1,
            "app_version": "2.4.1",
            "host": "10.0.0.7",
            "region": "eu-west-1",
            "zone": "eu-west-1a",
            "wanted": held,
            "joined_ms": int(node["since"] * 1000),
            "answered": node["id"] != self.silent,
        }
        return (
            seen
            if node["id"] == self.silent
            else seen
            | {
                "version": "0.1.0",
                "uptime_s": int(time.time() - node["since"]),
                "view": str(self.view),
                "session": True,
                "queued_bytes": 0,
                "shards": {"held": held, "serving": held, "incoming": 0},
                "entities": held * 51,
                "pending_asks": self.dice.randrange(9, 30),
                "messages_per_s": node["rate"] * held / SHARDS * 3 + self.dice.uniform(-300, 300),
                "memory_bytes": node["memory"],
            }
        )

    def hot(self) -> dict:
        rows = [
            ("account", "acme-corp", 411, 81234),
            ("cart", "black-friday/eu", 87, 40120),
            ("stock", "sku-4711", 902, 22871),
            ("account", "alice", 17, 9120),
        ]
        return {
            "entities": [
                {
                    "kind": kind,
                    "key": key,
                    "shard": shard,
                    "node": self.owners[shard],
                    "active": True,
                    "waiting": messages // 9000,
                    "messages": messages,
                    "idle_ms": 2,
                    "leaving": False,
                }
                for kind, key, shard, messages in rows
            ],
            "shards": [
                self.shard(shard) | {"share": share, "messages_per_s": share * 8400}
                for shard, share in ((411, 0.33), (87, 0.13), (902, 0.08))
            ],
        }

    def entity(self, kind: str, key: str) -> tuple[int, dict]:
        if kind not in ("account", "cart"):
            return 404, {
                "error": {
                    "code": "not_found",
                    "message": f"No node hosts the kind '{kind}'.",
                    "retry": False,
                }
            }
        shard = (
            int.from_bytes(hashlib.blake2b(f"{kind}/{key}".encode(), digest_size=4).digest(), "big")
            % SHARDS
        )
        return 200, {
            "entity": {
                "kind": kind,
                "key": key,
                "shard": shard,
                "node": self.owners[shard],
                "epoch": str(self.epochs[shard]),
                "active": True,
                "waiting": 0,
                "messages": 812,
                "idle_ms": 340,
                "leaving": False,
            }
        }


def kinds() -> dict:
    def kind(name, entities, commands, queries):
        messages = [{"name": one, "query": one in queries} for one in commands + queries]
        return {"name": name, "entities": entities, "messages": messages}

    return {
        "kinds": [
            kind("account", 41230, ["Deposit", "Withdraw", "Transfer"], ["GetBalance"]),
            kind("cart", 9120, ["AddItem", "CheckOut"], ["GetItems"]),
        ]
    }


def config() -> dict:
    rows = [
        ("nats.urls", "nats://***@nats:4222", "file", "", "Where the NATS servers are."),
        ("cluster.name", "orders", "environment", "", "Prefix of every subject and key."),
        ("cluster.shards", "1024", "default", "", "Fixed at first start."),
        ("redis.password", "***", "environment", "", "For the primary and the sentinels."),
        (
            "entity.idle_timeout",
            "120",
            "default",
            "s",
            "Then an entity leaves memory; its state stays.",
        ),
    ]
    return {
        "node": "catga-0",
        "settings": [
            dict(zip(("key", "value", "source", "unit", "help"), row)) | {"default": ""}
            for row in rows
        ],
    }


def sagas() -> list[tuple[dict, list[dict]]]:
    now = int(time.time() * 1000)

    def saga(identity, status, age, step, cause="", text=""):
        return {
            "type": "place_order",
            "id": identity,
            "status": status,
            "cause": cause,
            "text": text,
            "version": 1,
            "created_ms": now - age,
            "updated_ms": now - age // 3,
            "step": step,
            "entries": 5,
            "recoveries": 0,
        }

    def journal(*entries):
        return [
            {"kind": kind, "step": step, "at_ms": now - 9000 + 800 * i, "by": "saga", "note": note}
            for i, (kind, step, note) in enumerate(entries)
        ]

    return [
        (
            saga("order-10482", "running", 2100, "ship"),
            journal(("input", "", ""), ("done", "reserve", ""), ("done", "charge", "")),
        ),
        (
            saga("order-10477", "compensating", 9000, "reserve"),
            journal(
                ("input", "", ""),
                ("done", "reserve", ""),
                ("done", "charge", ""),
                ("rejected", "ship", "no courier goes there"),
                ("undone", "charge", ""),
            ),
        ),
        (
            saga(
                "eu/order-9911",
                "parked",
                4020000,
                "charge",
                "compensation_stuck",
                "the undo of charge: unavailable: the bank does not answer",
            ),
            journal(
                ("input", "", ""),
                ("done", "reserve", ""),
                ("done", "charge", ""),
                ("rejected", "ship", "address unknown"),
                ("parked", "charge", "compensation_stuck: unavailable: the bank does not answer"),
            ),
        ),
    ]


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    cluster: Cluster
    page: pathlib.Path

    def log_message(self, format: str, *arguments) -> None:
        pass

    def give(self, status: int, body: bytes, kind: str = "application/json", **more: str) -> None:
        self.send_response(status)
        for name, value in (
            {"Content-Type": kind, "Content-Length": str(len(body)), "Cache-Control": "no-store"}
            | more
        ).items():
            self.send_header(name, value)
        try:
            self.end_headers()
            self.wfile.write(body)
        except OSError:  # the page did not wait for it
            self.close_connection = True

    def do_GET(self) -> None:
        address = urllib.parse.urlsplit(self.path)
        if self.cluster.away:
            self.close_connection = True
            return None
        self.cluster.asked_for.append(self.path)
        if address.path == "/ui":
            from pack import policy  # as the node sends it: a page that breaks it does not run

            return self.give(
                200,
                self.page.read_bytes(),
                "text/html; charset=utf-8",
                **{"Content-Security-Policy": policy(self.page.read_text(encoding="utf-8"))},
            )
        if not address.path.startswith("/api/v1"):
            return self.give(404, b"{}")
        if (
            self.cluster.token
            and self.headers.get("Authorization") != "Bearer " + self.cluster.token
        ):
            self.cluster.wrong_tokens += "Authorization" in self.headers
            return self.give(
                401,
                b'{"error":{"code":"unauthorized","message":"A token is needed.","retry":false}}',
            )
        path = address.path.removeprefix("/api/v1")
        if path == "/events":
            return self.stream()
        status, answer = self.cluster.answer(path, dict(urllib.parse.parse_qsl(address.query)))
        self.give(status, json.dumps(answer).encode())

    def stream(self) -> None:
        cluster = self.cluster
        with cluster.lock:
            if cluster.streams >= cluster.stream_clients:
                return self.give(503, b"{}", **{"Retry-After": "1"})
            cluster.streams += 1
            cut = cluster.cut
        last = self.headers.get("Last-Event-ID", "")
        known = last.startswith("node-")
        sent = (
            int(last.split("-")[1])
            if known
            else max(0, len(cluster.events) - 500)
            if last
            else len(cluster.events)
        )
        try:
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(
                b"retry: 300\n\n"
                + (b"" if known or not last else b"event: catga.stream.reset\ndata: {}\n\n")
            )
            while cut == cluster.cut:
                with cluster.lock:
                    cluster.lock.wait_for(
                        lambda: len(cluster.events) > sent or cut != cluster.cut, 5
                    )
                    fresh = cluster.events[sent:]
                for event in fresh:
                    sent += 1
                    self.wfile.write(
                        f"id: node-{sent}\nevent: {event['event.name']}\ndata: {json.dumps(event)}\n\n".encode()
                    )
                self.wfile.write(b": still here\n\n")
                self.wfile.flush()
        except OSError:
            pass
        finally:
            self.close_connection = True
            with cluster.lock:
                cluster.streams -= 1


def serve(cluster: Cluster, page: pathlib.Path, port: int = 0) -> http.server.ThreadingHTTPServer:
    handler = type("Bound", (Handler,), {"cluster": cluster, "page": page})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def main() -> None:
    page = pathlib.Path(sys.argv[1]).resolve()
    sys.path.insert(0, str(page.parent))
    cluster = Cluster(["catga-0", "catga-1", "catga-2"])
    server = serve(cluster, page, int(sys.argv[2]) if len(sys.argv) > 2 else 8080)
    print(f"http://127.0.0.1:{server.server_address[1]}/ui", flush=True)
    while True:
        time.sleep(12)
        cluster.join("catga-3")
        time.sleep(12)
        cluster.kill("catga-3")


if __name__ == "__main__":
    main()
