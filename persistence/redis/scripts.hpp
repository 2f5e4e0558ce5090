// The Lua scripts: all that Catga asks of Redis. Each checks what it needs in the same slot it
// writes to.
//
// Every script begins with `#!lua`. Redis then refuses it whole, before its first line, on a
// replica, on a primary short of replicas, with a full disk and, without `flags=allow-oom`, with
// full memory. Reads are scripts too, and without the flag `no-writes`, so that a demoted primary
// answers READONLY and not with what it remembers. Only scripts that add users' data (`shard_commit`,
// `saga_create`, `saga_commit`, `first_seen`, `dead_letter`, `park_tell`, `park_timer`) lack `allow-oom`: with full memory they
// are refused, while ownership, sessions, loading and trimming go on.
#pragma once
#include <array>
#include <cstddef>
#include <string>
#include <string_view>

namespace catga {

enum class Script : std::size_t {
  own,  ///< ACQ, XFER, BUMP, REL
  read_owner,
  renew,
  join,
  set_state,
  evict,
  reap,
  withdraw_vote,
  read_view,
  sessions,
  read_cluster,
  shard_commit,
  entity_load,
  read_outbox,
  trim_outbox,
  read_timers,
  saga_create,
  saga_load,
  saga_commit,
  fenced,
  saga_list,
  saga_headers,
  saga_overview,
  first_seen,
  dead_letter,
  letter_boxes,
  read_letters,
  take_letter,
  park_tell,
  park_timer,
};
constexpr std::size_t script_count = 30;

/// Lower case, as in errors: "shard_commit".
std::string_view name_of(Script script);

/// The whole text as it is sent, preludes included.
std::string text_of(Script script);

}  // namespace catga
