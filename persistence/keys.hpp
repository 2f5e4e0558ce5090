// Every key and field that Catga keeps in Redis, on one page.
//
// The part in braces is the hash tag: all keys with one tag live in one slot, so that one script
// may use them together and a failover rolls them back together. `{c}` holds the members of cluster
// c, `{c:s}` the owner record of shard s and all state of its entities. Nothing else may write
// under these tags.
//
//   {c}:cfg              hash    id, fp: cluster id, what must be equal on all nodes. Never goes away
//   {c}:v                string  version of the membership view
//   {c}:m                hash    incarnation -> row
//   {c}:s:<inc>          string  session; its value is telemetry. TTL; extended, never re-created
//   {c}:sus:<inc>        hash    votes against a member, 1 s
//   {c}:cond             zset    members condemned now
//   {c}:evq              zset    evictions for silence in the last 10 s
//   {c}:gone             zset    ended incarnations, 10 min
//   {c}:log              list    1024 lines for people
//   {c:s}:o              hash    owner record: tok (absent = free), n, e, rv, pn, nonce, at. Stays
//   {c:s}:e:<kind>/<key> hash    v version, s state, g bookkeeping. TTL once erased
//   {c:s}:d:… and d1:…   hash    operation id (16 bytes) -> record, newer and older generation. TTL
//   {c:s}:k:…            hash    the same for steps of sagas
//   {c:s}:l:…            list    log of an event-sourced entity
//   {c:s}:ob             stream  outbox, field b. Trimmed when delivered
//   {c:s}:tm, tp         zset, hash   timers: member -> due time in ms; member -> message
//   {c:s}:src            hash    saga shard -> epoch: older steps are refused. Stays, one field per shard
//   {c:s}:ik:<day>       hash    operation id of a client's key -> first seen, in ms. TTL of the whole table
//   {c:s}:sg:<type>/<id> hash    header of a saga. TTL after its end
//   {c:s}:sj:<type>/<id> list    its journal, entry 0 is the input. TTL after its end
//   {c:s}:sa, sp, sf     zset    <type>/<id> -> last change (active), since (parked), when (ended)
//   {c:s}:dl             zset    dead letters: <subscription>:<kind>/<key> -> parked since, ms
//   {c:s}:dl:<subscription>:<kind>/<key>  list  the letters of one source entity. Gone with the last
//   {c:s}:dlb            string  bytes of the letters of tells, whose <subscription> is "$tells". Gone with the last
#pragma once
#include "catga/sharding/ids.hpp"

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

namespace catga {

/// Keys of the members of one cluster.
class ClusterKeys {
 public:
  explicit ClusterKeys(std::string_view cluster) : tag_('{' + std::string(cluster) + "}:") {}

  std::string config() const { return tag_ + "cfg"; }
  std::string version() const { return tag_ + "v"; }
  std::string members() const { return tag_ + "m"; }
  std::string session(Incarnation node) const { return tag_ + "s:" + text_of(node); }
  std::string votes(Incarnation target) const { return tag_ + "sus:" + text_of(target); }
  std::string condemned() const { return tag_ + "cond"; }
  std::string evictions() const { return tag_ + "evq"; }
  std::string ended() const { return tag_ + "gone"; }
  std::string log() const { return tag_ + "log"; }

 private:
  std::string tag_;
};

/// Keys of one shard and its entities.
class ShardKeys {
 public:
  ShardKeys(std::string_view cluster, ShardId shard)
      : tag_('{' + std::string(cluster) + ':' + std::to_string(shard.value) + "}:") {}

  std::string owner() const { return tag_ + "o"; }
  std::string state(const EntityId& entity) const { return of("e:", entity); }
  std::string operations(const EntityId& entity) const { return of("d:", entity); }
  std::string older_operations(const EntityId& entity) const { return of("d1:", entity); }
  std::string saga_operations(const EntityId& entity) const { return of("k:", entity); }
  std::string log(const EntityId& entity) const { return of("l:", entity); }
  std::string outbox() const { return tag_ + "ob"; }
  std::string timers() const { return tag_ + "tm"; }
  std::string timer_messages() const { return tag_ + "tp"; }
  std::string client_keys(std::int64_t day) const { return tag_ + "ik:" + std::to_string(day); }
  std::string sources() const { return tag_ + "src"; }
  std::string saga_header(const EntityId& saga) const { return of("sg:", saga); }
  std::string saga_journal(const EntityId& saga) const { return of("sj:", saga); }
  std::string active_sagas() const { return tag_ + "sa"; }
  std::string parked_sagas() const { return tag_ + "sp"; }
  std::string ended_sagas() const { return tag_ + "sf"; }
  std::string letters() const { return tag_ + "dl"; }
  std::string letters(const std::string& box) const { return tag_ + "dl:" + box; }
  std::string letter_bytes() const { return tag_ + "dlb"; }

 private:
  std::string of(std::string_view what, const EntityId& entity) const {
    std::string key;
    key.reserve(tag_.size() + what.size() + entity.kind.size() + 1 + entity.key.size());
    return key.append(tag_).append(what).append(entity.kind).append(1, '/').append(entity.key);
  }
  std::string tag_;
};

/// Fields of an entity's hash and of an outbox entry.
namespace field {
constexpr std::string_view version = "v";
constexpr std::string_view state = "s";
constexpr std::string_view bookkeeping = "g";
constexpr std::string_view outbox_bytes = "b";
}  // namespace field

}  // namespace catga
