// What is in memory of one shard, by name, found with few visits to cold memory.
//
// With many entities each step of a look-up is a miss in the processor's caches. A standard hash map takes four: its
// bucket, the node before the one in question, the node, and those of neighbours in the bucket. Beside such a map stands
// an index whose lines are cache lines: four hashes with their nodes each. Most look-ups are one line and one node.
//
// A node whose line is full stands in the map only; as long as there is one, the map has the last word.
#pragma once
#include "catga/sharding/ids.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <unordered_map>
#include <utility>
#include <vector>

namespace catga::actors {

/// Values do not move. Not thread-safe; what is const may run side by side.
template <class Value>
class EntityTable {
  using Map = std::unordered_map<EntityId, Value>;

 public:
  Value* find(const EntityId& entity) {
    return const_cast<Value*>(std::as_const(*this).find(entity));  // NOLINT: of this table
  }
  const Value* find(const EntityId& entity) const {
    if (lines_.empty()) return nullptr;
    const std::size_t hash = std::hash<EntityId>{}(entity);
    const Line& line = lines_[hash & (lines_.size() - 1)];
    for (std::size_t i = 0; i < places; ++i) {
      const Entry* const entry = line.entries[i];
      if (line.hashes[i] == hash && entry != nullptr && entry->first == entity)
        return &entry->second;
    }
    if (left_out_ == 0) return nullptr;
    const auto at = map_.find(entity);
    return at != map_.end() ? &at->second : nullptr;
  }
  bool contains(const EntityId& entity) const { return find(entity) != nullptr; }
  /// A new value if there is none.
  Value& operator[](const EntityId& entity) {
    if (Value* const there = find(entity)) return *there;
    Entry& entry = *map_.try_emplace(entity).first;
    if (map_.size() > lines_.size() * filled)
      spread(lines_.empty() ? 1 : lines_.size() * 2);
    else
      place(entry);
    return entry.second;
  }
  void erase(const EntityId& entity) {
    const auto at = map_.find(entity);
    if (at == map_.end()) return;
    if (!take_out(*at)) left_out_ -= 1;
    map_.erase(at);
  }
  void clear() {
    lines_.clear();
    left_out_ = 0;
    map_.clear();
  }
  std::size_t size() const { return map_.size(); }
  bool empty() const { return map_.empty(); }
  auto begin() { return map_.begin(); }
  auto end() { return map_.end(); }
  auto begin() const { return map_.begin(); }
  auto end() const { return map_.end(); }

 private:
  using Entry = typename Map::value_type;
  static constexpr std::size_t places = 4;  // of a line
  static constexpr std::size_t filled = 2;  // on average, at most
  struct alignas(64) Line {
    std::array<std::size_t, places> hashes{};
    std::array<Entry*, places> entries{};  ///< null: free
  };

  Line& line_of(std::size_t hash) { return lines_[hash & (lines_.size() - 1)]; }
  void place(Entry& entry) {
    const std::size_t hash = std::hash<EntityId>{}(entry.first);
    Line& line = line_of(hash);
    for (std::size_t i = 0; i < places; ++i) {
      if (line.entries[i] != nullptr) continue;
      line.hashes[i] = hash;
      line.entries[i] = &entry;
      return;
    }
    left_out_ += 1;
  }
  bool take_out(const Entry& entry) {
    Line& line = line_of(std::hash<EntityId>{}(entry.first));
    for (Entry*& there : line.entries) {
      if (there != &entry) continue;
      there = nullptr;
      return true;
    }
    return false;
  }
  void spread(std::size_t lines) {
    lines_.assign(lines, Line{});
    left_out_ = 0;
    for (Entry& entry : map_) place(entry);
  }

  Map map_;
  std::vector<Line> lines_;   ///< a power of two of them, or none
  std::size_t left_out_ = 0;  ///< in the map only
};

}  // namespace catga::actors
