// catga top: the cluster at a glance, once a second, until q.
#include "catga/runtime/tool/events.hpp"

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <poll.h>
#include <termios.h>
#include <unistd.h>

#include <deque>

namespace catga::tool {

namespace {

constexpr std::size_t events_shown = 8;

/// Keys come one by one and are not shown; the screen before comes back at the end.
class RawTerminal {
 public:
  RawTerminal() {
    tcgetattr(STDIN_FILENO, &before_);
    termios raw = before_;
    raw.c_lflag &= ~static_cast<tcflag_t>(ICANON | ECHO | ISIG);
    tcsetattr(STDIN_FILENO, TCSANOW, &raw);
    fmt::print("\x1b[?1049h\x1b[?25l");
  }
  ~RawTerminal() {
    fmt::print("\x1b[?25h\x1b[?1049l");
    std::fflush(stdout);
    tcsetattr(STDIN_FILENO, TCSANOW, &before_);
  }
  RawTerminal(const RawTerminal&) = delete;
  RawTerminal& operator=(const RawTerminal&) = delete;

 private:
  termios before_{};
};

/// Ctrl-C is a key here.
bool wants_to_end(int wait_ms) {
  pollfd keys{STDIN_FILENO, POLLIN, 0};
  if (poll(&keys, 1, wait_ms) <= 0) return false;
  char key = 0;
  return read(STDIN_FILENO, &key, 1) != 1 || key == 'q' || key == 'Q' || key == 3;
}

std::string bar(double share, std::size_t width) {
  const auto full = static_cast<std::size_t>(share * static_cast<double>(width) + 0.5);
  std::string text;
  for (std::size_t i = 0; i < width; ++i) text += i < full ? "█" : "░";
  return text;
}

std::string head_of(const json& cluster, bool colours) {
  const json& shards = cluster["shards"];
  const std::string state = cluster["settled"].get<bool>()
                                ? tinted("settled", Tint::green, colours)
                                : tinted("moving", Tint::yellow, colours);
  return fmt::format("{}  {} of {} nodes  shards {}/{} {}  {} entities  {} msg/s\n",
                     tinted("catga " + word(cluster, "cluster"), Tint::bold, colours),
                     word(cluster, "answered"), word(cluster, "asked"), word(shards, "serving"),
                     word(shards, "configured"), state, word(cluster, "entities"),
                     word(cluster, "messages_per_s"));
}

std::string nodes_of(const json& cluster, bool colours, std::size_t width) {
  Table table({"NODE", "STATE", "SHARDS", "", "ENTITIES", "MSG/S", "MEMORY", "UPTIME"});
  const double all = cluster["shards"]["configured"].get<double>();
  for (const json& node : cluster["nodes"]) {
    const bool answered = node["answered"].get<bool>();
    const double serving = answered ? node["shards"]["serving"].get<double>() : 0;
    table.row(
        {word(node, "id"), answered ? word(node, "state") : "silent",
         answered ? fmt::format("{:.0f}/{}", serving, word(node, "wanted")) : "-",
         bar(serving / all, 12), word(node, "entities"), word(node, "messages_per_s"),
         answered ? short_number(node["memory_bytes"].get<double>() / (1 << 20)) + " MiB" : "-",
         answered ? duration_text(node["uptime_s"].get<std::int64_t>()) : "-"},
        {{1, !answered               ? Tint::red
             : node["state"] == "UP" ? Tint::green
                                     : Tint::yellow},
         {3, Tint::cyan}});
  }
  return table.text(colours, width);
}

std::string last_rebalance(const json& rebalances) {
  if (rebalances.empty()) return "no rebalance yet\n";
  const json& last = rebalances.front();
  return fmt::format("{} {}: {} moved, {} left, {} failed, worst pause {} ms, {}\n",
                     last["running"].get<bool>() ? "rebalance runs, " : "last rebalance, ",
                     word(last, "reason"), word(last, "moved"), word(last, "pending"),
                     word(last, "failed"), word(last, "pause_ms_max"),
                     time_text(last["began_ms"].get<std::int64_t>()));
}

std::string frame(Context& context, const std::deque<std::string>& events) {
  const bool colours = context.colours();
  const json cluster = context.get("cluster"), rebalances = context.get("rebalances"),
             hot = context.get("hot");
  std::string text = head_of(cluster, colours) + '\n' +
                     nodes_of(cluster, colours, terminal_width()) + '\n' +
                     last_rebalance(rebalances["rebalances"]);
  if (!hot["entities"].empty()) {
    Table table({"BUSY ENTITY", "NODE", "MESSAGES", "WAITING"});
    for (std::size_t i = 0; i < std::min<std::size_t>(5, hot["entities"].size()); ++i) {
      const json& entity = hot["entities"][i];
      table.row({word(entity, "kind") + "/" + word(entity, "key"), word(entity, "node"),
                 word(entity, "messages"), word(entity, "waiting")});
    }
    text += '\n' + table.text(colours, terminal_width());
  }
  if (!events.empty()) text += '\n';
  for (const std::string& event : events) text += event.substr(0, 400) + '\n';
  return text;
}

/// Every line ends by wiping what an earlier frame left behind it.
std::string over_the_last(const std::string& text) {
  std::string out = "\x1b[H";
  for (const char c : text) {
    if (c == '\n') out += "\x1b[K\r";
    out += c;
  }
  return out + "\x1b[J";
}

void live(Context& context) {
  EventStream stream(context);
  std::deque<std::string> events;
  const RawTerminal terminal;
  do {
    for (const json& event : stream.wait(std::chrono::milliseconds(0))) {
      events.push_back(event_line(event, context.colours()));
      if (events.size() > events_shown) events.pop_front();
    }
    std::string text;
    try {
      text = frame(context, events);
    } catch (const Ended& trouble) {  // the cluster may come back
      text = trouble.words + '\n';
    }
    fmt::print("{}", over_the_last(text + "\nq ends"));
    std::fflush(stdout);
  } while (!wants_to_end(1000));
}

}  // namespace

void add_top(CLI::App& app, Context& context) {
  app.add_subcommand("top", "nodes, rates and moves, once a second; q ends")->callback([&context] {
    context.nats();
    if (context.options.as_json) return context.print(context.get("cluster"), [](const json&) {});
    if (context.terminal() && isatty(STDIN_FILENO) != 0) return live(context);
    fmt::print("{}", frame(context, {}));
  });
}

}  // namespace catga::tool
