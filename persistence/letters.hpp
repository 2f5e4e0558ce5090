// Dead letters: events that a subscription could not handle, kept in order per source entity under the tag of the shard
// that the subscription's part lives on; and tells that could not be delivered and timers whose handler fails, under that
// of their source's shard.
// Bytes in, bytes out, as in stores.hpp, whose rules for answers hold here too.
#pragma once
#include "catga/persistence/stores.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace catga {

/// One sequence. `name` is `<subscription>:<kind>/<key>`.
struct LetterBox {
  ShardId shard;
  OwnerToken token;
  std::string name;
  bool of_tells = false;  ///< the bytes of its letters are counted against the bound of the shard
};

/// A tell that leaves the outbox for a sequence of letters.
struct TellLetter {
  LetterBox box;
  std::string stream_id;        ///< of the entry in the outbox
  std::int64_t now_ms = 0;      ///< cluster time
  std::uint64_t cap = 0;        ///< letters of the sequence
  std::uint64_t cap_bytes = 0;  ///< of all letters of tells in the shard
  std::string letter;
};

/// A timer that leaves the table of timers for a sequence of letters.
struct TimerLetter {
  LetterBox box;
  std::string member;       ///< in the table
  std::int64_t due_ms = 0;  ///< set to another time, it is another timer
  std::int64_t now_ms = 0;  ///< the rest as in TellLetter
  std::uint64_t cap = 0;
  std::uint64_t cap_bytes = 0;
  std::string letter;
};

struct LetterAnswer {
  enum class Outcome {
    ok,
    conflict,  ///< the sequence is not as long as expected: `length` is what it is
    full,      ///< nothing written
    already,  ///< park_tell: the entry is not in the outbox, an earlier copy of the call took it out.
              ///< park_timer: it is not in the table, or set anew
    fenced,
  } outcome = Outcome::ok;
  std::uint64_t length = 0;  ///< now
};

struct LetterBoxes {
  struct Box {
    std::string name;
    std::int64_t since_ms = 0;
    std::uint64_t length = 0;
  };
  bool fenced = false;
  std::vector<Box> boxes;  ///< oldest first
};

struct Letters {
  bool fenced = false;
  std::vector<std::string> letters;
};

class LetterStore {
 public:
  virtual ~LetterStore() = default;
  /// Appends `letters`, if there are `expected` so far, and at most `cap` then.
  virtual void park(const LetterBox& box, std::uint64_t expected, std::uint64_t cap,
                    std::int64_t now_ms, std::vector<std::string> letters,
                    Then<LetterAnswer> then) = 0;
  /// Moves an entry of the outbox to the end of a sequence, at once or not at all: so it is parked once, however
  /// often this is asked, and whatever became of the letter meanwhile.
  virtual void park_tell(TellLetter tell, Then<LetterAnswer> then) = 0;
  /// The same for a timer.
  virtual void park_timer(TimerLetter timer, Then<LetterAnswer> then) = 0;
  /// All sequences of the shard.
  virtual void boxes(ShardId shard, const OwnerToken& token, Then<LetterBoxes> then) = 0;
  /// Of one sequence, from its head.
  virtual void read(const LetterBox& box, std::uint64_t limit, Then<Letters> then) = 0;
  /// The last one alone; none if there is no such sequence.
  virtual void read_last(const LetterBox& box, Then<Letters> then) = 0;
  /// Removes the head if it is `letter`; if it is not, it was removed before. An empty sequence is gone.
  virtual void take(const LetterBox& box, const std::string& letter, Then<LetterAnswer> then) = 0;
};

}  // namespace catga
