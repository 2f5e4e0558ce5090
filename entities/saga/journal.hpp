// The journal of a saga: what it has decided and learned, one entry after the other.
//
// The journal is the saga. Whoever owns the shard reads it and goes on from there, so what stands
// here never changes its meaning: numbers of kinds are kept for ever, fields are only added, and an
// older program skips fields it does not know. An entry is the msgpack array
// [kind, step, at, data, by]; further elements are skipped too. A kind nobody here knows is an error
// and not skipped: deciding without it could undo what must stay.
#pragma once
#include "catga/entities/message.hpp"
#include "catga/sharding/result.hpp"

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace catga {

/// What an entry says. Storage format.
enum class EntryKind : std::uint8_t {
  input = 0,         ///< the saga started; data: its state
  choice = 1,        ///< a .when or .each was reached; data: yes, no, or the count
  done = 2,          ///< a step, signal, sleep or child ended well; data: DoneNote
  rejected = 3,      ///< the participant said no, a signal was late, a child went back; data: why
  gave_up = 4,       ///< attempts used up, outcome unknown; data: the last error
  absent = 5,        ///< settled: not applied, and never will be
  undone = 6,        ///< the undo was acknowledged; data: DoneNote if an operator says so
  undo_skipped = 7,  ///< an operator took the undo as done; data: why
  signal = 8,        ///< a signal arrived, awaited or not; step: its name; data: SignalNote
  cancel = 9,        ///< by caller, operator, parent or deadline; data: why
  parked = 10,       ///< data: ParkNote
  resumed = 11,      ///< data: ResumeNote; step: only if it shall run again
  upgraded = 12,     ///< a newer definition took over; data: UpgradeNote
  end = 13,          ///< data: EndNote
};
inline constexpr std::uint64_t last_entry_kind = 13;

/// The word for a kind in logs, errors and `catga saga show`: "gave_up".
std::string_view name_of(EntryKind kind);

/// One line of the journal.
struct JournalEntry {
  EntryKind kind = EntryKind::input;
  std::string step;        ///< a step ("charge", "line#3"), the name of a signal, or empty
  std::int64_t at_ms = 0;  ///< cluster time when it was decided
  std::string data;        ///< what it is depends on the kind
  std::string by;          ///< who: "saga", "deadline", a caller, an operator
  friend bool operator==(const JournalEntry&, const JournalEntry&) = default;
};

/// Why a saga is parked. The names are what operators see and what is stored.
enum class ParkCause : std::uint8_t {
  compensation_stuck,  ///< an undo or a settlement does not succeed
  forward_stuck,       ///< behind the pivot: rejected, or no success for an hour
  definition_drift,    ///< same version, other steps
  no_definition,       ///< this version is not known here
  crash_loop,          ///< its actor or its owners died too often
  poison,              ///< a lambda threw, bytes could not be read, or a step stayed open too long
  journal_full,        ///< beyond the bounds below
};
std::string_view name_of(ParkCause cause);
/// Errors: malformed.
Result<ParkCause> parse_park_cause(std::string_view name);

/// What stands in `data`.
struct DoneNote {
  std::string reply;    ///< encoded; empty if there is none
  bool forget = false;  ///< the participant asks to be told when this saga is over
  std::string reason;   ///< of the operator who completed it by force
  CATGA_FIELDS(reply, forget, reason);
};
struct SignalNote {
  std::string id;  ///< of the sender; the same id again is ignored
  std::string payload;
  CATGA_FIELDS(id, payload);
};
struct ParkNote {
  std::string cause{};   ///< name_of(ParkCause); filled in by park_entry
  std::string text{};    ///< what happened, for people
  bool undo = false;     ///< it is about the undo of the step, not the step
  bool refused = false;  ///< the participant said no: known not to be applied
  CATGA_FIELDS(cause, text, undo, refused);
};
struct ResumeNote {
  std::string reason;
  bool replace = false;  ///< send `payload` instead of what the definition says
  std::string payload;
  CATGA_FIELDS(reason, replace, payload);
};
struct UpgradeNote {
  std::uint32_t from = 0;
  std::uint32_t to = 0;
  CATGA_FIELDS(from, to);
};
struct EndNote {
  std::string status;  ///< completed, compensated, aborted
  std::string reason;
  CATGA_FIELDS(status, reason);
};

/// How a child ended, as its parent gets it: the payload of the signal with the child's id.
struct ChildEnd {
  std::string status;  ///< completed, compensated, aborted
  std::string state;   ///< encoded, of a completed child
  std::string reason;
  CATGA_FIELDS(status, state, reason);
};

/// Bounds of one journal. Beyond them the saga parks as journal_full; at half there is a warning.
inline constexpr std::size_t journal_entries_max = 10'000;
inline constexpr std::size_t journal_bytes_max = std::size_t{4} << 20;
/// Of one entry: the bound of a reply.
inline constexpr std::size_t entry_bytes_max = std::size_t{64} << 10;

enum class JournalRoom : std::uint8_t { enough, half_full, full };
JournalRoom journal_room(std::size_t entries, std::size_t bytes);

/// The bytes an entry takes, at most 32 too many.
std::size_t size_of(const JournalEntry& entry);

/// The first entry; `state` is encoded. Errors: malformed, a state over the bound of an entry.
Result<JournalEntry> input_entry(std::string state, std::string by, std::int64_t now_ms);
/// An entry that parks; `note.cause` is filled in. Also for what the runtime knows: crash_loop.
JournalEntry park_entry(ParkCause cause, std::string step, ParkNote note, std::int64_t now_ms);

std::string encode_entry(const JournalEntry& entry);
/// Errors: malformed, in words; also for an entry over the bound.
Result<JournalEntry> decode_entry(std::string_view bytes);
/// A whole journal, oldest first. Errors: malformed, with the number of the entry.
Result<std::vector<JournalEntry>> decode_journal(std::span<const std::string> entries);

}  // namespace catga
