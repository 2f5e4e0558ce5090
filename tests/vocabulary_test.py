#!/usr/bin/env python3
"""Checks the table of cluster events: that every row is used (a name that is not in it does not compile), that
who writes an event names each field of its row, and that rows have what the specification asks for, line by line."""
import pathlib
import re
import sys

TABLE = pathlib.Path("runtime/telemetry/cluster_events.hpp")
PEER = "catga.peer.id catga.peer.incarnation "
MOVE = "catga.rebalance.id catga.shard.id catga.node.from catga.node.to mode "

# The event table of the specification: own fields of each. Left out, as chapter 10 of ARCHITECTURE.md says:
# catga.leader.elected (there are no singletons).
SPECIFIED = {
    "catga.node.joined": PEER + "version weight nodes",
    "catga.node.suspected": PEER + "cause votes needed silence_ms",
    "catga.node.cleared": PEER + "silence_ms",
    "catga.node.left": PEER + "cause shards uptime_s",
    "catga.node.draining": "cause shards entities deadline_s",
    "catga.node.drained": "outcome shards_left duration_ms",
    "catga.rebalance.planned": "catga.rebalance.id reason moves by_node",
    "catga.rebalance.completed": "catga.rebalance.id outcome moved failed duration_ms unavailable_ms_max",
    "catga.rebalance.stuck": "catga.rebalance.id shards catga.node.from catga.node.to step waited_ms",
    "catga.shard.handoff.started": MOVE,
    "catga.shard.handoff.completed": MOVE + "catga.shard.epoch entities queued duration_ms unavailable_ms",
    "catga.shard.handoff.failed": MOVE + "step error retry_in_ms",
    "catga.shard.ownership.lost": "catga.shard.id catga.shard.epoch cause held",
    "catga.saga.stuck": "catga.saga.type catga.saga.id catga.saga.step cause attempts error",
    "catga.saga.resumed": "catga.saga.type catga.saga.id catga.saga.step verb",
    "catga.redis.lost": "server.address error",
    "catga.redis.restored": "outage_ms pending",
    "catga.redis.rolled_back": "run_id_old run_id_new view_old view_new shards_audited shards_lost",
    "catga.nats.lost": "server.address error",
    "catga.nats.restored": "outage_ms",
    "catga.hot.shard": "catga.shard.id share rate",
    "catga.hot.entity": "catga.entity.kind catga.entity.key share rate mailbox wait_ms",
    "catga.overload.started": "limit value refused",
    "catga.overload.ended": "limit duration_ms refused",
    "catga.entity.activation_failed": "catga.entity.kind catga.entity.key error",
    "catga.config.reloaded": "changed needs_restart",
    "catga.admin.action": "verb target outcome client.address",
}
# Put there by another file: what the writer names instead.
HELPED = {"catga.shard.id": "shard_field"}
HELPED |= dict.fromkeys(["run_id_old", "run_id_new", "view_old", "view_new"], "audit->fields")


def main():
    rows = dict(re.findall(r'EventRow\{"([^"]+)", Severity::\w+,\s*"([^"]*)"', TABLE.read_text(encoding="utf-8")))
    count = len(re.findall(r"EventRow\{", TABLE.read_text(encoding="utf-8")))
    files = [path.read_text(encoding="utf-8") for path in pathlib.Path("runtime").rglob("*.?pp") if path != TABLE]
    wrong = []
    if not rows or count != len(rows):
        wrong.append(f"{TABLE}: {count} rows, {len(rows)} with different names were read")
    for name, own in rows.items():
        fields = set(filter(None, own.split(",")))
        users = [text for text in files if f'"{name}"' in text]
        if not users:
            wrong.append(f"{name}: in the table, used by nobody")
        for field in fields:
            known = (f'"{field}"', HELPED.get(field, f'"{field}"'))
            if not any(f'"{field}"' in text for text in files):
                wrong.append(f"{name}: its field {field} is written nowhere")
            if users and not any(word in text for text in users for word in known):
                wrong.append(f"{name}: nobody who writes it names its field {field}")
        for field in set(SPECIFIED.get(name, "").split()) - fields:
            wrong.append(f"{name}: the specification has the field {field}")
    wrong += [f"{name}: the specification has it, the table does not" for name in SPECIFIED if name not in rows]
    print("\n".join(wrong) if wrong else f"vocabulary: {len(rows)} events, all used with all their fields")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
