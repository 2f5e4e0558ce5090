"""Runs the tool as a user would: a command line, what it printed, its exit code."""
import os
import re
import signal
import socket
import subprocess
import time

CLEAN = {key: value for key, value in os.environ.items()
         if not key.startswith("CATGA_") and key not in ("NATS_URL", "NO_COLOR")}


class Ran:
    def __init__(self, done, seconds):
        self.code, self.out, self.err, self.seconds = (
            done.returncode, done.stdout, done.stderr, seconds)

    def __repr__(self):
        return f"exit code {self.code}\n{self.out}\n{self.err}"


def run(*words, env=None, stdin=subprocess.DEVNULL, timeout=30):
    began = time.monotonic()
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True,
                          env={**CLEAN, **(env or {})}, timeout=timeout, check=False,
                          **({"input": stdin} if isinstance(stdin, str) else {"stdin": stdin}))
    return Ran(done, time.monotonic() - began)


def until(what, condition, patience_s, every_s=0.05):
    deadline = time.monotonic() + patience_s
    while True:
        if found := condition():
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {patience_s:g} s in vain until {what}")
        time.sleep(every_s)


class Up:
    """`catga up`, with what it prints in a file."""

    def __init__(self, tool, folder, *words):
        self.log = folder / "up.log"
        with open(self.log, "wb") as log:
            # A session of its own: what ends the test must not be a stray Ctrl-C.
            self.process = subprocess.Popen(
                [tool, "up", *words], stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                start_new_session=True, env={**CLEAN, "TMPDIR": str(folder)})

    def text(self):
        return self.log.read_text(errors="replace")

    def wait_for(self, pattern, patience_s=60):
        def look():
            if self.process.poll() is not None:
                raise AssertionError(f"catga up has ended with {self.process.poll()}:\n{self.text()}")
            return re.search(pattern, self.text())
        return until(f"catga up says {pattern}", look, patience_s)

    def children(self):
        """name of the program -> process ids"""
        found = subprocess.run(["ps", "-o", "pid=,comm=", "--ppid", str(self.process.pid)],
                               capture_output=True, text=True, check=False).stdout
        return [(int(line.split()[0]), line.split()[1]) for line in found.splitlines()]

    def stop(self, signals=1, patience_s=60):
        for _ in range(signals):
            if self.process.poll() is None:
                self.process.send_signal(signal.SIGINT)
                time.sleep(0.2)  # two signals at once are one
        try:
            return self.process.wait(patience_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            return None


def publish(url, subject, text):
    """As a NATS client: to whoever listens now."""
    host, port = url.removeprefix("nats://").split(":")
    body = text.encode()
    with socket.create_connection((host, int(port)), 5) as server:
        server.sendall(b'CONNECT {"verbose":false}\r\n' +
                       f"PUB {subject} {len(body)}\r\n".encode() + body + b"\r\nPING\r\n")
        answer = b""
        while b"PONG" not in answer:
            answer += server.recv(4096)


class Terminal:
    """A terminal without a window: tmux."""

    def __init__(self, folder, name, *words, width=160, height=40):
        self.socket = str(folder / f"tmux-{name}")
        # A shell says how it ended: tmux itself misses the end of a program now and then.
        then_say = 'trap : INT; "$@"; echo "ended with $?"; exec sleep 600'
        self.tmux("-f", "/dev/null", "new-session", "-d", "-x", str(width), "-y", str(height),
                  "sh", "-c", then_say, "sh", *(str(word) for word in words))

    def tmux(self, *words):
        return subprocess.run(["tmux", "-S", self.socket, *words], capture_output=True, text=True,
                              env={**CLEAN, "TERM": "xterm-256color", "LC_ALL": "C.UTF-8"},
                              check=False, timeout=20).stdout

    def screen(self):
        return self.tmux("capture-pane", "-p")

    def press(self, *keys):
        self.tmux("send-keys", *keys)

    def ended(self):
        """Its exit code, once it has one."""
        found = re.search(r"(?m)^(?:\^C)?ended with (\d+)$", self.screen())
        return found[1] if found else None

    def close(self):
        self.tmux("kill-server")
