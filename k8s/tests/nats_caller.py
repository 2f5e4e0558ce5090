"""A caller that knows nothing of Catga: asks entities through NATS with JSON, many at a time.

Just enough of NATS' text protocol for requests; one socket, one thread that reads.
"""
import json
import queue
import socket
import ssl
import threading
import time


class Caller:
    def __init__(self, port, cluster, user, password, authority):
        self.cluster, self.waiting, self.lock, self.number = cluster, {}, threading.Lock(), 0
        self.socket = socket.create_connection(("127.0.0.1", port), 5)
        while not self.socket.recv(1) == b"\n":  # INFO comes in plain text, then TLS begins
            pass
        trust = ssl.create_default_context(cafile=authority)
        self.socket = trust.wrap_socket(self.socket, server_hostname="localhost")
        self.lines = self.socket.makefile("rb")
        self.inbox = f"_INBOX.rendered{port}"
        options = {"verbose": False, "pedantic": False, "headers": True, "no_responders": True,
                   "tls_required": True, "user": user, "pass": password}
        self._send(f"CONNECT {json.dumps(options)}\r\nSUB {self.inbox}.* 1\r\n".encode())
        self.socket.settimeout(None)
        threading.Thread(target=self._read, daemon=True).start()

    def _send(self, data):
        with self.lock:
            self.socket.sendall(data)

    def _read(self):
        while line := self.lines.readline():
            words = line.decode().split()
            if not words:
                continue
            if words[0] == "PING":
                self._send(b"PONG\r\n")
            elif words[0] in ("MSG", "HMSG"):
                headers = int(words[-2]) if words[0] == "HMSG" else 0
                body = self.lines.read(int(words[-1]))
                self.lines.readline()
                answer = self.waiting.pop(words[1].rsplit(".", 1)[1], None)
                if answer:
                    answer.put((body[:headers].decode(), body[headers:].decode()))

    def call(self, kind, key, message, fields, patience_s=10):
        """The answer's fields, or a text that says what went wrong. Asks once: never repeats."""
        with self.lock:
            self.number += 1
            number = str(self.number)
        answer = self.waiting[number] = queue.Queue()
        body = json.dumps(fields).encode()
        self._send(f"PUB catga.{self.cluster}.call.{kind}.{key}.{message} {self.inbox}.{number} "
                   f"{len(body)}\r\n".encode() + body + b"\r\n")
        try:
            headers, text = answer.get(timeout=patience_s)
        except queue.Empty:
            self.waiting.pop(number, None)
            return f"no answer in {patience_s} s"
        if " 503" in headers:
            return "no node listens"
        if "Catga-Error" in headers:
            return text
        return json.loads(text)

    def close(self):
        self.socket.close()


class Load:
    """Callers that deposit one cent after the other, each to an account of its own set."""

    def __init__(self, caller, threads=8, accounts=40):
        self.caller, self.stopped = caller, threading.Event()
        self.deposits, self.failures, self.slowest_s = {}, [], 0.0
        self.threads = [threading.Thread(target=self._run, args=(number, accounts), daemon=True)
                        for number in range(threads)]
        for thread in self.threads:
            thread.start()

    def _run(self, number, accounts):
        turn = 0
        while not self.stopped.is_set():
            turn += 1
            key = f"account-{number}-{turn % accounts}"
            begun = time.monotonic()
            answer = self.caller.call("account", key, "Deposit", {"cents": 1})
            self.slowest_s = max(self.slowest_s, time.monotonic() - begun)
            if isinstance(answer, dict):
                self.deposits[key] = self.deposits.get(key, 0) + 1
            else:
                self.failures.append(f"{key}: {answer}")
            time.sleep(0.002)

    def stop(self):
        self.stopped.set()
        for thread in self.threads:
            thread.join(15)

    def count(self):
        return sum(self.deposits.values())

    def wrong_balances(self):
        """What the accounts have, against what was acknowledged."""
        wrong = []
        for key, cents in sorted(self.deposits.items()):
            answer = self.caller.call("account", key, "GetBalance", {})
            if not isinstance(answer, dict) or answer["cents"] != cents:
                wrong.append(f"{key} has {answer}, acknowledged were {cents} cents")
        return wrong
