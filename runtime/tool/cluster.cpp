// catga cluster: how the whole cluster is.
#include "catga/runtime/tool/context.hpp"

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <memory>
#include <thread>

namespace catga::tool {

namespace {

std::string shares(const json& node) {
  if (!node["answered"].get<bool>()) return "-";
  return word(node["shards"], "serving") + "/" + word(node, "wanted");
}

/// "eu-west-1/eu-west-1a", or what is known of it.
std::string place_of(const json& node) {
  const std::string region = node.value("region", ""), zone = node.value("zone", "");
  return region.empty() || zone.empty() ? region + zone : region + '/' + zone;
}

void show_nodes(Context& context, const json& answer) {
  Table table({"NODE", "STATE", "SHARDS", "ENTITIES", "MSG/S", "MEMORY", "UPTIME", "VERSION",
               "HOST", "ZONE"});
  for (const json& node : answer["nodes"]) {
    const bool answered = node["answered"].get<bool>();
    const std::string state = word(node, "state") + (answered ? "" : " (silent)");
    const double memory = answered ? node["memory_bytes"].get<double>() / (1 << 20) : 0;
    table.row({word(node, "id"), state, shares(node), word(node, "entities"),
               word(node, "messages_per_s"), answered ? short_number(memory) + " MiB" : "-",
               answered ? duration_text(node["uptime_s"].get<std::int64_t>()) : "-",
               word(node, "version"), word(node, "host"), place_of(node)},
              {{1, !answered       ? Tint::red
                   : state == "UP" ? Tint::green
                                   : Tint::yellow}});
  }
  fmt::print("{}", table.text(context.colours(), terminal_width()));
}

void show_info(const json& answer) {
  const json& shards = answer["shards"];
  fmt::print("cluster    {}\n", word(answer, "cluster"));
  fmt::print("view       {}, {} nodes up\n", word(answer, "view"), word(answer, "nodes_up"));
  fmt::print("shards     {} of {} served, {} moving, {} without an owner{}\n",
             word(shards, "serving"), word(shards, "configured"), word(shards, "moving"),
             word(shards, "unowned"),
             answer["settled"].get<bool>() ? "; settled" : "; not settled");
  fmt::print("entities   {} in memory\n", word(answer, "entities"));
  fmt::print("messages   {} a second\n", word(answer, "messages_per_s"));
}

/// What is not as it should be, a line each.
std::vector<std::string> complaints(const json& answer, std::size_t expected, bool settled) {
  std::vector<std::string> wrong;
  for (const json& node : answer["missing"])
    wrong.push_back("node " + node.get<std::string>() + " does not answer");
  const auto up = answer["nodes_up"].get<std::size_t>();
  if (expected != 0 && up != expected)
    wrong.push_back(fmt::format("{} nodes are up, not {}", up, expected));
  for (const json& node : answer["nodes"]) {
    if (!node["answered"].get<bool>()) continue;
    if (node["view"] != answer["view"])
      wrong.push_back("node " + word(node, "id") + " knows another view: " + word(node, "view"));
    if (!node["session"].get<bool>())
      wrong.push_back("node " + word(node, "id") + " has no session: it does not reach Redis");
  }
  const auto unowned = answer["shards"]["unowned"].get<std::uint64_t>();
  if (unowned > 0) wrong.push_back(fmt::format("{} shards have no owner", unowned));
  if (settled && !answer["settled"].get<bool>() && wrong.empty())
    wrong.emplace_back("shards are still moving");
  return wrong;
}

void check(Context& context, std::size_t expected, bool settled, double wait_s) {
  const auto until = std::chrono::steady_clock::now() + std::chrono::duration<double>(wait_s);
  json answer = context.get("cluster");
  std::vector<std::string> wrong = complaints(answer, expected, settled);
  while (!wrong.empty() && std::chrono::steady_clock::now() < until) {
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
    answer = context.get("cluster");
    wrong = complaints(answer, expected, settled);
  }
  answer["complaints"] = wrong;
  answer["healthy"] = wrong.empty();
  context.code = wrong.empty() ? done : failed;
  context.print(std::move(answer), [&](const json& all) {
    for (const std::string& one : wrong) fmt::print("{}\n", one);
    if (wrong.empty())
      fmt::print("fine: {} nodes up, {} shards served\n", word(all, "nodes_up"),
                 word(all["shards"], "serving"));
  });
}

}  // namespace

void add_cluster(CLI::App& app, Context& context) {
  CLI::App* const group =
      app.add_subcommand("cluster", "the cluster as a whole")->require_subcommand(1);
  group->add_subcommand("info", "view, shards, entities, rate")->callback([&context] {
    context.print(context.get("cluster"), show_info);
  });
  group->add_subcommand("nodes", "a line per node")->callback([&context] {
    context.print(context.get("nodes"), [&](const json& answer) { show_nodes(context, answer); });
  });
  CLI::App* const command = group->add_subcommand(
      "check",
      "exit 0 if all nodes answer, agree on the view and every shard has an owner; else 1");
  struct Wanted {
    std::size_t nodes = 0;
    bool settled = false;
    double wait_s = 0;
  };
  const auto wanted = std::make_shared<Wanted>();
  command->add_option("--expect-nodes", wanted->nodes, "so many nodes must be up");
  command->add_flag("--settled", wanted->settled, "no shard may be moving");
  command->add_option("--wait", wanted->wait_s, "seconds to wait until all is fine");
  command->callback(
      [&context, wanted] { check(context, wanted->nodes, wanted->settled, wanted->wait_s); });
}

}  // namespace catga::tool
