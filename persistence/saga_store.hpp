// What Catga asks of a store for sagas: a header and a journal each, and the lists of those that are active, parked or
// ended in a shard. Bytes in, bytes out; asynchronous as everything in stores.hpp, with the same errors.
//
// A saga is named like an entity: `kind` is its type. All writes are fenced by the token of the saga's shard, and each
// may be sent again as it is. Times are cluster time in ms and come from the caller: no script here reads a clock.
//
// Timers of sagas are members `s|<type>/<id>|<name>` of the shard's timers, without a message: what they mean stands in
// the journal. StateStore::read_timers gives them with an empty message, beside those of entities. Whoever commits a
// saga tells its shard what was set and cancelled, as after a commit of an entity.
#pragma once
#include "catga/persistence/stores.hpp"

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace catga {

/// Name and value. Of a header; order does not matter.
using SagaFields = std::vector<std::pair<std::string, std::string>>;

/// Fields of a header that the store itself reads or writes.
namespace saga_field {
constexpr std::string_view status =
    "st";  ///< ended, for the store: completed, compensated, aborted
constexpr std::string_view input_hash = "ih";  ///< tells a repeated start from another one
constexpr std::string_view updated = "u";      ///< time of the last commit
constexpr std::string_view recoveries =
    "ra";  ///< loads after a crash since the last commit that reset it
}  // namespace saga_field

/// The value of a field, "" if it is not there.
std::string_view find_field(const SagaFields& fields, std::string_view name);

/// `s|<type>/<id>|<name>`; a name has no '|'.
std::string saga_timer_member(const EntityId& saga, std::string_view name);
struct SagaTimer {
  EntityId saga;
  std::string name;
  friend bool operator==(const SagaTimer&, const SagaTimer&) = default;
};
/// None: not a timer of a saga.
std::optional<SagaTimer> parse_saga_timer(std::string_view member);
constexpr std::string_view saga_deadline_timer = "deadline";  ///< set by create, removed at the end

/// saga_create: header, journal with one entry, active.
struct SagaCreate {
  ShardId shard;
  OwnerToken token;
  EntityId saga;
  std::int64_t now_ms = 0;
  std::string input_hash;
  std::optional<std::int64_t> deadline_ms;
  std::string input;  ///< entry 0 of the journal
  SagaFields fields;  ///< further ones; status becomes "running"
};
struct SagaCreated {
  enum class Outcome {
    ok,
    exists,  ///< the same input: `status` is how far it is. A repeat of the create that made it, too
    conflict,  ///< it exists with another input
    fenced,
  } outcome = Outcome::ok;
  std::string status;               ///< with exists and conflict
  std::optional<OwnerToken> token;  ///< with fenced: what stands there
};

/// saga_load: header and journal.
struct SagaLoad {
  ShardId shard;
  OwnerToken token;
  EntityId saga;
  bool after_crash = false;  ///< counts it in the field `ra`; a repeat counts again
  bool journal = true;       ///< false: the header alone, for lists and operators
};
struct SagaLoaded {
  enum class Outcome { ok, none, fenced } outcome = Outcome::ok;
  SagaFields fields;                 ///< `ra` with this load counted
  std::vector<std::string> journal;  ///< empty: not asked for, or gone some time after the end
  std::size_t length = 0;            ///< of the journal, also when it was not asked for
  std::optional<OwnerToken> token;   ///< with fenced
};

enum class SagaPlace : std::uint8_t { active, parked, ended };  ///< parked sagas are active too

struct SagaTimerWrite {
  std::string member;                  ///< saga_timer_member()
  std::optional<std::int64_t> due_ms;  ///< none: cancel
};

/// saga_commit: entries to the end of the journal, all or nothing. Every commit has an entry: it is how a repeat is known.
struct SagaCommit {
  ShardId shard;
  OwnerToken token;
  EntityId saga;
  std::optional<std::size_t> expected;  ///< length of the journal; none: any, for operators only
  std::vector<std::string> entries;     ///< at least one
  SagaFields fields;                    ///< to set; `u` is set by itself
  std::vector<SagaTimerWrite> timers;
  std::vector<std::string> outbox;  ///< opaque entries, in order
  SagaPlace place = SagaPlace::active;
  std::int64_t now_ms = 0;
  std::chrono::milliseconds journal_ttl{0};  ///< with place ended: saga.keep_finished
  std::chrono::milliseconds header_ttl{0};   ///< with place ended: the retention
};
struct SagaCommitted {
  enum class Outcome {
    ok,
    already,  ///< by an earlier copy. Whether `outbox` is in the stream only reading it tells the ids
    conflict,  ///< the journal has another length: load it again
    ended,     ///< nothing written, the saga is over: `status`
    none,      ///< no such saga
    fenced,
  } outcome = Outcome::ok;
  std::size_t length = 0;           ///< of the journal: with ok, already, conflict
  std::string status;               ///< with ended
  std::vector<std::string> outbox;  ///< with ok: the stream ids of the entries
  std::optional<OwnerToken> token;  ///< with fenced
};

/// A page of one of a shard's lists, oldest first: by last change (active), since when parked, when ended.
struct SagaQuery {
  ShardId shard;
  OwnerToken token;
  SagaPlace place = SagaPlace::active;
  std::string type;                 ///< only sagas of this type; "": all
  std::string after;                ///< SagaPage::next of the page before; "": from the start
  std::size_t limit = 500;          ///< looked at, at most 500; those of one millisecond come whole
  std::vector<std::string> fields;  ///< of the headers; none: the lists alone
};
struct SagaRow {
  EntityId saga;
  std::int64_t at_ms = 0;  ///< its place in the list
  SagaFields
      fields;  ///< those asked for that are there; none of an ended saga whose header is gone
  friend bool operator==(const SagaRow&, const SagaRow&) = default;
};
struct SagaPage {
  bool fenced = false;
  std::vector<SagaRow> rows;  ///< may be empty although there are more
  std::string
      next;  ///< "": the end. A saga that changes meanwhile moves to the end and may come twice
};

/// What a new owner must know of a shard before it serves it.
struct SagaOverview {
  bool fenced = false;
  std::size_t active = 0, parked = 0, ended = 0;
  /// Of saga shards, the epochs below which their steps are refused here (`src`).
  std::vector<std::pair<ShardId, Epoch>> sources;
};

/// The script `fenced`: one write command behind the token, for what tidies up. Each is safe to repeat.
struct SagaTidy {
  enum class What {
    timer,  ///< remove `member` from the timers: its saga is gone, or does not wait for it any more
    active,  ///< remove `member`, "<type>/<id>", from the active ones: it has no header
    parked,  ///< the same of the parked ones
    ended,   ///< take those that ended up to `member`, a time in ms, off the list
  } what = What::timer;
  ShardId shard;
  OwnerToken token;
  std::string member;
};

class SagaStore {
 public:
  virtual ~SagaStore() = default;
  virtual void create(SagaCreate create, Then<SagaCreated> then) = 0;
  virtual void load(const SagaLoad& load, Then<SagaLoaded> then) = 0;
  /// At most one commit per saga is under way at a time. Thread-safe, as all here.
  virtual void commit(SagaCommit commit, Then<SagaCommitted> then) = 0;
  virtual void list(const SagaQuery& query, Then<SagaPage> then) = 0;
  virtual void overview(ShardId shard, const OwnerToken& token, Then<SagaOverview> then) = 0;
  /// false: fenced, nothing written.
  virtual void tidy(const SagaTidy& tidy, Then<bool> then) = 0;
};

}  // namespace catga
