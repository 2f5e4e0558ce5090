// Sagas: what operators ask of all sagas of a cluster: lists, counts, one in detail, and the verbs.
//
//   catga::Sagas sagas = node.sagas();
//   for (const auto& saga : sagas.list({.status = catga::SagaStatus::parked})->sagas) std::cout << saga.id << '\n';
//   sagas.operate("order", "17", {.verb = catga::OperatorVerb::retry, .reason = "stock is back", .by = "ann"});
#pragma once
#include "catga/entities/saga/handle.hpp"
#include "catga/entities/saga/journal.hpp"
#include "catga/entities/saga/requests.hpp"
#include "catga/sharding/result.hpp"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace catga {

/// Which sagas. Ended ones are listed for saga.keep_finished after their end.
struct SagaFilter {
  std::string type{};                       ///< empty: all
  std::optional<SagaStatus> status{};       ///< none: all that have not ended
  std::chrono::milliseconds older_than{0};  ///< started so long ago at least
  std::size_t limit = 1000;
};

/// One line of a list.
struct SagaLine {
  std::string type, id;
  SagaStatus status = SagaStatus::running;
  std::string cause;  ///< of a parked one
  std::uint32_t version = 0;
  std::chrono::system_clock::time_point created;
};
struct SagaLines {
  std::vector<SagaLine> sagas;  ///< oldest first
  bool more = false;            ///< the limit cut it
};

/// How many there are of one version.
struct SagaCounts {
  std::map<std::pair<std::string, std::uint32_t>, std::map<SagaStatus, std::size_t>>
      by_version;  ///< type and version
};

/// One saga in detail.
struct SagaStory {
  SagaReport report;
  std::vector<JournalEntry> journal;  ///< oldest first; empty if it is gone or cannot be read
};

/// Get it from a node or a client, which must outlive it. Every call blocks; none may be made in a handler. Lists ask
/// the owner of every shard, so they are for people, not for loops.
class Sagas {
 public:
  /// For Node and Client.
  Sagas(Messenger* messenger, std::uint32_t shards) : messenger_(messenger), shards_(shards) {}

  /// A saga that changes meanwhile may be missing from a list by status. Errors: those of an ask.
  Result<SagaLines> list(const SagaFilter& filter) const;
  /// All that have not ended, by version: when none of an old one is left, its definition may go. Errors: those of an
  /// ask.
  Result<SagaCounts> count(const std::string& type = {}) const;
  /// Errors: not_found, and those of an ask.
  Result<SagaStory> show(const std::string& type, const std::string& id) const;
  /// retry, replace, skip, force-complete, cancel, abort: journaled with reason and user, safe to repeat. `payload` of
  /// a replace is the encoded message, of a force-complete the encoded reply (catga::encode). Errors: malformed (no
  /// reason or user), rejected (of no use here, with what would be), not_found.
  Status operate(const std::string& type, const std::string& id,
                 const OperatorRequest& request) const;

 private:
  Messenger* messenger_;
  std::uint32_t shards_;
};

}  // namespace catga
