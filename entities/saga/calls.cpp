#include "catga/entities/saga/calls.hpp"

#include "catga/entities/codec.hpp"
#include "catga/entities/saga/journal.hpp"
#include "catga/sharding/hash.hpp"

#include <utility>

namespace catga {

namespace {
constexpr std::uint64_t saga_domain = 49;
}

Status check_saga_id(std::string_view id) {
  if (!id.empty() && id.size() <= 512 && id.find('|') == id.npos) return Done{};
  return Error{Code::malformed, "the id of a saga has 1 to 512 bytes and no '|': '" +
                                    std::string(id.substr(0, 100)) + "'"};
}

Result<std::string> start_bytes(const SagaDefinition& definition, std::string input,
                                std::string by) {
  if (Result<JournalEntry> fits = input_entry(input, by, 0); !fits) return fits.error();
  StartSaga start;
  start.version = definition.version;
  start.fingerprint = fingerprint(definition);
  start.deadline_ms = definition.deadline ? definition.deadline->count() : -1;
  start.input = std::move(input);
  start.by = std::move(by);
  return encode(start);
}

std::string input_hash(std::string_view input) {
  return std::to_string(hash64(saga_domain, input));
}

}  // namespace catga
