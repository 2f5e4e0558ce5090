// Answers operators' questions about the cluster, and carries out their orders: the same over HTTP and over NATS.
//
// Any node answers for the whole cluster. It asks every member of the view what it sees of itself (`/api/v1/here...`),
// waits at most 500 ms, and adds the answers up. What it could not learn it says: `asked`, `answered`, `missing` (node
// ids) stand in every answer marked with *. Nothing lists all entities. Times are ms, moments are Unix time in ms;
// `view`, `epoch` and ids of rebalances are 64-bit numbers and therefore text. Unknown fields are to be ignored, and
// more may come; those here keep their meaning within v1.
//
//   GET /api/v1/cluster *       {"cluster","view","nodes_up","settled","entities","messages_per_s",
//                               "shards":{"configured","held","serving","moving","unowned"},"nodes":[NODE...]}
//   GET /api/v1/nodes *         {"view","nodes":[NODE...]}
//   GET /api/v1/nodes/{id} *    {"node":NODE}
//     NODE: {"id","incarnation","state":"WARM|SHADOW|UP|LEAVING","weight","app_version","host","region","zone","joined_ms",
//            "wanted","answered":bool} from the view; with answered also {"version","uptime_s","view","session":bool,
//            "shards":{"held","serving","incoming"},"entities","messages_per_s","queued_bytes","pending_asks",
//            "memory_bytes"}. `wanted`: shards that placement gives it; `shards.held`: owned, in any state.
//   GET /api/v1/ring            {"view","shards","nodes":[{"id","weight","shards","share"}],
//                               "points":[[POSITION,NODE]...],"targets":[NODE...]}; POSITION in [0,1)
//                               clockwise, NODE an index of `nodes`, one target per shard
//   GET /api/v1/shards *        ?node= &state= &cursor= &limit= (1024, at most 4096)
//                               {"shards":[SHARD...],"next"}; the filters thin a page out; `next`: cursor of the next
//                               page, absent at the end
//     SHARD: {"id","node","state","epoch","entities","held","messages_per_s","target"}. Without an owner: node null,
//            state "unowned". With `to`: an incoming node takes it. States: owned, claiming, suspended, draining,
//            in_doubt, unowned
//   GET /api/v1/shards/{id} *   {"shard":SHARD,"position","history":[{"at_ms","from","to","epoch","mode","pause_ms",
//                               "entities"}...]}: the last 16 moves, newest first; mode planned, takeover, claim
//   GET /api/v1/rebalances *    {"rebalances":[{"id","reason","began_ms","last_ms","running","moved","failed","pending",
//                               "pause_ms_max","by_node":[{"from","to","mode","shards"}]}...]}: the last 50
//   GET /api/v1/rebalances/plan ?without=NODE &weight=NODE=W (a new node is taken as joining; W 0 as leaving)
//                               {"view","moves","by_node":[{"from","to","shards"}],"nodes":[{"id","before","after"}]}
//   GET /api/v1/kinds *         {"kinds":[{"name","entities","messages":[{"name","query":bool}]}...]}
//   GET /api/v1/entities *      ?kind= &limit= (50, at most 500) {"entities":[ENTITY...],"more":bool}: active ones
//   GET /api/v1/entity          ?kind= &key= {"entity":ENTITY + "shown"}; not active ones too; `shown`: its key in events
//     ENTITY: {"kind","key","shard","node","epoch","active":bool}; if active {"waiting","messages","idle_ms","leaving"}
//   GET /api/v1/hot *           {"shards":[SHARD + "share"...],"entities":[ENTITY...]}: the 20 busiest of each
//   GET /api/v1/sagas           ?status= &type= &older_than_ms= &limit= (50, at most 500)
//                               {"sagas":[{"type","id","status","cause","version","created_ms"}...],"more"}
//   GET /api/v1/sagas/{id}      ?type= (or every hosted type is tried)
//                               {"saga":{... "step","text","updated_ms","entries","recoveries"},
//                               "journal":[{"kind","step","at_ms","by","note"}...]}
//   GET /api/v1/deadletters *   {"sequences":[{"subscription","kind","key","length","since_ms"}...]}: what could not be
//                               delivered or handled, per source; subscription null: tells of that entity. `missing` may name
//                               JetStream, where groups and broadcasts (`<name>-<node>`) have theirs
//   GET /api/v1/deadletters/one ?kind= &key= &subscription= (tells if absent) {"letters":[{"event","id","number","sequence",
//                               "at","parked","attempts","why"}...]}: the first 100; of a tell "target" <kind>/<key> too,
//                               and its message as "event"
//   GET /api/v1/config          {"node","settings":[{"key","value","source","default","unit","help"}...]}, masked
//   GET /api/v1/version         {"api":"v1","version","node"}
//
//   POST /api/v1/nodes/{id}/drain       {"node","draining":true}: it leaves the ring and stays up, until it is stopped
//   POST /api/v1/nodes/{id}/log-level   {"level":"debug"} → {"node","level"}
//   POST /api/v1/entity/passivate       ?kind= &key= → {"passivated":bool}; false: it was not in memory, or busy
//   POST /api/v1/entity/trace           ?kind= &key= &for_s= (60, at most 3600) → {"node","for_s"}: every turn is sampled
//   POST /api/v1/entity/ask             ?kind= &key= &message= &id= &timeout_ms=; body: the message → {"reply":...}
//   POST /api/v1/entity/tell            the same, at most once, nobody waits → {"sent":true}
//   POST /api/v1/sagas/{id}/{verb}      ?type=; verb retry, replace, skip, force-complete (force), cancel, abort; body
//                                       {"reason":"...","by":"...","step":"...","payload":...} → {"verb","done":true}
//   POST /api/v1/deadletters/retry      ?kind= &key= &subscription= &renew=true → {"done":N}: from the head, until one fails.
//                                       renew: with today's time, so that a target that has forgotten it does not say expired
//   POST /api/v1/deadletters/discard    ?kind= &key= &subscription= → {"left":N}: throws the head away, for ever
//
// Errors: {"error":{"code","message","retry":bool}}, with the words of catga::Code and forbidden, method_not_allowed.
// Not there: undrain and weights (the membership protocol has no such transitions: start the node anew), pausing of
// rebalances.
#pragma once
#include "catga/entities/kind.hpp"
#include "catga/entities/messenger.hpp"
#include "catga/persistence/stores.hpp"
#include "catga/runtime/admin/inside.hpp"
#include "catga/runtime/admin/request.hpp"
#include "catga/runtime/config.hpp"

#include <functional>
#include <map>
#include <string>
#include <vector>

namespace catga {
class LetterDesk;
}

namespace catga::admin {

/// What one node said when it was asked; status 0: nothing in time.
struct Told {
  std::string node;
  Answer answer{0, ""};
};

struct Surroundings {
  const Config& config;
  const std::map<std::string, Kind, std::less<>>& kinds;
  std::vector<std::string> saga_types;
  Inside& inside;
  Messenger& messenger;
  OwnerStore* owners = nullptr;
  std::function<void(const std::string& levels)> set_log_level;
  /// Asks these other nodes at once, and waits for them at most 500 ms. Empty: there are no others.
  std::function<std::vector<Told>(const std::vector<std::string>& nodes, const Request& request)>
      others;
  LetterDesk* letters = nullptr;  ///< null: there are none (embedded)
  /// Told of each order that this node carries out, or refuses. May be empty.
  struct Order {
    std::string verb, target;  ///< of an entity the target is its kind
    bool done = false;
    std::string client;  ///< who gave it
  };
  std::function<void(const Order&)> ordered{};
};

/// Thread-safe. All of `around` outlives it.
class Api {
 public:
  explicit Api(Surroundings around) : around_(std::move(around)) {}

  /// Blocks: up to 500 ms for what others must be asked, as long as an ask for entities, up to 10 s for lists of
  /// sagas. Never on a thread of NATS or of the workers.
  Answer handle(const Request& request);
  /// Whether handle() answers from memory, at once.
  static bool is_quick(const Request& request);

 private:
  const Surroundings around_;
};

}  // namespace catga::admin
