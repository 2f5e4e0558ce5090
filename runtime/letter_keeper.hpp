// Who keeps dead letters, as operators see it: a part of an ordered subscription, a reader of a group or a broadcast, a node
// with its shards' tells. What they ask comes as JSON (letter_desk.hpp).
#pragma once
#include "catga/entities/event.hpp"
#include "catga/persistence/letters.hpp"
#include "catga/runtime/dead_letter.hpp"
#include "catga/sharding/result.hpp"

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace catga {

/// One sequence of letters.
struct LetterLine {
  std::string subscription;  ///< or tells_box; of a broadcast `<name>-<node>`
  ParkedEvents parked;
};

/// What an operator wants of one sequence.
struct LetterOrder {
  EntityId source;
  /// retry: with the time of now. Its operation ids stay, so that a target that remembers one answers from its record; one
  /// that has forgotten it runs it, where it would say `expired` otherwise.
  bool renew = false;
};

class LetterKeeper {
 public:
  virtual ~LetterKeeper() = default;
  template <class Value>
  using Answer = std::function<void(Result<Value>)>;  ///< called once, on any thread

  virtual void list_letters(Answer<std::vector<LetterLine>> then) = 0;
  /// From the head, at most `limit`.
  virtual void show_letters(const EntityId& source, std::uint64_t limit,
                            Answer<std::vector<DeadLetter>> then) = 0;
  /// Handles, or sends, them from the head, until one fails or none is left. Gives how many, or the first failure.
  virtual void retry_letters(const LetterOrder& order, Answer<std::uint64_t> then) = 0;
  /// Throws the head away. Gives how many are left. Errors: not_found.
  virtual void discard_letter(const EntityId& source, Answer<std::uint64_t> then) = 0;
};

/// What keepers whose letters are in Redis make of an answer. Errors: unavailable (the shard has another owner).
Result<std::vector<DeadLetter>> letters_in(const Result<Letters>& answer);
/// not_found.
Error nothing_parked(const EntityId& source);

}  // namespace catga
