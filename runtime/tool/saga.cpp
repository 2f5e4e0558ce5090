// catga saga: which run, how far they are, and what to do with one that is stuck.
#include "catga/runtime/tool/context.hpp"

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <memory>

namespace catga::tool {

namespace {

struct Wanted {
  std::string id, type, status, reason, step, payload;
  double older_than_s = 0;
  std::size_t limit = 50;
};

Tint tint_of(const std::string& status) {
  if (status == "parked" || status == "aborted") return Tint::red;
  if (status == "compensating" || status == "compensated") return Tint::yellow;
  return status == "completed" ? Tint::green : Tint::plain;
}

void show_list(Context& context, const json& answer) {
  Table table({"SAGA", "STATUS", "CAUSE", "VERSION", "STARTED"});
  for (const json& saga : answer["sagas"])
    table.row(
        {word(saga, "type") + "/" + word(saga, "id"), word(saga, "status"), word(saga, "cause"),
         word(saga, "version"), time_text(saga["created_ms"].get<std::int64_t>())},
        {{1, tint_of(word(saga, "status"))}});
  fmt::print("{}", table.text(context.colours(), terminal_width()));
  if (answer["more"].get<bool>()) fmt::print(stderr, "there are more: --limit N, up to 500\n");
}

void show_one(Context& context, const json& answer) {
  const json& saga = answer["saga"];
  const bool colours = context.colours();
  fmt::print("saga       {}/{}, version {}\n", word(saga, "type"), word(saga, "id"),
             word(saga, "version"));
  fmt::print("status     {}", tinted(word(saga, "status"), tint_of(word(saga, "status")), colours));
  if (!word(saga, "cause").empty())
    fmt::print(", {} at step {}", word(saga, "cause"), word(saga, "step"));
  fmt::print("\n");
  if (!word(saga, "text").empty()) fmt::print("why        {}\n", word(saga, "text"));
  fmt::print("started    {}, last change {}\n\n", time_text(saga["created_ms"].get<std::int64_t>()),
             time_text(saga["updated_ms"].get<std::int64_t>()));
  Table table({"WHEN", "WHAT", "STEP", "BY", "NOTE"});
  for (const json& entry : answer["journal"])
    table.row({time_text(entry["at_ms"].get<std::int64_t>()), word(entry, "kind"),
               word(entry, "step"), word(entry, "by"), word(entry, "note")});
  fmt::print("{}", table.text(colours, terminal_width()));
}

void verb(Context& context, const Wanted& wanted, const std::string& name) {
  json body{{"reason", wanted.reason}, {"step", wanted.step}};
  if (!wanted.payload.empty()) body["payload"] = json::parse(json_argument(wanted.payload));
  if (!context.may(name + " saga " + wanted.id)) return;
  const json answer =
      context.post("sagas/" + wanted.id + "/" + name, {{"type", wanted.type}}, body);
  context.print(answer, [&](const json& said) {
    fmt::print("{} of saga {}/{} is written into its journal\n", name, word(said, "type"),
               word(said, "id"));
  });
}

}  // namespace

void add_saga(CLI::App& app, Context& context) {
  CLI::App* const group =
      app.add_subcommand("saga", "sagas, and what to do with a stuck one")->require_subcommand(1);
  const auto wanted = std::make_shared<Wanted>();
  CLI::App* const list =
      group->add_subcommand("list", "those that have not ended, or of one status");
  list->add_option("--status", wanted->status, "only these")
      ->check(CLI::IsMember(
          {"running", "compensating", "parked", "stuck", "completed", "compensated", "aborted"}));
  list->add_option("--type", wanted->type, "only of this type");
  list->add_option("--older-than", wanted->older_than_s, "started so many seconds ago at least");
  list->add_option("--limit", wanted->limit, "so many [50]")->check(CLI::Range(1, 500));
  list->callback([&context, wanted] {
    const auto older = std::to_string(static_cast<std::int64_t>(wanted->older_than_s * 1000));
    context.print(context.get("sagas", {{"status", wanted->status},
                                        {"type", wanted->type},
                                        {"older_than_ms", older},
                                        {"limit", std::to_string(wanted->limit)}}),
                  [&](const json& answer) { show_list(context, answer); });
  });
  const auto about_one = [&](const char* name, const char* help) {
    CLI::App* const command = group->add_subcommand(name, help);
    command->add_option("ID", wanted->id, "its id")->required();
    command->add_option("--type", wanted->type, "its type; else all that are hosted are tried");
    return command;
  };
  about_one("show", "its steps and its journal")->callback([&context, wanted] {
    context.print(context.get("sagas/" + wanted->id, {{"type", wanted->type}}),
                  [&](const json& answer) { show_one(context, answer); });
  });
  const std::vector<std::pair<const char*, const char*>> verbs{
      {"retry", "runs the stuck step again"},
      {"skip", "takes the stuck undo as done"},
      {"replace", "runs the stuck step with another message (--payload)"},
      {"force", "takes the stuck step as done with a reply (--payload)"},
      {"cancel", "makes it go back"},
      {"abort", "stops it as it is; nothing is undone"}};
  for (const auto& [name, help] : verbs) {
    CLI::App* const command = about_one(name, help);
    command->add_option("--reason", wanted->reason, "why; it is written into the journal")
        ->required();
    command->add_option("--step", wanted->step, "only if this step is the stuck one");
    command->add_option("--payload", wanted->payload, "JSON; - reads standard input");
    command->callback(
        [&context, wanted, name = std::string(name)] { verb(context, *wanted, name); });
  }
}

}  // namespace catga::tool
