// Fuzz target: batches in node inboxes and the envelopes in them. The input is one batch; it is also
// tried as an envelope by itself.
#include <catga/runtime/messaging/wire.hpp>

#include "target.hpp"

using namespace catga;

namespace {

std::string written(const wire::Batch& batch) {
  std::string out = wire::header(batch.sender, batch.version);
  for (const wire::Record& record : batch.records) wire::append(out, record);
  return out;
}

void try_envelope(std::string_view body) {
  constexpr std::int64_t now_ms = 1000;
  const Result<Envelope> envelope = wire::decode(body, now_ms);
  if (!envelope.ok()) {
    fuzz::require(envelope.error().code == Code::malformed, "bad bytes are malformed");
    return;
  }
  fuzz::require(envelope->kind != MessageClass::timer, "no timer comes from the wire");
  fuzz::require(envelope->deadline_ms >= now_ms, "what is left of a deadline is not negative");
  fuzz::require(wire::encode(*envelope, now_ms) == body, "an envelope is written as it was read");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes = fuzz::text(data, size);
  try_envelope(bytes);
  const Result<wire::Batch> batch = wire::read(bytes);
  if (!batch.ok()) {
    fuzz::require(batch.error().code == Code::malformed, "bad bytes are malformed");
    return 0;
  }
  // What the batch says beyond what is known here is dropped, and nothing is made up.
  const std::string known = written(*batch);
  fuzz::require(known.size() <= bytes.size(), "a batch does not grow by being read");
  const Result<wire::Batch> again = wire::read(known);
  fuzz::require(again.ok() && again->records.size() == batch->records.size(),
                "a batch that was read is read again");
  fuzz::require(written(*again) == known, "a batch is written as it was read");
  for (const wire::Record& record : batch->records)
    if (const auto* message = std::get_if<wire::Message>(&record)) try_envelope(message->body);
  return 0;
}
