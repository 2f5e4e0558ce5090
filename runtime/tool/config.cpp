// catga config: which settings there are, what a file says, what a node runs with.
#include "catga/runtime/settings.hpp"
#include "catga/runtime/telemetry/otlp_settings.hpp"
#include "catga/runtime/tool/context.hpp"

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <memory>

namespace catga::tool {

namespace {

json settings_json(const Config& config) {
  json all = json::array();
  for (const SettingLine& line : settings_of(config))
    all.push_back({{"key", line.key},
                   {"variable", line.variable},
                   {"flag", line.flag.empty() ? json(nullptr) : json(line.flag)},
                   {"unit", line.unit},
                   {"default", line.standard},
                   {"secret", line.secret},
                   {"help", line.help}});
  return all;
}

void vars(Context& context) {
  // Needs no server, so no object around it names one.
  const json all = settings_json(Config());
  const std::vector<std::string> others = OtlpSettings::names();
  if (context.options.as_json)
    return fmt::print(
        "{}\n",
        json{{"api", "v1"}, {"data", {{"settings", all}, {"opentelemetry", others}}}}.dump());
  Table table({"KEY", "VARIABLE", "FLAG", "DEFAULT", "MEANING"});
  for (const json& one : all)
    table.row({word(one, "key"), word(one, "variable"), word(one, "flag"), word(one, "default"),
               word(one, "help")});
  fmt::print("{}\nVariables of OpenTelemetry that nodes know: {}\n",
             table.text(context.colours(), terminal_width()), fmt::join(others, ", "));
}

void check(Context& context, const std::string& file) {
  std::vector<std::string> arguments, rest;
  if (!file.empty()) arguments = {"--config", file};
  const Result<Config> config = Config::parse(arguments, &rest);
  if (!config.ok()) throw Ended{misconfigured, config.error().text};
  if (!context.options.as_json)
    return fmt::print("fine: {} settings are set, the others have their defaults\n",
                      config->sources.size());
  fmt::print("{}\n", json{{"api", "v1"}, {"data", {{"set", config->sources}}}}.dump());
}

void show(Context& context, const std::string& node) {
  context.print(context.get("config", {}, node), [&](const json& answer) {
    fmt::print("node {}\n\n", word(answer, "node"));
    Table table({"KEY", "VALUE", "FROM"});
    for (const json& one : answer["settings"])
      table.row({word(one, "key"), word(one, "value"), word(one, "source")},
                {{2, one["source"] == "default" ? Tint::dim : Tint::bold}});
    fmt::print("{}", table.text(context.colours(), terminal_width()));
  });
}

}  // namespace

void add_config(CLI::App& app, Context& context) {
  CLI::App* const group = app.add_subcommand("config", "settings")->require_subcommand(1);
  const auto name = std::make_shared<std::string>();
  CLI::App* const checks =
      group->add_subcommand("check", "reads a file and the variables; 78 if something is wrong");
  checks->add_option("FILE", *name, "JSON; else CATGA_CONFIG or /etc/catga/catga.json");
  checks->callback([&context, name] { check(context, *name); });
  CLI::App* const shows =
      group->add_subcommand("show", "what a node runs with, and where it was set");
  shows->add_option("--node", *name, "of this node; else of any");
  shows->callback([&context, name] { show(context, *name); });
  group->add_subcommand("vars", "every setting there is")->callback([&context] { vars(context); });
}

}  // namespace catga::tool
