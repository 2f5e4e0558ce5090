// catga events: what happens in the cluster, as it happens.
#include "catga/runtime/tool/events.hpp"

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <csignal>
#include <memory>

namespace catga::tool {

namespace {

/// Of an event, what stands at the head of its line or is of no use to people.
bool shown_elsewhere(const std::string& name) {
  static const std::vector<std::string> names{"timestamp",
                                              "severity",
                                              "message",
                                              "logger",
                                              "event.name",
                                              "time",
                                              "catga.cluster.name",
                                              "catga.node.id",
                                              "catga.node.incarnation",
                                              "catga.event.id",
                                              "catga.view.version",
                                              "trace_id",
                                              "span_id"};
  return std::ranges::find(names, name) != names.end();
}

std::string short_name(std::string name) {
  for (const std::string_view prefix : {"catga.shard.", "catga.rebalance.", "catga.node.",
                                        "catga.entity.", "catga.saga.", "catga."})
    if (name.starts_with(prefix)) return name.substr(prefix.size());
  return name;
}

Tint tint_of(const json& event) {
  const std::string severity = word(event, "severity");
  if (severity == "ERROR" || severity == "error") return Tint::red;
  return severity == "WARN" || severity == "warn" ? Tint::yellow : Tint::cyan;
}

std::string clock_of(const json& event) {
  const std::string stamp = word(event, "timestamp");  // 2026-03-01T12:00:00.101234Z
  const auto t = stamp.find('T');
  return t == stamp.npos ? stamp : stamp.substr(t + 1, 12);
}

bool matches(const std::string& pattern, const std::string& name) {
  if (pattern.empty()) return true;
  if (pattern.ends_with('*')) return name.starts_with(pattern.substr(0, pattern.size() - 1));
  return name == pattern;
}

}  // namespace

std::string event_line(const json& event, bool colours) {
  std::string name = word(event, "event.name");
  if (name.starts_with("catga.")) name = name.substr(6);
  std::string line = fmt::format("{}  {}  {}", clock_of(event),
                                 tinted(fmt::format("{:<24}", name), tint_of(event), colours),
                                 word(event, "catga.node.id"));
  if (word(event, "message") != "-") line += "  " + word(event, "message");
  std::string rest;
  for (const auto& [field, value] : event.items())
    if (!shown_elsewhere(field))
      rest += ' ' + short_name(field) + '=' +
              (value.is_string() ? value.get<std::string>() : value.dump());
  return rest.empty() ? line : line + tinted(" " + rest, Tint::dim, colours);
}

EventStream::EventStream(Context& context) {
  Result<NatsSubscription> subscription =
      context.nats().subscribe(context.prefix() + "events", "", [this](const NatsMessage& message) {
        json batch = json::parse(body_of(*message), nullptr, false);
        const std::lock_guard guard(lock_);
        if (batch.is_object()) events_.push_back(std::move(batch));
        if (batch.is_array())
          for (json& event : batch)
            if (event.is_object()) events_.push_back(std::move(event));
        came_.notify_all();
      });
  if (!subscription.ok()) throw Ended{unreachable, subscription.error().text};
  subscription_ = std::move(*subscription);
  (void)context.nats().flush(context.patience());
}

std::vector<json> EventStream::wait(std::chrono::milliseconds patience) {
  std::unique_lock guard(lock_);
  came_.wait_for(guard, patience, [this] { return !events_.empty(); });
  return std::exchange(events_, {});
}

namespace {

volatile std::sig_atomic_t interrupted = 0;

void watch_interrupts() {
  std::signal(SIGINT, [](int) { interrupted = 1; });
  std::signal(SIGTERM, [](int) { interrupted = 1; });
}

}  // namespace

void follow_events(Context& context, const std::string& pattern, double seconds) {
  watch_interrupts();
  EventStream stream(context);
  const auto until = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
  while (interrupted == 0 && (seconds <= 0 || std::chrono::steady_clock::now() < until)) {
    for (const json& event : stream.wait(std::chrono::milliseconds(100))) {
      if (!matches(pattern, word(event, "event.name"))) continue;
      if (context.options.as_json)
        fmt::print("{}\n", event.dump(-1, ' ', false, json::error_handler_t::replace));
      else
        fmt::print("{}\n", event_line(event, context.colours()));
      std::fflush(stdout);
    }
  }
}

void add_events(CLI::App& app, Context& context) {
  CLI::App* const command = app.add_subcommand("events", "what happens in the cluster, live");
  struct Wanted {
    std::string name;
    bool follow = false;
    double seconds = 0;
  };
  const auto wanted = std::make_shared<Wanted>();
  command->add_flag("--follow,-f", wanted->follow, "until Ctrl-C, which is what it does anyway");
  command->add_option("--name", wanted->name, "only these, such as catga.shard.*");
  command->add_option("--for", wanted->seconds, "end after so many seconds");
  command->callback([&context, wanted] { follow_events(context, wanted->name, wanted->seconds); });
}

}  // namespace catga::tool
