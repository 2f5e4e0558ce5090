// catga shard: who has which shard.
#include "catga/runtime/tool/context.hpp"

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <memory>

namespace catga::tool {

namespace {

struct Wanted {
  std::string node, state;
  std::uint32_t id = 0;
};

Tint tint_of(const json& shard) {
  if (shard["state"] == "owned")
    return shard["node"] == shard["target"] ? Tint::green : Tint::yellow;
  return shard["state"] == "unowned" ? Tint::red : Tint::yellow;
}

/// All pages.
json all_shards(Context& context, const Wanted& wanted) {
  json all;
  std::string cursor = "0";
  while (!cursor.empty()) {
    json page = context.get(
        "shards",
        {{"node", wanted.node}, {"state", wanted.state}, {"cursor", cursor}, {"limit", "4096"}});
    cursor = page.value("next", "");
    page.erase("next");
    if (all.is_null()) {
      all = std::move(page);
      continue;
    }
    for (json& shard : page["shards"]) all["shards"].push_back(std::move(shard));
  }
  return all;
}

void show_list(Context& context, const json& answer) {
  Table table({"SHARD", "STATE", "NODE", "EPOCH", "ENTITIES", "HELD", "MSG/S", "SHOULD BE AT"});
  for (const json& shard : answer["shards"])
    table.row({word(shard, "id"), word(shard, "state"), word(shard, "node"), word(shard, "epoch"),
               word(shard, "entities"), word(shard, "held"), word(shard, "messages_per_s"),
               shard["node"] == shard["target"] ? "" : word(shard, "target")},
              {{1, tint_of(shard)}});
  fmt::print("{}", table.text(context.colours(), terminal_width()));
}

void show_one(Context& context, const json& answer) {
  const json& shard = answer["shard"];
  fmt::print("shard      {}\n", word(shard, "id"));
  fmt::print("state      {} at {}, epoch {}\n",
             tinted(word(shard, "state"), tint_of(shard), context.colours()), word(shard, "node"),
             word(shard, "epoch"));
  fmt::print("should be  at {}\n", word(shard, "target"));
  fmt::print("entities   {} in memory, {} messages a second, {} held\n", word(shard, "entities"),
             word(shard, "messages_per_s"), word(shard, "held"));
  if (answer["history"].empty()) return;
  Table table({"WHEN", "FROM", "TO", "MODE", "EPOCH", "PAUSE", "ENTITIES"});
  for (const json& move : answer["history"])
    table.row({time_text(move["at_ms"].get<std::int64_t>()), word(move, "from"), word(move, "to"),
               word(move, "mode"), word(move, "epoch"), word(move, "pause_ms") + " ms",
               word(move, "entities")});
  fmt::print("\n{}", table.text(context.colours(), terminal_width()));
}

}  // namespace

void add_shard(CLI::App& app, Context& context) {
  CLI::App* const group = app.add_subcommand("shard", "who has which shard")->require_subcommand(1);
  const auto wanted = std::make_shared<Wanted>();
  CLI::App* const list = group->add_subcommand("list", "a line per shard");
  list->add_option("--node", wanted->node, "only those of this node");
  list->add_option("--state", wanted->state, "only those in this state")
      ->check(CLI::IsMember({"owned", "claiming", "suspended", "draining", "in_doubt", "unowned"}));
  list->callback([&context, wanted] {
    context.print(all_shards(context, *wanted),
                  [&](const json& answer) { show_list(context, answer); });
  });
  CLI::App* const show = group->add_subcommand("show", "one shard and its last moves");
  show->add_option("ID", wanted->id, "its number")->required();
  show->callback([&context, wanted] {
    context.print(context.get("shards/" + std::to_string(wanted->id)),
                  [&](const json& answer) { show_one(context, answer); });
  });
}

}  // namespace catga::tool
