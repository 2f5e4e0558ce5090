#include "catga/runtime/saga_memory.hpp"

#include <algorithm>

namespace catga {

void write_steps(const SagaWrites& writes, std::chrono::milliseconds ttl, Generations& counted,
                 Commit& commit) {
  if (writes.empty()) return;
  for (const auto& [id, record] : writes.operations) {
    counted.saga_count += 1;
    counted.saga_bytes += 100 + record.reply.size();
  }
  if (!writes.forgotten.empty()) {
    const std::uint64_t gone = std::min<std::uint64_t>(counted.saga_count, writes.forgotten.size());
    correct_steps(counted, static_cast<std::size_t>(counted.saga_count - gone));
  }
  commit.saga_operations = writes.operations;
  commit.forgotten = writes.forgotten;
  commit.sources = writes.sources;
  commit.saga_ttl = ttl;
}

void correct_steps(Generations& counted, std::size_t stored) {
  if (counted.saga_count == stored) return;
  const std::uint64_t each =
      counted.saga_count == 0 ? 100 : counted.saga_bytes / counted.saga_count;
  counted.saga_count = stored;
  counted.saga_bytes = each * stored;
}

}  // namespace catga
