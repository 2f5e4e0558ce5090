// The relay's memory: which entries of a shard's outbox go out now, and how far the outbox may be
// trimmed.
//
// A tell inside a turn is an entry in the outbox of the turn's commit. After the commit the owner
// of the shard delivers it: as an ask, with the operation id of the entry, repeated until it has an
// answer. So it takes effect once, although it may travel more than once. An event is an entry too:
// it is published to JetStream under its message id until that says that it has it, and JetStream
// keeps the first copy. This class only decides; whoever drives it sends, reads the clock and talks
// to the store.
//
//   waiting --due--> under way --delivered, dead--> done --trimmed--> forgotten
//      ^                 |
//      +----- again -----+     (the pair waits until the given time)
//
// Invariants.
//   Order: of one source to one target at most one entry is under way, and always the oldest that
//   is not done. Pairs do not wait for each other: a target that is gone blocks only what is
//   addressed to it from that source. The stream of events counts as one target.
//
//   Bound: no more than `in_flight` tells and as many events are under way over the whole shard, so
//   that neither waits for the other's network. Pairs take turns in the order of their oldest
//   entries; those that wait for a retry hold no place.
//
//   Trim: trim_through() never passes an entry that is not done, nor one the relay has not heard
//   of. A crash therefore delivers some entries twice (the target's record of the operation answers
//   the second), and loses none.
//
// The last half of the trim rule needs the driver's help. A commit whose answer is late, or never
// comes, may have put entries into the stream before those of commits that are answered already. So
// the driver takes a hold before it sends a commit with outbox entries, and releases it when the
// entries have been added (or are known not to exist). Stream ids only grow: what such a commit
// adds lies above everything known when the hold was taken, and up to there trimming goes on.
// Reading the stream after a take-over takes a hold too, from before the first page until after the
// last.
//
// Not promised: an answer carries no number of its attempt. After clear() the driver must drop the
// answers to what was under way before.
//
// One thread: the shard's actor.
#pragma once
#include "catga/sharding/ids.hpp"
#include "catga/sharding/result.hpp"

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace catga {

/// One committed tell or event that has not been delivered.
struct RelayEntry {
  std::string stream_id;  ///< "<ms>-<seq>", as the store gave it
  EntityId source;
  EntityId target;           ///< of an event: none
  OperationId operation;     ///< the same at every attempt; of an event: its message id
  std::int64_t time_ms = 0;  ///< when the turn made it, Unix time
  std::string message;
  std::string payload;
  unsigned attempts = 0;  ///< how often due() has handed it out, this time included
  /// Nobody can have sent it before: added right after its commit, and handed out for the first
  /// time. False when read back from the stream after a take-over.
  bool first_delivery = false;
  bool event = false;
  std::uint64_t number = 0;  ///< of an event
  Epoch epoch{};             ///< of an event
  std::string trace{};       ///< of its turn, a traceparent; may be empty
};

/// An entry of the outbox as the relay takes it. Errors: malformed.
Result<RelayEntry> relay_entry(std::string stream_id, std::string_view bytes, bool first_delivery);

class Relay final {
 public:
  /// `delivered`: an answer came, reply or rejection. `again`: none, or "not applied". `dead`:
  /// given up.
  enum class Verdict { delivered, again, dead };

  explicit Relay(std::size_t in_flight = 64);
  // Its parts point at each other: it moves, and a copy would point into the original.
  Relay(Relay&&) = default;
  Relay& operator=(Relay&&) = default;
  ~Relay() = default;

  /// Whether the entry was added and is not trimmed yet: read back from the stream, it is not news.
  bool known(const std::string& stream_id) const;
  /// Takes an entry to deliver; a known one is left as it is. Those of one source arrive in stream
  /// order.
  void add(RelayEntry entry);
  /// The entries to send now, oldest first; they are under way until answered. The pointers hold
  /// until the entry is answered `delivered` or `dead`, or clear().
  std::vector<const RelayEntry*> due(std::int64_t now_ms);
  /// What became of an entry. `again` blocks only its pair of source and target, until
  /// `retry_at_ms`; for the other verdicts that time is ignored. Ignored: an unknown entry, one
  /// that is done already, `again` for one that is not under way. A late `delivered` counts
  /// although a retry is waiting.
  void answered(const std::string& stream_id, Verdict verdict, std::int64_t retry_at_ms);

  /// Keeps the trim from passing what a commit, or a reading of the stream, may yet bring: see
  /// above.
  std::uint64_t hold();
  /// Ends a hold. One from before clear() is ignored.
  void release(std::uint64_t hold);

  /// The largest id such that its entry and all before it are done; "" if there is none since the
  /// last trimmed(). Never beyond what was known when the oldest hold was taken.
  std::string trim_through() const;
  /// The store has removed everything up to and including `stream_id`.
  void trimmed(const std::string& stream_id);

  /// The entry, until it is done; null if it is not open.
  const RelayEntry* open(const std::string& stream_id) const;
  /// How often the entry has been handed out; 0 if it is not open.
  unsigned attempts(const std::string& stream_id) const;

  std::size_t pending() const { return open_.size(); }  ///< not done yet
  /// Sent, not answered.
  std::size_t under_way() const { return lanes_[0].under_way + lanes_[1].under_way; }
  /// Time of the oldest entry not done. Looks at all of them: for a gauge, not for every message.
  std::optional<std::int64_t> oldest_ms() const;
  /// When due() may have more because a blocked pair is free again.
  std::optional<std::int64_t> next_retry_ms() const;
  /// Forgets everything, holds included: the shard is not ours any more.
  void clear();

 private:
  /// Stream ids are ordered as two numbers: as text "9-0" would come after "10-0".
  struct StreamId {
    std::uint64_t ms = 0;
    std::uint64_t sequence = 0;
    friend auto operator<=>(const StreamId&, const StreamId&) = default;
  };
  using PairKey = std::pair<EntityId, EntityId>;  // source, target
  /// What waits between one source and one target. Exists while it has entries.
  struct Pair {
    std::set<StreamId> entries;
    std::optional<StreamId> under_way;
    std::optional<std::int64_t> retry_at_ms;
  };
  using Pairs = std::map<PairKey, Pair>;
  /// Tells and events wait for different networks, and have places of their own.
  struct Lane {
    std::size_t under_way = 0;
    std::map<StreamId, Pairs::iterator> ready;  // by its oldest entry
  };
  static bool of_events(const PairKey& key) { return key.second.kind.empty(); }
  Lane& lane_of(const PairKey& key) { return lanes_[of_events(key) ? 1 : 0]; }

  static std::optional<StreamId> parse(const std::string& stream_id);
  static PairKey key_of(const RelayEntry& entry) { return {entry.source, entry.target}; }
  void free_blocked(std::int64_t now_ms);
  void finish(StreamId id);
  void put_in_line(Pairs::iterator pair);
  void take_out_of_line(Pairs::iterator pair);

  std::size_t in_flight_;
  std::map<StreamId, RelayEntry> open_;      // waiting or under way
  std::set<StreamId> done_;                  // delivered or dead, still in the stream
  StreamId trimmed_;                         // the stream holds nothing up to here
  StreamId newest_;                          // the largest id known so far
  std::map<std::uint64_t, StreamId> holds_;  // newest_ when each was taken: the first is the lowest
  std::uint64_t next_hold_ = 1;
  Pairs pairs_;
  // Each pair with entries is in exactly one place: ready in its lane, blocked_ or under way.
  std::array<Lane, 2> lanes_;
  std::set<std::pair<std::int64_t, PairKey>> blocked_;
};

}  // namespace catga
