// What must be equal on all nodes of a cluster.
#include "catga/runtime/cluster/fingerprint.hpp"

#include "catga/sharding/ids.hpp"
#include "catga/sharding/ring.hpp"

namespace catga {
namespace {

// Everything but the number of shards follows from the version of the program.
std::string with_shards(std::string_view shards) {
  return "catga1;S=" + std::string(shards) +
         ";xxh3;points=" + std::to_string(ring_points_per_weight) + ";cap=1.25;hold=250;late=300";
}

// The number behind "S=", as text; empty if there is none.
std::string_view shards_in(std::string_view print) {
  const auto begin = print.find(";S=");
  if (begin == print.npos) return {};
  const std::string_view rest = print.substr(begin + 3);
  return rest.substr(0, rest.find(';'));
}

}  // namespace

std::string fingerprint(const Config& config) {
  return with_shards(std::to_string(config.cluster.shards));
}

std::string fingerprint_refusal(const Config& config, std::string_view found) {
  const std::string_view shards = shards_in(found);
  if (parse_number(shards).ok() && found == with_shards(shards)) {
    return "cluster " + config.cluster.name + " was created with " + std::string(shards) +
           " shards, this node is set to " + std::to_string(config.cluster.shards) +
           ": set cluster.shards to " + std::string(shards);
  }
  return "cluster " + config.cluster.name +
         " was created by another version of Catga, whose placement differs (" +
         std::string(found) + "; this node has " + fingerprint(config) +
         "): start the version that created it, or use another cluster.name";
}

}  // namespace catga
