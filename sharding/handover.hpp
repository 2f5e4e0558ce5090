// The queue of a shard on its way from the old owner to the new one: cut into chunks, acknowledged, repeated, put together.
//
// Giving: chunks are sent at once and each is repeated until acknowledged, a few times. What is not acknowledged then is
// answered `unknown`, never routed a second time: the other side may have run it.
// Taking: chunks may come twice or out of order; the queue is complete when all up to the last are there. Pure.
#pragma once
#include "catga/sharding/ids.hpp"

#include <cstdint>
#include <map>
#include <optional>
#include <utility>
#include <vector>

namespace catga {

struct HandoverTimes {
  std::int64_t repeat = 200;
  unsigned attempts = 5;
};

/// The giving side. `Chunk` is whatever is sent; it is kept until acknowledged.
template <class Chunk>
class HandoverOut {
 public:
  HandoverOut(Incarnation to, Epoch epoch, std::vector<Chunk> chunks, std::int64_t now,
              HandoverTimes times)
      : to_(to), epoch_(epoch), times_(times), next_at_(now + times.repeat) {
    for (std::uint32_t i = 0; i < chunks.size(); ++i) open_.emplace(i, std::move(chunks[i]));
    count_ = static_cast<std::uint32_t>(open_.size());
  }
  Incarnation to() const { return to_; }
  Epoch epoch() const { return epoch_; }
  bool is_last(std::uint32_t chunk) const { return chunk + 1 == count_; }
  const std::map<std::uint32_t, Chunk>& open() const { return open_; }
  void acknowledged(Epoch epoch, std::uint32_t chunk) {
    if (epoch == epoch_) open_.erase(chunk);
  }
  bool done() const { return open_.empty(); }
  std::int64_t next_at() const { return next_at_; }
  /// Called at next_at(): true: send all of open() again; false: given up.
  bool again(std::int64_t now) {
    next_at_ = now + times_.repeat;
    return ++attempts_ < times_.attempts;
  }

 private:
  Incarnation to_;
  Epoch epoch_;
  HandoverTimes times_;
  std::int64_t next_at_;
  unsigned attempts_ = 0;
  std::uint32_t count_ = 0;
  std::map<std::uint32_t, Chunk> open_;
};

/// The taking side of one transfer.
template <class Chunk>
class HandoverIn {
 public:
  /// The chunks in order, once, when the last missing one has come; nothing otherwise.
  std::optional<std::vector<Chunk>> arrived(Incarnation from, Epoch epoch, std::uint32_t number,
                                            bool last, Chunk chunk) {
    if (from != from_ || epoch != epoch_) {
      if (epoch < epoch_) return std::nullopt;  // of an older transfer: its sender answers for it
      *this = HandoverIn{};
      from_ = from;
      epoch_ = epoch;
    }
    if (complete_) return std::nullopt;
    chunks_.try_emplace(number, std::move(chunk));
    if (last) count_ = number + 1;
    if (!count_ || chunks_.size() < *count_) return std::nullopt;
    complete_ = true;
    std::vector<Chunk> all;
    for (auto& [at, part] : chunks_) all.push_back(std::move(part));
    chunks_.clear();
    return all;
  }

 private:
  Incarnation from_;
  Epoch epoch_;
  std::map<std::uint32_t, Chunk> chunks_;
  std::optional<std::uint32_t> count_;
  bool complete_ = false;
};

}  // namespace catga
