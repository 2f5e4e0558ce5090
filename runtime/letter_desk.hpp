// What operators ask about dead letters, and the answers, as JSON over NATS.
//
//   catga.<cluster>.dl.<subscription>.<part>   of an ordered subscription: heard by the node that reads this part, and by
//                                              nobody else. The part is that of the source's shard
//   catga.<cluster>.dl.<reader>.<part>         of a group (its name) or a broadcast (`<name>-<node>`): heard by the programs
//                                              that read it, one of them answers. All is listed with part 0
//   catga.<cluster>.dl-node.<node id>          that node: tells of the entities on its shards, and what else is parked there
//
//   {"verb":"list"}                                   {"parked":[{"subscription":"mailer","source":"account/alice",
//                                                     "length":3,"since":...}]}; of tells the subscription is "$tells"
//   {"verb":"show","source":"account/alice"}          {"letters":[{"event":...,"number":...,"why":..., ...}, ...]}, the head
//                                                     first; of a tell with "target", and its message as "event"
//   {"verb":"retry","source":"account/alice"}         {"done":3}: the letters in order, until one fails. "renew":true: see
//                                                     LetterOrder
//   {"verb":"discard","source":"account/alice"}       {"left":2}: the head is thrown away
//
// or {"error":{"code":...,"text":...}}. Sources have their keys percent-encoded, as in subjects. All verbs are safe to repeat.
#pragma once
#include "catga/entities/event.hpp"
#include "catga/runtime/letter_keeper.hpp"
#include "catga/runtime/messaging/letter_stream.hpp"
#include "catga/runtime/messaging/nats.hpp"
#include "catga/sharding/result.hpp"

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace catga {

std::string letter_subject(const std::string& prefix, const std::string& subscription,
                           std::uint32_t part);
std::string node_letter_subject(const std::string& prefix, const std::string& node);

/// Carries out one request, where the keeper's methods may be called. `answer` gets JSON, on any thread. `lists` false: a
/// list is empty.
void serve_letters(LetterKeeper& keeper, std::string_view request,
                   std::function<void(std::string)> answer, bool lists = true);

/// Where letters are asked for.
struct LetterAddress {
  std::string subscription;  ///< of a broadcast `<name>-<node>`; of tells tells_box
  EntityId source;
  std::string node{};  ///< of tells: the node that owns the source's shard
};

/// The same from the other side; block for `patience` at most. Errors: unavailable (nobody reads the part now).
class LetterDesk final {
 public:
  /// `stream`: dead letters of groups and broadcasts, which anybody may look at.
  LetterDesk(NatsConnection& nats, std::string prefix, std::uint32_t shards, LetterStream stream)
      : nats_(nats), prefix_(std::move(prefix)), shards_(shards), stream_(std::move(stream)) {}
  Result<std::vector<ParkedEvents>> list(const std::string& subscription);
  Result<std::vector<DeadEvent>> show(const std::string& subscription, const EntityId& source);
  Result<std::uint64_t> retry(const std::string& subscription, const EntityId& source);
  Result<std::uint64_t> discard(const std::string& subscription, const EntityId& source);

  struct All {
    std::vector<LetterLine> lines;
    std::vector<std::string> missing;  ///< nodes that did not answer
  };
  /// Of tells and of all subscriptions, as these nodes and JetStream know them.
  All everything(const std::vector<std::string>& nodes);
  /// The answer to show, retry or discard as JSON. What a reader left that is gone for ever, say a broadcast's on a node that
  /// does not come back, can be shown and discarded still.
  Result<std::string> ask(const LetterAddress& of, const std::string& verb, bool renew = false);

 private:
  std::uint32_t part_of_source(const EntityId& source) const;

  NatsConnection& nats_;
  std::string prefix_;
  std::uint32_t shards_;
  LetterStream stream_;
};

}  // namespace catga
