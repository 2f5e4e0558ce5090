// catga rebalance: what moved, what moves, and what would.
#include "catga/runtime/tool/events.hpp"

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <memory>

namespace catga::tool {

namespace {

struct Wanted {
  std::string without, weight;
  std::size_t limit = 10;
};

std::string ways_of(const json& rebalance) {
  std::string ways;
  for (const json& way : rebalance["by_node"])
    ways += (ways.empty() ? "" : ", ") + word(way, "from") + "→" + word(way, "to") + " " +
            word(way, "shards");
  return ways;
}

void show_status(Context& context, const json& answer, std::size_t limit) {
  Table table(
      {"BEGAN", "REASON", "STATE", "MOVED", "FAILED", "LEFT", "TOOK", "WORST PAUSE", "FROM→TO"});
  for (const json& one : answer["rebalances"]) {
    if (table.rows() == limit) break;
    const bool running = one["running"].get<bool>();
    const auto took = one["last_ms"].get<std::int64_t>() - one["began_ms"].get<std::int64_t>();
    table.row({time_text(one["began_ms"].get<std::int64_t>()), word(one, "reason"),
               running ? "running" : "done", word(one, "moved"), word(one, "failed"),
               word(one, "pending"), fmt::format("{} ms", took), word(one, "pause_ms_max") + " ms",
               ways_of(one)},
              {{2, running ? Tint::yellow : Tint::green},
               {4, one["failed"].get<std::uint64_t>() > 0 ? Tint::red : Tint::plain}});
  }
  fmt::print("{}", table.text(context.colours(), terminal_width()));
}

void show_plan(Context& context, const json& plan) {
  fmt::print("{} shards would move\n", word(plan, "moves"));
  if (plan["by_node"].empty()) return;
  Table ways({"FROM", "TO", "SHARDS"});
  for (const json& way : plan["by_node"])
    ways.row({word(way, "from"), word(way, "to"), word(way, "shards")});
  Table nodes({"NODE", "NOW", "THEN"});
  for (const json& node : plan["nodes"])
    nodes.row({word(node, "id"), word(node, "before"), word(node, "after")});
  fmt::print("\n{}\n{}", ways.text(context.colours()), nodes.text(context.colours()));
}

}  // namespace

void add_rebalance(CLI::App& app, Context& context) {
  CLI::App* const group =
      app.add_subcommand("rebalance", "shards that move")->require_subcommand(1);
  const auto wanted = std::make_shared<Wanted>();
  CLI::App* const status = group->add_subcommand("status", "the last ones, and what is under way");
  status->add_option("--limit", wanted->limit, "so many [10]")->check(CLI::Range(1, 50));
  status->callback([&context, wanted] {
    context.print(context.get("rebalances"),
                  [&](const json& answer) { show_status(context, answer, wanted->limit); });
  });
  CLI::App* const plan = group->add_subcommand("plan", "what would move; nothing does");
  plan->add_option("--without", wanted->without, "if this node left");
  plan->add_option("--weight", wanted->weight,
                   "NODE=2: if it had this weight; a new name: if it joined");
  plan->callback([&context, wanted] {
    Query query;
    if (!wanted->without.empty()) query["without"] = wanted->without;
    if (!wanted->weight.empty()) query["weight"] = wanted->weight;
    context.print(context.get("rebalances/plan", query),
                  [&](const json& answer) { show_plan(context, answer); });
  });
  group->add_subcommand("watch", "rebalances as they happen, until Ctrl-C")->callback([&context] {
    follow_events(context, "catga.rebalance.*", 0);
  });
}

}  // namespace catga::tool
