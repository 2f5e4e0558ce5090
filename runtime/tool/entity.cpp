// catga entity: where one is, and a word with it.
#include "catga/runtime/tool/context.hpp"

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <memory>

namespace catga::tool {

namespace {

struct Wanted {
  std::string entity, kind, message, body, operation;
  std::size_t limit = 50, seconds = 60;
};

Query named(const Wanted& wanted) {
  const auto [kind, key] = entity_named(wanted.entity);
  return {{"kind", kind}, {"key", key}};
}

void show_one(const json& answer) {
  const json& entity = answer["entity"];
  fmt::print("entity     {}/{}\n", word(entity, "kind"), word(entity, "key"));
  fmt::print("shard      {} at {}, epoch {}\n", word(entity, "shard"), word(entity, "node"),
             word(entity, "epoch"));
  const std::string shown = entity.value("shown", "");
  if (!shown.empty() && shown != word(entity, "key"))
    fmt::print("in the log {}\n", shown);  // telemetry.entity_keys
  if (!entity["active"].get<bool>())
    return fmt::print("in memory  no: the next message loads it\n");
  fmt::print("in memory  yes{}\n",
             entity["leaving"].get<bool>() ? ", leaving: its shard moves" : "");
  fmt::print("mailbox    {} waiting, {} since it was loaded, idle for {} ms\n",
             word(entity, "waiting"), word(entity, "messages"), word(entity, "idle_ms"));
}

void show_list(Context& context, const json& answer) {
  Table table({"ENTITY", "SHARD", "NODE", "WAITING", "MESSAGES", "IDLE"});
  for (const json& entity : answer["entities"])
    table.row({word(entity, "kind") + "/" + word(entity, "key"), word(entity, "shard"),
               word(entity, "node"), word(entity, "waiting"), word(entity, "messages"),
               duration_text(entity["idle_ms"].get<std::int64_t>() / 1000)});
  fmt::print("{}", table.text(context.colours(), terminal_width()));
  if (answer["more"].get<bool>()) fmt::print(stderr, "there are more: --limit N, up to 500\n");
}

/// Any node carries it to the owner.
void call(Context& context, const Wanted& wanted) {
  const auto [kind, key] = entity_named(wanted.entity);
  const std::string body = json_argument(wanted.body);
  Query query{{"kind", kind},
              {"key", key},
              {"message", wanted.message},
              {"timeout_ms", std::to_string(context.patience().count())}};
  if (!wanted.operation.empty()) query["id"] = wanted.operation;
  if (context.options.dry_run)
    return fmt::print(stderr, "would send {} {} to {}; nothing was sent\n", wanted.message, body,
                      wanted.entity);
  context.print(context.post("entity/ask", query, body),
                [](const json& answer) { fmt::print("{}\n", answer["reply"].dump()); });
}

void add_call(CLI::App& group, Context& context, const std::shared_ptr<Wanted>& wanted) {
  CLI::App* const command = group.add_subcommand("call", "sends a message and prints the reply");
  command->add_option("ENTITY", wanted->entity, "KIND/KEY, such as account/alice")->required();
  command->add_option("MESSAGE", wanted->message, "its name, such as Deposit")->required();
  command->add_option("JSON", wanted->body, "its fields; - reads standard input");
  command->add_option("--id", wanted->operation,
                      "makes it safe to repeat: the same id is carried out once");
  command->callback([&context, wanted] { call(context, *wanted); });
}

}  // namespace

void add_entity(CLI::App& app, Context& context) {
  CLI::App* const group =
      app.add_subcommand("entity", "one entity, or some")->require_subcommand(1);
  const auto wanted = std::make_shared<Wanted>();
  const auto show = [&context, wanted] {
    context.print(context.get("entity", named(*wanted)), show_one);
  };
  const auto about_one = [&](const char* name, const char* help) {
    CLI::App* const command = group->add_subcommand(name, help);
    command->add_option("ENTITY", wanted->entity, "KIND/KEY, such as account/alice")->required();
    return command;
  };
  about_one("locate", "shard and owner, of sleeping ones too")->callback([&context, wanted] {
    context.print(context.get("entity", named(*wanted)), [](const json& answer) {
      const json& entity = answer["entity"];
      fmt::print("shard {} at {}, epoch {}\n", word(entity, "shard"), word(entity, "node"),
                 word(entity, "epoch"));
    });
  });
  about_one("show", "the same, and its mailbox")->callback(show);
  about_one("passivate", "it leaves memory, if nothing waits for it")->callback([&context, wanted] {
    if (!context.may("have " + wanted->entity + " leave memory")) return;
    const json answer = context.post("entity/passivate", named(*wanted));
    context.print(answer, [](const json& said) {
      fmt::print("{}\n",
                 said["passivated"].get<bool>() ? "it leaves" : "it is not in memory, or busy");
    });
  });
  CLI::App* const trace = about_one("trace", "every turn of it leaves a trace, for a while");
  trace->add_option("--for", wanted->seconds, "seconds [60]")->check(CLI::Range(1, 3600));
  trace->callback([&context, wanted] {
    if (!context.may("trace every turn of " + wanted->entity)) return;
    Query query = named(*wanted);
    query["for_s"] = std::to_string(wanted->seconds);
    context.print(context.post("entity/trace", query), [](const json& said) {
      fmt::print("traced at {} for {} s\n", word(said, "node"), word(said, "for_s"));
    });
  });
  CLI::App* const list = group->add_subcommand("list", "some of those in memory");
  list->add_option("KIND", wanted->kind, "only of this kind");
  list->add_option("--limit", wanted->limit, "so many [50]")->check(CLI::Range(1, 500));
  list->callback([&context, wanted] {
    context.print(
        context.get("entities", {{"kind", wanted->kind}, {"limit", std::to_string(wanted->limit)}}),
        [&](const json& answer) { show_list(context, answer); });
  });
  group->add_subcommand("kinds", "which there are, with their messages")->callback([&context] {
    context.print(context.get("kinds"), [&](const json& answer) {
      Table table({"KIND", "IN MEMORY", "MESSAGES"});
      for (const json& kind : answer["kinds"]) {
        std::string names;
        for (const json& message : kind["messages"])
          names += (names.empty() ? "" : ", ") + word(message, "name") +
                   (message["query"].get<bool>() ? "?" : "");
        table.row({word(kind, "name"), word(kind, "entities"), names});
      }
      fmt::print("{}", table.text(context.colours(), terminal_width()));
    });
  });
  group->add_subcommand("hot", "the busiest shards and entities")->callback([&context] {
    context.print(context.get("hot"), [&](const json& answer) {
      Table shards({"SHARD", "NODE", "MSG/S", "SHARE"});
      for (const json& shard : answer["shards"])
        shards.row({word(shard, "id"), word(shard, "node"), word(shard, "messages_per_s"),
                    fmt::format("{:.1f}%", 100 * shard["share"].get<double>())});
      fmt::print("{}\n", shards.text(context.colours(), terminal_width()));
      show_list(context, {{"entities", answer["entities"]}, {"more", false}});
    });
  });
  add_call(*group, context, wanted);
}

}  // namespace catga::tool
