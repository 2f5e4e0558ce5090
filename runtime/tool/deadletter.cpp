// catga deadletter: tells, timers and events that could not be delivered or handled, and what to do with them.
#include "catga/runtime/tool/context.hpp"

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <memory>

namespace catga::tool {

namespace {

struct Wanted {
  std::string source, subscription;
  bool renew = false;
};

std::string source_of(const json& one) { return word(one, "kind") + "/" + word(one, "key"); }

void show_list(Context& context, const json& answer) {
  Table table({"SOURCE", "OF", "LETTERS", "SINCE"});
  for (const json& one : answer["sequences"])
    table.row({source_of(one), one["subscription"].is_null() ? "tells" : word(one, "subscription"),
               word(one, "length"), time_text(one["since_ms"].get<std::int64_t>())});
  fmt::print("{}", table.text(context.colours(), terminal_width()));
}

void show_one(Context& context, const json& answer) {
  Table table({"MADE", "MESSAGE", "TO", "ATTEMPTS", "WHY"});
  for (const json& letter : answer["letters"])
    table.row({time_text(letter["at"].get<std::int64_t>()), word(letter, "event"),
               letter.contains("target") ? word(letter, "target") : "", word(letter, "attempts"),
               word(letter, "why")});
  fmt::print("{}", table.text(context.colours(), terminal_width()));
}

Query query_of(const Wanted& wanted) {
  const auto [kind, key] = entity_named(wanted.source);
  Query query{{"kind", kind}, {"key", key}, {"subscription", wanted.subscription}};
  if (wanted.renew) query["renew"] = "true";
  return query;
}

}  // namespace

void add_deadletter(CLI::App& app, Context& context) {
  CLI::App* const group =
      app.add_subcommand("deadletter", "tells, timers and events that were given up")
          ->require_subcommand(1);
  const auto wanted = std::make_shared<Wanted>();
  group->add_subcommand("list", "who has some")->callback([&context] {
    context.print(context.get("deadletters"),
                  [&](const json& answer) { show_list(context, answer); });
  });
  const auto about_one = [&](const char* name, const char* help) {
    CLI::App* const command = group->add_subcommand(name, help);
    command->add_option("SOURCE", wanted->source, "the entity that told or published: KIND/KEY")
        ->required();
    command->add_option("--subscription", wanted->subscription,
                        "events of this one, of a broadcast NAME-NODE; else tells");
    return command;
  };
  about_one("show", "the letters of one source, and why each was given up")
      ->callback([&context, wanted] {
        context.print(context.get("deadletters/one", query_of(*wanted)),
                      [&](const json& answer) { show_one(context, answer); });
      });
  CLI::App* const retry =
      about_one("retry", "sends or handles them again, in order, until one fails");
  retry->add_flag("--renew", wanted->renew,
                  "with today's time: a target that has forgotten whether it did it, does it");
  retry->callback([&context, wanted] {
    if (!context.may("retry the dead letters of " + wanted->source)) return;
    context.print(context.post("deadletters/retry", query_of(*wanted)),
                  [](const json& answer) { fmt::print("{} done\n", word(answer, "done")); });
  });
  about_one("discard", "throws the first one away, for ever")->callback([&context, wanted] {
    if (!context.may("discard the first dead letter of " + wanted->source)) return;
    context.print(context.post("deadletters/discard", query_of(*wanted)),
                  [](const json& answer) { fmt::print("{} left\n", word(answer, "left")); });
  });
}

}  // namespace catga::tool
