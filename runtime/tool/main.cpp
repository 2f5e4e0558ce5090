// `catga`: looks at a running cluster and carries out what operators want, over NATS.
#include "catga/runtime/tool/context.hpp"

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <exception>
#include <vector>

namespace {

using namespace catga::tool;

std::size_t distance(const std::string& a, const std::string& b) {
  std::vector<std::size_t> row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t changed = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, changed});
    }
  }
  return row.back();
}

/// The command that was being read when it went wrong.
const CLI::App* deepest(const CLI::App* app) {
  const auto chosen = app->get_subcommands();
  return chosen.empty() ? app : deepest(chosen.front());
}

std::vector<std::string> words_of(const CLI::App* app) {
  std::vector<std::string> words;
  for (const CLI::App* one : app->get_subcommands([](const CLI::App*) { return true; }))
    words.push_back(one->get_name());
  for (const CLI::App* at = app; at != nullptr; at = at->get_parent())
    for (const CLI::Option* option : at->get_options())
      for (const std::string& name : option->get_lnames()) words.push_back("--" + name);
  return words;
}

std::string suggestion(const std::string& wrong, const CLI::App* app) {
  std::string best;
  std::size_t least = wrong.size() / 3 + 2;
  for (const std::string& known : words_of(app)) {
    const std::size_t away =
        wrong.size() > 64 ? least : distance(wrong.substr(0, wrong.find('=')), known);
    if (away >= least) continue;
    least = away;
    best = known;
  }
  return best.empty() ? "" : "; did you mean " + best + "?";
}

std::string path_of(const CLI::App* app) {
  return app->get_parent() == nullptr ? app->get_name()
                                      : path_of(app->get_parent()) + ' ' + app->get_name();
}

int wrong(const CLI::App& app, const CLI::ParseError& trouble) {
  const CLI::App* const at = deepest(&app);
  const auto extras = app.remaining(true);
  const bool unknown = !extras.empty();
  const bool no_command = extras.empty() &&
                          dynamic_cast<const CLI::RequiredError*>(&trouble) != nullptr &&
                          !at->get_subcommands([](const CLI::App*) { return true; }).empty();
  if (unknown) {
    const std::string& first = extras.front();
    fmt::print(stderr, "unknown {} \"{}\"{}\n",
               first.starts_with("-") ? "flag" : "command or argument", first,
               suggestion(first, at));
  } else if (no_command) {
    std::string names;
    for (const CLI::App* one : at->get_subcommands([](const CLI::App*) { return true; }))
      names += (names.empty() ? "" : ", ") + one->get_name();
    fmt::print(stderr, "{} needs a command: {}\n", path_of(at), names);
  } else {
    fmt::print(stderr, "{}\n", trouble.what());
  }
  fmt::print(stderr, "{} --help lists what there is\n", path_of(at));
  return wrong_usage;
}

void add_common_options(CLI::App& app, Options& options) {
  app.add_option("--nats", options.nats,
                 "NATS server [CATGA_NATS_URLS, NATS_URL, nats://127.0.0.1:4222]");
  app.add_option("--cluster", options.cluster, "name of the cluster [CATGA_CLUSTER_NAME, catga]");
  app.add_option("--timeout", options.timeout_s, "seconds to wait for an answer [5]")
      ->check(CLI::Range(0.05, 3600.0));
  app.add_flag("--json", options.as_json, "print JSON instead of tables");
  app.add_flag("--dry-run", options.dry_run, "say what would be changed, and change nothing");
  app.add_flag("--yes,-y", options.yes, "change it without asking");
  app.add_flag("--no-color", options.no_color, "no colours (also NO_COLOR)");
}

int run(int argc, char** argv) {
  CLI::App app(
      "Looks at a running Catga cluster, and helps it. Needs a NATS server's URL, nothing else.",
      "catga");
  Context context;
  app.fallthrough();
  app.require_subcommand(1);
  add_common_options(app, context.options);
  for (const auto add :
       {add_cluster, add_node, add_shard, add_entity, add_saga, add_deadletter, add_events,
        add_rebalance, add_top, add_bench, add_config, add_up, add_completion})
    add(app, context);
  app.add_subcommand("version", "the version of this program")->callback([] {
    fmt::print("catga {}\n", CATGA_VERSION);
  });
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp& help) {
    return app.exit(help);
  } catch (const CLI::CallForAllHelp& help) {
    return app.exit(help);
  } catch (const CLI::ParseError& trouble) {
    return wrong(app, trouble);
  } catch (const Ended& ended) {
    if (!ended.words.empty()) fmt::print(stderr, "{}\n", ended.words);
    return ended.code;
  }
  return context.code;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(argc, argv);
  } catch (const std::exception& bug) {
    fmt::print(stderr, "catga broke, which is a defect of it: {}\n", bug.what());
    return internal;
  }
}
