// What operators are told is added up from what nodes say; these are the sums, without nodes.
#include <catga/runtime/admin/answers.hpp>
#include <catga/runtime/admin/desk.hpp>
#include <catga/runtime/admin/history.hpp>
#include <catga/runtime/settings.hpp>

#include <doctest/doctest.h>

#include <algorithm>

using namespace catga;
using namespace catga::admin;

namespace {

Member member(const std::string& name, std::uint64_t number, MemberState state = MemberState::up) {
  return Member{Incarnation{1, number}, state, name, 1, "-", "host", 1000};
}

NodeLook serving(std::uint32_t shards) {
  NodeLook look;
  look.held = look.serving = shards;
  look.session = true;
  return look;
}

Move move(std::uint32_t shard, const std::string& from, const std::string& to, std::int64_t pause) {
  return {shard, from, to, "planned", Epoch{7}, 5000, pause, 3};
}

}  // namespace

TEST_CASE("a node that does not answer stays in the list and makes the cluster unsettled") {
  const MembershipView view{ViewVersion{9}, {member("a", 1), member("b", 2)}};
  const Said said{{"a", to_json(serving(10), view.version)}};
  const json nodes = nodes_of(view, {{"a", 10}, {"b", 6}}, said);
  REQUIRE(nodes.size() == 2);
  CHECK(nodes[0]["answered"] == true);
  CHECK(nodes[1]["answered"] == false);
  CHECK(nodes[1]["wanted"] == 6);
  const json sums = sums_of(nodes, 16);
  CHECK(sums["nodes_up"] == 2);
  CHECK(sums["shards"]["unowned"] == 6);
  CHECK(sums["settled"] == false);
}

TEST_CASE("where a node runs is told from the view, even while the node is silent") {
  MembershipView view{ViewVersion{9}, {member("a", 1), member("b", 2)}};
  view.members[1].host = "machine-7;region=eu-west-1;zone=eu-west-1a";
  const json nodes = nodes_of(view, {}, {});
  CHECK(nodes[0]["host"] == "host");
  CHECK(nodes[0]["zone"] == "");
  CHECK(nodes[1]["host"] == "machine-7");
  CHECK(nodes[1]["region"] == "eu-west-1");
  CHECK(nodes[1]["zone"] == "eu-west-1a");
}

TEST_CASE("a cluster is settled when every node serves exactly what placement gives it") {
  const MembershipView view{ViewVersion{9}, {member("a", 1), member("b", 2)}};
  const Said said{{"a", to_json(serving(10), view.version)},
                  {"b", to_json(serving(6), view.version)}};
  CHECK(sums_of(nodes_of(view, {{"a", 10}, {"b", 6}}, said), 16)["settled"] == true);
  CHECK(sums_of(nodes_of(view, {{"a", 9}, {"b", 7}}, said), 16)["settled"] == false);
}

TEST_CASE("a shard is shown at who serves it, and names who takes it") {
  const Said said{{"a", json::array({to_json(ShardLook{4, "owned", Epoch{3}, 2, 0, 1.5})})},
                  {"b", json::array({to_json(ShardLook{4, "incoming", Epoch{}, 0, 0, 0}),
                                     to_json(ShardLook{5, "forwarding", Epoch{}, 0, 0, 0})})}};
  const json shards = shards_of(said, 4, {"b", "b"});
  CHECK(shards[0]["node"] == "a");
  CHECK(shards[0]["state"] == "owned");
  CHECK(shards[0]["epoch"] == "3");
  CHECK(shards[0]["to"] == "b");
  CHECK(shards[0]["target"] == "b");
  CHECK(shards[1]["node"] == nullptr);
  CHECK(shards[1]["state"] == "unowned");
}

TEST_CASE("what all nodes tell of one view is one rebalance") {
  History a, b;
  a.began("900", "node_joined", 1000);
  a.moved(move(1, "a", "c", 4));
  a.moved(move(2, "a", "c", 9));
  b.began("900", "node_joined", 1010);
  b.moved(move(3, "b", "c", 2));
  b.pending(5);
  b.began("1000", "node_left", 2000);  // nothing moved here
  const auto parts = [](const History& history) {
    json all = json::array();
    for (const RebalancePart& part : history.rebalances()) all.push_back(to_json(part));
    return all;
  };
  const json all = rebalances_of({{"a", parts(a)}, {"b", parts(b)}}, 50);
  REQUIRE(all.size() == 1);
  CHECK(all[0]["id"] == "900");
  CHECK(all[0]["moved"] == 3);
  CHECK(all[0]["began_ms"] == 1000);
  CHECK(all[0]["last_ms"] == 5000);
  CHECK(all[0]["pause_ms_max"] == 9);
  CHECK_MESSAGE(all[0]["running"] == false, "what was left goes on under the next view");
  CHECK(all[0]["by_node"].size() == 2);
}

TEST_CASE("a node remembers the last moves of a shard, the newest first, and bounds them") {
  History history;
  for (std::uint32_t i = 0; i < 2 * History::moves_kept; ++i)
    history.moved(move(i % 2, "a", "b", i));
  const auto moves = history.moves_of(1);
  REQUIRE(moves.size() == History::moves_shown);
  CHECK(moves[0].pause_ms == 2 * History::moves_kept - 1);
  CHECK(moves[1].pause_ms == 2 * History::moves_kept - 3);
}

TEST_CASE("a plan without a node moves what that node has, and little else") {
  const json plan = plan_of({{"a", 1, 1}, {"b", 1, 1}, {"c", 1, 0}}, 1024);
  std::uint64_t of_c = 0;
  for (const json& node : plan["nodes"])
    if (node["id"] == "c") {
      of_c = node["before"].get<std::uint64_t>();
      CHECK(node["after"] == 0);
    }
  CHECK(of_c > 200);
  CHECK(plan["moves"].get<std::uint64_t>() >= of_c);
  CHECK(plan["moves"].get<std::uint64_t>() < of_c + 100);
  CHECK(plan_of({{"a", 1, 1}, {"b", 1, 1}}, 1024)["moves"] == 0);
  CHECK(plan_of({{"a", 1, 0}}, 16)["moves"] == 16);
}

TEST_CASE("the ring names the owner of every shard, and a point for every 1/128 of a weight") {
  const json ring = ring_of({{"b", 2, 2}, {"a", 1, 1}}, 64);
  CHECK(ring["points"].size() == 3 * 128);
  REQUIRE(ring["targets"].size() == 64);
  CHECK(ring["nodes"][0]["id"] == "a");
  const std::uint64_t of_a = ring["nodes"][0]["shards"], of_b = ring["nodes"][1]["shards"];
  CHECK(of_a + of_b == 64);
  CHECK(position_of(0) >= 0);
  CHECK(position_of(0) < 1);
}

TEST_CASE("a question comes out of NATS as it went in, and whoever may publish may write") {
  Request request;
  request.method = "POST";
  request.path = "/api/v1/entity/ask";
  request.query = {{"kind", "account"}, {"key", "a/b \"c\""}};
  request.body = R"({"cents":5})";
  request.client = "ann";
  const Result<Request> read = read_request(write_request(request));
  REQUIRE(read.ok());
  CHECK(read->method == "POST");
  CHECK(read->query == request.query);
  CHECK(read->body == request.body);
  CHECK(read->client == "ann");
  CHECK(read->may_write);
  CHECK_FALSE(read_request("[]").ok());
  CHECK_FALSE(read_request("{").ok());
}

TEST_CASE("an answer comes out of NATS as it went in") {
  const Result<Answer> read = read_answer(write_answer({404, R"({"error":{"code":"not_found"}})"}));
  REQUIRE(read.ok());
  CHECK(read->status == 404);
  CHECK(json::parse(read->body)["error"]["code"] == "not_found");
  CHECK_FALSE(read_answer("{}").ok());
}

TEST_CASE("a node id with dots is one token of a subject") {
  CHECK(admin_subject("catga.x.", "") == "catga.x.admin");
  CHECK(admin_subject("catga.x.", "node.1") == "catga.x.admin.node%2E1");
}

TEST_CASE("every setting has a variable, a meaning and a source") {
  const Result<Config> config = Config::parse({"--node-weight", "3"});
  REQUIRE(config.ok());
  const auto lines = settings_of(*config);
  const auto weight = std::ranges::find(lines, "node.weight", &SettingLine::key);
  REQUIRE(weight != lines.end());
  CHECK(weight->variable == "CATGA_NODE_WEIGHT");
  CHECK(weight->flag == "--node-weight");
  CHECK(weight->value == "3");
  CHECK(weight->standard == "1");
  CHECK(weight->source == "flag --node-weight");
  for (const SettingLine& line : lines) {
    CHECK_FALSE(line.help.empty());
    CHECK(line.variable.starts_with("CATGA_"));
  }
}

TEST_CASE("secrets are masked in the list of settings, and have no flag") {
  Config config;
  config.nats.password = "hunter2";
  for (const SettingLine& line : settings_of(config)) {
    CHECK(line.value.find("hunter2") == line.value.npos);
    if (line.key != "nats.password") continue;
    CHECK(line.value == "***");
    CHECK(line.flag.empty());
    CHECK(line.source == "program");
  }
}
