// What operators ask about dead letters, and the answers, as JSON over NATS: `catga.<cluster>.dl.<subscription>.<part>`
// is heard by the node that reads this part, and by nobody else. The part is that of the source's shard.
//
//   {"verb":"list"}                                   {"parked":[{"source":"account/alice","length":3,"since":…}]}
//   {"verb":"show","source":"account/alice"}          {"letters":[{"event":…,"number":…,"why":…}, …]}, the head first
//   {"verb":"retry","source":"account/alice"}         {"done":3}: the letters in order, until one fails
//   {"verb":"discard","source":"account/alice"}       {"left":2}: the head is thrown away
//
// or {"error":{"code":…,"text":…}}. Sources have their keys percent-encoded, as in subjects. All verbs are safe to repeat.
#pragma once
#include "catga/entities/event.hpp"
#include "catga/runtime/messaging/nats.hpp"
#include "catga/runtime/ordered_part.hpp"
#include "catga/sharding/result.hpp"

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace catga {

std::string letter_subject(const std::string& prefix, const std::string& subscription,
                           std::uint32_t part);

/// Carries out one request, on the loop of the part. `answer` gets JSON, on any thread.
void serve_letters(OrderedPart& part, std::string_view request,
                   std::function<void(std::string)> answer);

/// The same from the other side; block for `patience` at most. Errors: unavailable (nobody reads the part now).
class LetterDesk final {
 public:
  LetterDesk(NatsConnection& nats, std::string prefix, std::uint32_t shards)
      : nats_(nats), prefix_(std::move(prefix)), shards_(shards) {}
  Result<std::vector<ParkedEvents>> list(const std::string& subscription);
  Result<std::vector<DeadEvent>> show(const std::string& subscription, const EntityId& source);
  Result<std::uint64_t> retry(const std::string& subscription, const EntityId& source);
  Result<std::uint64_t> discard(const std::string& subscription, const EntityId& source);

 private:
  std::uint32_t part_of_source(const EntityId& source) const;

  NatsConnection& nats_;
  std::string prefix_;
  std::uint32_t shards_;
};

}  // namespace catga
