"""Processes of the chaos test: in a folder of the test, ended by their id, gone with the test."""
import ctypes
import os
import pathlib
import signal
import socket
import subprocess
import time

PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None)


class Trouble(Exception):
    """The test itself cannot go on: something did not start, or did not come back."""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def until(what, condition, patience_s, every_s=0.02):
    """What `condition` gives once that is true. Raises Trouble when `patience_s` is over."""
    deadline = time.monotonic() + patience_s
    while True:
        if found := condition():
            return found
        if time.monotonic() > deadline:
            raise Trouble(f"waited {patience_s:g} s in vain until {what}")
        time.sleep(every_s)


def _child():
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # whatever ends the test ends this too


class Process:
    """One program, started at once; what it writes is appended to `log`. A group of its own, so
    that Ctrl-C reaches only the test, which then ends its processes in order."""

    def __init__(self, name, command, log, pipes=False):
        self.name, self.log = name, pathlib.Path(log)
        environment = {key: value for key, value in os.environ.items()
                       if not key.startswith("CATGA_") and key != "NATS_URL"}
        with open(log, "ab") as errors:
            pipe = subprocess.PIPE if pipes else None
            self.process = subprocess.Popen(
                [str(word) for word in command], stdin=pipe or subprocess.DEVNULL,
                stdout=pipe or errors, stderr=errors, env=environment, start_new_session=True,
                preexec_fn=_child, text=True, bufsize=1)
        self.frozen = False

    @property
    def pid(self):
        return self.process.pid

    def running(self):
        return self.process.poll() is None

    def signal(self, number):
        if self.running():
            os.kill(self.pid, number)

    def pause(self):
        self.frozen = True
        self.signal(signal.SIGSTOP)

    def resume(self):
        self.signal(signal.SIGCONT)
        self.frozen = False

    def kill9(self):
        self.signal(signal.SIGKILL)
        self.process.wait()

    def terminate(self, patience_s):
        """SIGTERM, and waits for the end."""
        self.signal(signal.SIGTERM)
        return self.ended(patience_s)

    def ended(self, patience_s):
        """Waits for the end. Gives the exit code, or None if it had to be killed."""
        if self.frozen:
            self.resume()
        try:
            return self.process.wait(patience_s)
        except subprocess.TimeoutExpired:
            self.kill9()
            return None

    def tail(self, lines=15):
        try:
            return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])
        except OSError:
            return ""
