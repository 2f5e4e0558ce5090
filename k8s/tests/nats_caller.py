"""A caller that knows nothing of Catga: asks entities through NATS with JSON, many at a time.

Just enough of NATS' text protocol for requests; one socket, one thread that reads.
"""
import json
import queue
import re
import select
import socket
import ssl
import threading
import time

# What a server sends. A message has the size of its headers, if any, and of all of it.
MESSAGE = re.compile(rb"(?:(?P<ping>PING)|H?MSG (?P<subject>\S+) \S+ (?:(?P<headers>\d+) )?(?P<size>\d+)|"
                     rb"INFO [^\r]*|\+OK|PONG|-ERR [^\r]*)\r\n")


class Caller:
    def __init__(self, port, cluster, user, password, certificates):
        """`certificates`: a folder with ca.crt, client.crt and client.key."""
        self.cluster, self.waiting, self.lock, self.number = cluster, {}, threading.Lock(), 0
        self.socket = socket.create_connection(("127.0.0.1", port), 5)
        while not self.socket.recv(1) == b"\n":  # INFO comes in plain text, then TLS begins
            pass
        trust = ssl.create_default_context(cafile=certificates / "ca.crt")
        trust.load_cert_chain(certificates / "client.crt", certificates / "client.key")
        self.socket = trust.wrap_socket(self.socket, server_hostname="localhost")
        self.inbox = f"_INBOX.rendered{port}"
        options = {"verbose": False, "pedantic": False, "headers": True, "no_responders": True,
                   "tls_required": True, "user": user, "pass": password}
        self._send(f"CONNECT {json.dumps(options)}\r\nSUB {self.inbox}.* 1\r\n".encode())
        threading.Thread(target=self._read, daemon=True).start()

    def _send(self, data):
        with self.lock:
            self.socket.sendall(data)

    def _received(self):
        """What has come, or nothing. OpenSSL lets only one thread at a time touch a connection, so
        nobody may wait inside of it for bytes to come."""
        select.select([self.socket], [], [], 0.1)
        with self.lock:
            self.socket.settimeout(0)
            try:
                return self.socket.recv(1 << 20)
            except (ssl.SSLWantReadError, BlockingIOError):
                return None
            finally:
                self.socket.settimeout(5)

    def _read(self):
        waiting = b""
        try:
            while (data := self._received()) != b"":
                waiting += data or b""
                while message := MESSAGE.match(waiting):
                    begin, size = message.end(), int(message["size"] or 0)
                    if len(waiting) < begin + size:
                        break
                    self._heard(message, waiting[begin:begin + size])
                    waiting = waiting[begin + size:].lstrip(b"\r\n")
        except (OSError, ValueError):
            pass  # closed: the calls under way say so, by having no answer

    def _heard(self, message, body):
        if message["ping"]:
            return self._send(b"PONG\r\n")
        answer = self.waiting.pop((message["subject"] or b"").decode().rsplit(".", 1)[-1], None)
        if answer:
            headers = int(message["headers"] or 0)
            answer.put((body[:headers].decode(), body[headers:].decode()))
        return None

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
            try:
                answer = self.caller.call("account", key, "Deposit", {"cents": 1})
            except OSError as trouble:
                return self.failures.append(f"{key}: the connection to NATS broke: {trouble}")
            self.slowest_s = max(self.slowest_s, time.monotonic() - begun)
            if isinstance(answer, dict):
                self.deposits[key] = self.deposits.get(key, 0) + 1
            else:
                self.failures.append(f"{key}: {answer}")
            time.sleep(0.002)
        return None

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
