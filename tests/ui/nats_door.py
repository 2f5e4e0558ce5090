"""Asks a cluster over NATS, and lets a browser do so: HTTP in front of the operators' desk (runtime/admin/desk.hpp).

For a node program without an admin listener. As much of NATS's protocol as that takes.
"""
import http.server
import itertools
import json
import pathlib
import queue
import socket
import threading
import urllib.parse

NUMBERS = itertools.count(1)


class Line:
    """One connection to NATS."""

    def __init__(self, port: int, subject: str):
        self.socket = socket.create_connection(("127.0.0.1", port), 5)
        self.lines = self.socket.makefile("rb")
        self.lines.readline()  # INFO
        self.send(f'CONNECT {{"verbose":false}}\r\nSUB {subject} 1\r\n'.encode())

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def publish(self, subject: str, reply: str, body: bytes) -> None:
        self.send(f"PUB {subject} {reply} {len(body)}\r\n".encode() + body + b"\r\n")

    def next(self) -> bytes:
        """The next message; waits for it."""
        while True:
            line = self.lines.readline()
            if line.startswith(b"PING"):
                self.send(b"PONG\r\n")
            elif line.startswith(b"MSG"):
                body = self.lines.read(int(line.split()[-1]))
                self.lines.readline()
                return body
            elif not line or line.startswith(b"-ERR"):
                raise OSError(f"NATS ended the connection: {line!r}")

    def close(self) -> None:
        self.lines.close()
        self.socket.close()


def ask(port: int, subject: str, question: dict) -> dict:
    inbox = f"_INBOX.dashboard.{next(NUMBERS)}"
    line = Line(port, inbox)
    try:
        line.publish(subject, inbox, json.dumps(question).encode())
        return json.loads(line.next())
    finally:
        line.close()


class Door(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    nats, cluster, page, token = 0, "", pathlib.Path(), ""

    def log_message(self, format: str, *arguments) -> None:
        pass

    def give(self, status: int, body: bytes, kind: str = "application/json", **more: str) -> None:
        self.send_response(status)
        headers = {"Content-Type": kind, "Content-Length": str(len(body))} | more
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        try:
            self.end_headers()
            self.wfile.write(body)
        except OSError:  # the page did not wait for it
            self.close_connection = True

    def do_GET(self) -> None:
        from pack import policy

        address = urllib.parse.urlsplit(self.path)
        if address.path == "/ui":
            html = self.page.read_bytes()
            rules = policy(html.decode())
            return self.give(200, html, "text/html", Content_Security_Policy=rules)
        if self.headers.get("Authorization") != "Bearer " + self.token:
            return self.give(
                401, b'{"error":{"code":"unauthorized","message":"A token is needed."}}'
            )
        if address.path == "/api/v1/events":
            return self.stream()
        query = dict(urllib.parse.parse_qsl(address.query))
        question = {"method": "GET", "path": address.path, "query": query, "body": "", "by": "test"}
        try:
            said = ask(self.nats, f"catga.{self.cluster}.admin", question)
        except OSError as error:
            said = {"status": 504, "body": {"error": {"message": str(error)}}}
        self.give(said["status"], json.dumps(said["body"]).encode())

    def stream(self) -> None:
        line = Line(self.nats, f"catga.{self.cluster}.events")
        batches: queue.Queue[bytes] = queue.Queue()

        def listen() -> None:
            try:
                while True:
                    batches.put(line.next())
            except (OSError, ValueError):
                pass

        threading.Thread(target=listen, daemon=True).start()
        try:
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Connection", "close")
            self.end_headers()
            while True:
                self.wfile.write(b": here\n\n")
                try:
                    batch = json.loads(batches.get(timeout=2))
                except queue.Empty:
                    continue
                for event in batch:
                    self.wfile.write(
                        f"event: {event['event.name']}\ndata: {json.dumps(event)}\n\n".encode()
                    )
        except OSError:
            self.close_connection = True
        finally:
            line.close()


def serve(nats: int, cluster: str, page: pathlib.Path, token: str, port: int):
    traits = {"nats": nats, "cluster": cluster, "page": page, "token": token}
    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), type("Bound", (Door,), traits))
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server
