// catga node: one node.
#include "catga/runtime/tool/context.hpp"

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <memory>
#include <thread>

namespace catga::tool {

namespace {

struct Wanted {
  std::string node, level;
  bool wait = false;
};

std::uint64_t shards_left(const json& answer) {
  return answer["shards"]["held"].get<std::uint64_t>();
}

void drain(Context& context, const Wanted& wanted) {
  const json before = context.get("nodes/" + wanted.node)["node"];
  if (!before["answered"].get<bool>())
    throw Ended{failed, "node " + wanted.node + " does not answer"};
  const auto held = shards_left(before);
  if (!context.may(fmt::format("drain node {}, which has {} shards", wanted.node, held))) return;
  json answer = context.post("nodes/" + wanted.node + "/drain");
  const auto began = std::chrono::steady_clock::now();
  const std::chrono::milliseconds patience =
      context.options.timeout_s > 0 ? context.patience() : std::chrono::seconds(60);
  std::uint64_t left = held;
  while (wanted.wait && left > 0 && std::chrono::steady_clock::now() - began < patience) {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    left = shards_left(context.get("here", {}, wanted.node));
    if (!context.options.as_json && context.terminal())
      fmt::print(stderr, "\r{} shards left  ", left);
  }
  if (!context.options.as_json && context.terminal() && wanted.wait) fmt::print(stderr, "\n");
  if (wanted.wait) answer["shards_left"] = left;
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
  context.code = wanted.wait && left > 0 ? failed : done;
  context.print(answer, [&](const json&) {
    if (!wanted.wait) return fmt::print("node {} gives its {} shards away\n", wanted.node, held);
    if (left > 0)
      return fmt::print("node {} still has {} shards after {:.0f} s\n", wanted.node, left, seconds);
    fmt::print("node {} has given its {} shards away in {:.1f} s; it can be stopped\n", wanted.node,
               held, seconds);
  });
}

void health(Context& context, const Wanted& wanted) {
  const json answer = context.get("nodes/" + wanted.node);
  const json& node = answer["node"];
  std::string wrong;
  if (!node["answered"].get<bool>())
    wrong = "does not answer";
  else if (!node["session"].get<bool>())
    wrong = "has no session: it does not reach Redis";
  else if (node["state"] != "UP")
    wrong = "is " + word(node, "state");
  context.code = wrong.empty() ? done : failed;
  json data = answer;
  data["healthy"] = wrong.empty();
  context.print(data, [&](const json&) {
    fmt::print("node {} {}\n", wanted.node, wrong.empty() ? "is fine" : wrong);
  });
}

}  // namespace

void add_node(CLI::App& app, Context& context) {
  CLI::App* const group = app.add_subcommand("node", "one node")->require_subcommand(1);
  const auto wanted = std::make_shared<Wanted>();
  const auto command = [&](const char* name, const char* help) {
    CLI::App* const one = group->add_subcommand(name, help);
    one->add_option("NODE", wanted->node, "its node.id")->required();
    return one;
  };
  command("show", "what it says of itself")->callback([&context, wanted] {
    context.print(context.get("nodes/" + wanted->node),
                  [](const json& answer) { fmt::print("{}\n", answer["node"].dump(2)); });
  });
  CLI::App* const healths =
      group->add_subcommand("health", "exit 0 if it is up and reaches Redis; else 1");
  // So a container's health check is one line: node and tool read the same variables.
  healths->add_option("NODE", wanted->node, "its node.id; else the one that CATGA_NODE_ID names");
  healths->callback([&context, wanted] {
    if (wanted->node.empty()) wanted->node = context.config().node.id;
    health(context, *wanted);
  });
  CLI::App* const drains =
      command("drain", "it leaves the ring, gives its shards away and stays up");
  drains->add_flag("--wait", wanted->wait, "until it has none left, up to --timeout, or 60 s");
  drains->callback([&context, wanted] { drain(context, *wanted); });
  CLI::App* const levels = command("log-level", "what it logs from now on");
  levels->add_option("LEVEL", wanted->level, "debug, or info,handoff=debug")->required();
  levels->callback([&context, wanted] {
    if (!context.may("set the log level of node " + wanted->node + " to " + wanted->level)) return;
    context.print(
        context.post("nodes/" + wanted->node + "/log-level", {}, {{"level", wanted->level}}),
        [&](const json& answer) {
          fmt::print("node {} logs at {}\n", word(answer, "node"), word(answer, "level"));
        });
  });
}

}  // namespace catga::tool
