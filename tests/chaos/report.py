"""What the clients recorded, while it happens and in the end: gaps, figures, gates."""
import collections
import json
import math
import subprocess
import time

from nodes import timestamp_us

FAILED_AFTER_US = 6_000_000  # ask.timeout and a little: what took longer was not served in time
NO_FAILURE = ("leave", "join", "rolling")
KILL_GAP_P99_MS = 1000
DEFECTS = ("lost", "applied_twice", "nonlinearizable", "applied_though_refused", "unexplained")
Call = collections.namedtuple("Call", "start end kind outcome shard asks error")


def quantile(values, part):
    """The smallest value that is not below so large a part of all."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(part * len(ordered)) - 1)] if ordered else None


class Recorder:
    """Follows the history files. Calls are kept as tuples, by shard."""

    def __init__(self, clients, shards):
        self.clients, self.files, self.rest = clients, {}, {}
        self.calls, self.accounts = [], set()
        self.last_start = dict.fromkeys(range(shards), 0)  # of the newest call that was answered
        self.acks = {shard: [] for shard in range(shards)}

    def poll(self):
        for path in self.clients.history():
            if path not in self.files:
                self.files[path], self.rest[path] = open(path, encoding="ascii"), ""
            text = self.rest[path] + self.files[path].read()
            *lines, self.rest[path] = text.split("\n")
            for line in lines:
                self._take(line.split())

    def _take(self, words):
        if words[0] != "call":
            return
        self.accounts.add(words[3])
        if len(words) < 12:
            return  # what became of a tell: nobody waited for it
        shard = int(words[9])
        call = Call(int(words[1]), int(words[2]), words[5], words[6], shard, int(words[10]),
                    words[11])
        self.calls.append(call)
        if call.outcome in ("ok", "rejected"):
            self.acks[shard].append(call.end)
            self.last_start[shard] = max(self.last_start[shard], call.start)

    def silent_shards(self, since_us):
        """Shards without an answer to a call that began after this."""
        self.poll()
        return [shard for shard, start in self.last_start.items() if start <= since_us]

    def wait_recovered(self, since_us, patience_s):
        """When every shard had answered again, or None; then the silent ones."""
        deadline = time.monotonic() + patience_s
        while silent := self.silent_shards(since_us):
            if time.monotonic() > deadline:
                return None, silent
            time.sleep(0.02)
        return timestamp_us(), []

    def gaps_ms(self, shards, begin_us, end_us):
        """Per shard the longest time without an answer that touches this span."""
        gaps = []
        for shard in shards:
            ends = sorted(self.acks[shard])
            pairs = zip(ends, ends[1:])
            touching = [later - earlier for earlier, later in pairs
                        if later > begin_us and earlier < end_us]
            gaps.append(max(touching, default=0) / 1000)
        return gaps

    def failed(self, begin_us, end_us):
        """Calls under way in this span that had no outcome in their time."""
        return [call for call in self.calls if call.start <= end_us and call.end >= begin_us and
                (call.outcome not in ("ok", "rejected") or call.end - call.start > FAILED_AFTER_US)]


def run_checker(programs, files):
    made = subprocess.run([programs / "catga-chaos-check", *files], capture_output=True, text=True,
                          check=False)
    if made.returncode not in (0, 1):
        raise RuntimeError(f"the checker cannot read the history: {made.stderr}")
    return json.loads(made.stdout)


def of_fault(recorder, happened):
    """The figures of one fault. Its span ends a second after all was well again, for stragglers."""
    begin, end = happened.begin_us, happened.recovered_us or happened.end_us
    span = (begin, end + 1_000_000)
    return {"kind": happened.fault.kind, "what": str(happened.fault), "span": span,
            "gaps_ms": recorder.gaps_ms(happened.affected, begin, end),
            "failed": recorder.failed(*span)}


def blame(figures, failed):
    """Leaves each failed call with the first fault it met, which is what it suffered from. Gives
    those that met none."""
    left = set(failed)
    for figure in figures:
        figure["failed"] = [call for call in figure["failed"] if call in left]
        left -= set(figure["failed"])
    return sorted(left)


def by_kind(figures):
    kinds = {}
    for figure in figures:
        kinds.setdefault(figure["kind"], []).append(figure)
    table = {}
    for kind, of_kind in sorted(kinds.items()):
        gaps = [gap for figure in of_kind for gap in figure["gaps_ms"]]
        table[kind] = {
            "times": len(of_kind), "shards": len(gaps),
            "unavailable_p50_ms": quantile(gaps, 0.5), "unavailable_p99_ms": quantile(gaps, 0.99),
            "unavailable_max_ms": max(gaps, default=None),
            "failed_calls": sum(len(figure["failed"]) for figure in of_kind)}
    return table


def figures_of(recorder, verdict, figures, began_us, ended_us):
    in_calm = blame(figures, recorder.failed(began_us, ended_us))
    acknowledged = [call for call in recorder.calls if call.outcome in ("ok", "rejected")]
    outcomes = collections.Counter(call.outcome for call in recorder.calls)
    gaps = recorder.gaps_ms(list(recorder.acks), began_us, ended_us)
    durations = [(call.end - call.start) / 1000 for call in acknowledged]
    return {
        "calls": len(recorder.calls), "acknowledged": outcomes["ok"],
        **{name: outcomes[name] for name in ("rejected", "refused", "unknown")},
        "tells": verdict["calls"] - len(recorder.calls),
        **{name: verdict[name] for name in DEFECTS},
        "max_gap_ms": max(gaps, default=None),
        "p50_ms": quantile(durations, 0.5), "p99_ms": quantile(durations, 0.99),
        "seconds": (ended_us - began_us) / 1e6,
        "failed_calls_in_calm": len(in_calm),
        "faults": by_kind(figures)}


def broken_gates(result, wrong):
    """What must not be, in words."""
    broken = list(wrong)
    for name in DEFECTS:
        if result[name] != 0:
            broken.append(f"{result[name]} {name}")
    for kind in NO_FAILURE:
        if failed := result["faults"].get(kind, {}).get("failed_calls", 0):
            broken.append(f"{failed} failed calls at {kind}: planned moves fail none")
    if failed := result["failed_calls_in_calm"]:
        broken.append(f"{failed} failed calls while nothing was broken")
    kill = result["faults"].get("kill", {}).get("unavailable_p99_ms") or 0
    if kill >= KILL_GAP_P99_MS:
        broken.append(f"kill -9: p99 of the gap is {kill:.0f} ms, not below {KILL_GAP_P99_MS}")
    if result["calls"] == 0:
        broken.append("no calls: nothing was proven")
    return broken


def print_result(result):
    def number(value):
        return "-" if value is None else f"{value:,.0f}"
    print(f"\n{'fault':10}{'times':>7}{'shards':>8}{'gap p50 ms':>12}{'p99':>8}{'max':>9}"
          f"{'failed calls':>14}")
    for kind, row in result["faults"].items():
        print(f"{kind:10}{row['times']:7}{row['shards']:8}{number(row['unavailable_p50_ms']):>12}"
              f"{number(row['unavailable_p99_ms']):>8}{number(row['unavailable_max_ms']):>9}"
              f"{row['failed_calls']:14}")
    def line(*names):
        return ", ".join(f"{name.replace('_', ' ')} {number(result[name])}" for name in names)
    print(f"\nin {result['seconds']:.0f} s:", line("calls", "acknowledged", "rejected", "refused",
                                                  "unknown", "tells", "max_gap_ms"))
    print(f"p50 {result['p50_ms']:.1f} ms, p99 {result['p99_ms']:.1f} ms")
    print(line(*DEFECTS))
