"""The table, the JSON and the description of the machine."""
import datetime
import os
import pathlib
import platform
import shutil
import subprocess

# In the order of the issue, and with its names.
FIELDS = """local_tell_spread_ratio local_tell_per_second local_ask_ratio
remote_ask_64_ratio remote_ask_256_ratio remote_ask_1024_ratio remote_ask_p50_ratio
durable_ask_ratio hot_entity_ratio activation_per_second entity_bytes bytes_per_id bytes_per_id_in_node
scale_3_nodes_ratio
move_1000_shards_ms move_gap_ms_p99 takeover_ms start_ms idle_rss_mib view_100_nodes_s
overload_goodput_ratio""".split()


def said_by(*command):
    path = os.environ.get("PATH", "") + ":/usr/sbin"
    found = shutil.which(command[0], path=path)
    if not found:
        return "not installed"
    done = subprocess.run([found, *command[1:]], capture_output=True, text=True, check=False)
    return (done.stdout + done.stderr).strip().splitlines()[0]


def model():
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def governor():
    file = pathlib.Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
    return file.read_text().strip() if file.exists() else "not visible"


def machine():
    """To be called before anything is started: the load average is that of the others."""
    memory_kib = int(pathlib.Path("/proc/meminfo").read_text().split()[1])
    return {
        "cores": os.cpu_count(),
        "usable_cores": len(os.sched_getaffinity(0)),
        "model": model(),
        "memory_gib": round(memory_kib / 2**20, 1),
        "kernel": platform.release(),
        "governor": governor(),
        "load_average_before": [round(load, 2) for load in os.getloadavg()],
        "redis": said_by("redis-server", "--version").split(" sha=")[0],
        "nats": said_by("nats-server", "--version"),
        "compiler": said_by("g++", "--version"),
        "caf": "not measured",  # its ceiling program says it
    }


def caf_version(number):
    return f"{number // 10000}.{number // 100 % 100}.{number % 100}"


def number(value):
    if value is None:
        return ""
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) < 10 else f"{value:.1f}"


def rows(figures, failed):
    yield ("figure", "unit", "value", "ceiling", "ratio", "goal", "")
    for name in FIELDS:
        if name in figures:
            figure = figures[name]
            goal = f"{figure.limit[0]} {number(figure.limit[1])}" if figure.limit else "report"
            verdict = {True: "met", False: "MISSED", None: ""}[figure.met()]
            yield (name, figure.unit, number(figure.value), number(figure.ceiling),
                   number(figure.ratio), goal, verdict)
        elif name in failed:
            yield (name, "", "", "", "", "", "FAILED")


def table(figures, failed):
    lines = list(rows(figures, failed))
    widths = [max(len(row[i]) for row in lines) for i in range(len(lines[0]))]
    out = []
    for row in lines:
        words = [row[0].ljust(widths[0]), row[1].ljust(widths[1])]
        words += [word.rjust(width) for word, width in zip(row[2:6], widths[2:6])]
        out.append("  ".join([*words, row[6]]).rstrip())
    notes = [f"{name}: {figures[name].note}" for name in FIELDS
             if name in figures and figures[name].note]
    return "\n".join(out + [""] + notes)


def as_json(figures, details, description, failed):
    """The fields of the issue, then what explains them."""
    values = {name: figures[name].judged() for name in FIELDS if name in figures}
    measured = {name: {"unit": figure.unit, "value": figure.value, "ceiling": figure.ceiling,
                       "ratio": figure.ratio, "met": figure.met()}
                for name, figure in figures.items()}
    return {**values, "measured": measured, "details": details, "machine": description,
            "failed": failed}


def markdown(figures, failed, description, command, rounds):
    today = datetime.date.today().isoformat()
    lines = ["# Results", f"{today}, medians of {rounds} rounds:", "", "```sh", command, "```", ""]
    lines += [f"- {key.replace('_', ' ')}: {value}" for key, value in description.items()]
    lines += [""]
    for i, row in enumerate(rows(figures, failed)):
        lines.append("| " + " | ".join(row) + " |")
        if i == 0:
            lines.append("|---" * len(row) + "|")
    lines += [""] + [f"- `{name}`: {figures[name].note}" for name in FIELDS
                     if name in figures and figures[name].note]
    lines += [f"- {stage} failed: {why}" for stage, why in failed.items() if stage not in FIELDS]
    return "\n".join(lines) + "\n"
