// Fuzz target: what the store keeps beside the state. Outbox entries, timers, operation records, the
// bookkeeping of operation ids, owner tokens and member rows. The input is tried as each of them.
#include <catga/persistence/stores.hpp>
#include <catga/runtime/bookkeeping.hpp>
#include <catga/runtime/dead_letter.hpp>
#include <catga/runtime/event_place.hpp>
#include <catga/runtime/outbox_entry.hpp>
#include <catga/sharding/token.hpp>
#include <catga/sharding/view.hpp>

#include "target.hpp"

using namespace catga;

namespace {

/// Whether `read` is good. If not, it must say why.
template <class Value>
bool good(const Result<Value>& read) {
  if (read.ok()) return true;
  fuzz::require(read.error().code == Code::malformed, "bad bytes are malformed");
  fuzz::require(!read.error().text.empty(), "an error has words");
  return false;
}

void try_timer_member(std::string_view member) {
  const Result<EntityId> entity = entity_of_timer(member);
  if (!good(entity)) return;
  const std::string_view name = member.substr(member.rfind('|') + 1);
  fuzz::require(timer_member(*entity, name) == member, "a timer's member names its entity");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes = fuzz::text(data, size);
  if (const auto tell = parse_tell(bytes); good(tell))
    fuzz::require(bytes_of(*tell) == bytes, "a tell is written as it was read");
  if (const auto event = parse_event(bytes); good(event))
    fuzz::require(bytes_of(*event) == bytes, "an event is written as it was read");
  if (const auto place = parse_event_place(bytes); good(place))
    fuzz::require(bytes_of(*place) == bytes,
                  "the place of a subscription is written as it was read");
  if (const auto letter = parse_dead_letter(bytes); good(letter))
    fuzz::require(bytes_of(*letter) == bytes, "a dead letter is written as it was read");
  if (const auto timer = parse_timer_message(bytes); good(timer))
    fuzz::require(bytes_of(*timer) == bytes, "a timer's message is written as it was read");
  if (const auto record = parse_record(bytes); good(record))
    fuzz::require(bytes_of(*record) == bytes, "an operation record is written as it was read");
  if (const auto generations = parse_generations(bytes); good(generations))
    fuzz::require(*parse_generations(bytes_of(*generations)) == *generations,
                  "the memory of operation ids is read as it was written");
  if (const auto token = parse_token(bytes); good(token))
    fuzz::require(*parse_token(text_of(*token)) == *token, "a token is read as it was written");
  if (const auto member = parse_row({1, 2}, bytes); good(member))
    fuzz::require(*parse_row({1, 2}, row_of(*member)) == *member,
                  "a row is read as it was written");
  try_timer_member(bytes);
  return 0;
}
