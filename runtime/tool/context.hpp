// What all commands of `catga` share: how they reach the cluster, print, and end.
#pragma once
#include "catga/runtime/admin/request.hpp"
#include "catga/runtime/config.hpp"
#include "catga/runtime/messaging/nats.hpp"
#include "catga/sharding/result.hpp"

#include <nlohmann/json.hpp>

#include <chrono>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace catga::tool {

using nlohmann::json;
using Query = std::map<std::string, std::string>;

/// Exit codes; the same as those of nodes.
enum Exit : int {
  done = 0,
  failed = 1,
  wrong_usage = 2,
  unreachable = 69,
  internal = 70,
  misconfigured = 78
};

/// The options every command has.
struct Options {
  std::string nats;      ///< empty: CATGA_NATS_URLS, NATS_URL, or the default
  std::string cluster;   ///< empty: CATGA_CLUSTER_NAME, or catga
  double timeout_s = 0;  ///< 0: not given, then 5, or what the command says
  bool as_json = false, no_color = false, dry_run = false, yes = false;
};

/// Ends a command: thrown by what cannot go on, caught by main. The tool is one command and then over, so this spares
/// every line a check; nothing of it is in the library.
struct Ended {
  int code = failed;
  std::string words;  ///< to standard error
};

class Context {
 public:
  Options options;
  int code = done;  ///< of the process

  /// Settings of the connection: flags over variables over the file. Ends with 78 if they are wrong.
  const Config& config();
  /// Connects on first use. Ends with 69 if no server can be reached.
  NatsConnection& nats();
  std::string prefix() { return "catga." + config().cluster.name + '.'; }
  std::chrono::milliseconds patience() const;

  /// Asks a node for its answer's body; `node` empty: any. Ends with 69 if none listens, with 1 at an error.
  json get(const std::string& path, Query query = {}, const std::string& node = "");
  json post(const std::string& path, Query query = {}, json body = json::object(),
            const std::string& node = "");
  /// The same, with the answer as it is. Ends only if no node can be reached.
  admin::Answer ask(const admin::Request& request, const std::string& node = "");

  // ---- what is printed ----
  bool terminal() const;  ///< standard output is one
  bool colours() const;
  /// With --json: one object {"api","server","data"} and asked, answered, missing if `data` has them. Else `show`.
  void print(json data, const std::function<void(const json&)>& show);
  /// Says on standard error which nodes did not answer.
  void warn_missing(const json& answer) const;

  // ---- before something is changed ----
  /// False with --dry-run: what would happen was said, and nothing is to be done. Asks on a terminal; off one it ends
  /// with 2 unless --yes was given.
  bool may(const std::string& deed);

 private:
  std::optional<Config> config_;
  std::optional<NatsConnection> nats_;
};

/// Words of a terminal's colour, or nothing.
enum class Tint { plain, dim, bold, green, yellow, red, cyan };
std::string tinted(const std::string& text, Tint tint, bool colours);

/// Columns as wide as their content. The last line has a newline.
class Table {
 public:
  explicit Table(std::vector<std::string> heads) { rows_.push_back({std::move(heads), {}}); }
  void row(std::vector<std::string> cells, std::map<std::size_t, Tint> tints = {}) {
    rows_.push_back({std::move(cells), std::move(tints)});
  }
  std::size_t rows() const { return rows_.size() - 1; }
  /// `width` 0: unbounded; longer lines are cut.
  std::string text(bool colours, std::size_t width = 0) const;

 private:
  struct Row {
    std::vector<std::string> cells;
    std::map<std::size_t, Tint> tints;
  };
  std::vector<Row> rows_;
};

/// For cells: a text as it is, numbers as digits, null as "-".
std::string word(const json& object, const char* name);
/// 1234567 → "1.2M"; 0.25 → "0.2".
std::string short_number(double number);
/// 93784 → "1d 2h".
std::string duration_text(std::int64_t seconds);
/// Local time of a moment.
std::string time_text(std::int64_t unix_ms);
/// Columns of the terminal; 0 if it is none.
std::size_t terminal_width();
/// "account/alice" → kind and key. Ends with 2 if it is not that.
std::pair<std::string, std::string> entity_named(const std::string& text);
/// What stands in `text`, in standard input if it is "-". Ends with 2 if it is not JSON.
std::string json_argument(const std::string& text);

// The groups of commands, a file each. Every one adds its subcommands to `app`.
void add_cluster(CLI::App& app, Context& context);
void add_node(CLI::App& app, Context& context);
void add_shard(CLI::App& app, Context& context);
void add_entity(CLI::App& app, Context& context);
void add_saga(CLI::App& app, Context& context);
void add_deadletter(CLI::App& app, Context& context);
void add_events(CLI::App& app, Context& context);
void add_rebalance(CLI::App& app, Context& context);
void add_top(CLI::App& app, Context& context);
void add_bench(CLI::App& app, Context& context);
void add_config(CLI::App& app, Context& context);
void add_completion(CLI::App& app, Context& context);
void add_up(CLI::App& app, Context& context);

}  // namespace catga::tool
