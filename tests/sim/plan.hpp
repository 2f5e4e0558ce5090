// What a seed stands for: the size of the cluster, its settings, the manners of its network and its
// Redis, and which faults may happen.
#pragma once
#include <catga/runtime/activation.hpp>
#include <catga/runtime/config.hpp>
#include <catga/sharding/caller.hpp>
#include <catga/sharding/membership.hpp>
#include <catga/sharding/ownership.hpp>

#include "bus.hpp"
#include "redis.hpp"
#include "world.hpp"

#include <string>
#include <vector>

namespace catga::sim {

enum class Mode { safety, converge };

enum class Fault {
  crash,
  host_lost,
  freeze,
  leave,
  join,
  nats_lost,
  cut,
  split,
  redis_drop,
  redis_cut,
  redis_stall,
  redis_down,
  failover,
  redis_clock,
  rolling,
  memory_full,
  disk_full,
  // Those below are drawn and dealt with chance of their own, so that older runs stay as they were.
  script_flush,
  old_primary,
};
std::string_view name_of(Fault fault);

struct Plan {
  Config config;
  membership::Times membership;
  std::int64_t hold = 250;
  ShardTimes shard;
  ActivationLimits activation;
  CallerTimes caller;
  BusManners bus;
  RedisManners redis;
  SimCarrier::Limits carrier;

  unsigned nodes = 3, spares = 1, clients = 1;
  unsigned accounts = 6;
  Moment ask_gap = stretched(20 * ms);    ///< mean, of all callers together
  Moment lasts = stretched(20 * second);  ///< with faults
  Moment fault_gap = stretched(second);   ///< mean
  bool calm = false;                      ///< shards move as planned, and nothing else happens
  bool unfair = false;    ///< actors of a node run in any order, not first come first served
  bool mixed = false;     ///< lives of nodes differ in what their messages say: see Wording
  bool drifting = false;  ///< clocks of machines run 10 % fast or slow
  std::vector<Fault> faults;

  std::vector<Fault> later_faults;
  Moment later_gap = stretched(2 * second);  ///< mean
  unsigned shadows = 0;  ///< nodes with a second process of their name, both as node.shadow
  unsigned workers = 0;  ///< of each node; 0: handlers take no time
  Moment ponder_gap = stretched(second);  ///< mean, between handlers that hold a worker

  std::string text() const;
};

/// `planted`: some bugs show only under certain circumstances, which are then chosen.
Plan plan_of(World& world, Break planted);

}  // namespace catga::sim
