#include "catga/runtime/bookkeeping.hpp"

#include "catga/sharding/bytes.hpp"

namespace catga {

namespace {

constexpr std::uint8_t format = 1;

bool sane(std::int64_t time_ms) { return time_ms >= 0 && time_ms < time_end_ms; }

}  // namespace

std::string bytes_of(const Generations& generations) {
  std::string out;
  ByteWriter write(out);
  write.u8(format);
  write.i64(generations.floor);
  write.i64(generations.newer_created);
  write.i64(generations.newer_newest);
  write.i64(generations.older_newest);
  write.u64(generations.newer_count);
  write.u64(generations.newer_bytes);
  write.u8(generations.erased ? 1 : 0);
  const bool sagas = generations.saga_count != 0 || generations.saga_bytes != 0;
  if (sagas || generations.events != 0) {
    write.u64(generations.saga_count);
    write.u64(generations.saga_bytes);
  }
  if (generations.events != 0) write.u64(generations.events);
  return out;
}

Result<Generations> parse_generations(std::string_view bytes) {
  Generations found;
  if (bytes.empty()) return found;
  ByteReader read(bytes);
  if (const std::uint8_t other = read.u8(); other != format) {
    return Error{Code::malformed, "the memory of operation ids is of format " +
                                      std::to_string(other) + ", this version reads 1"};
  }
  found.floor = read.i64();
  found.newer_created = read.i64();
  found.newer_newest = read.i64();
  found.older_newest = read.i64();
  found.newer_count = read.u64();
  found.newer_bytes = read.u64();
  found.erased = read.u8() != 0;
  if (read.ok() && !read.at_end()) {
    found.saga_count = read.u64();
    found.saga_bytes = read.u64();
  }
  if (read.ok() && !read.at_end()) found.events = read.u64();
  if (!read.ok()) return Error{Code::malformed, "the memory of operation ids is cut short"};
  for (const std::int64_t time_ms :
       {found.floor, found.newer_created, found.newer_newest, found.older_newest}) {
    if (!sane(time_ms)) {
      return Error{Code::malformed, "the memory of operation ids names a time that cannot be: " +
                                        std::to_string(time_ms)};
    }
  }
  return found;
}

}  // namespace catga
