// catga completion: what a shell offers at the Tab key, made from the commands themselves.
#include "catga/runtime/tool/context.hpp"

#include <CLI/CLI.hpp>
#include <fmt/format.h>

namespace catga::tool {

namespace {

/// Each command's path ("", "cluster", "cluster nodes") and what may come behind it.
void collect(const CLI::App& app, const std::string& path,
             std::map<std::string, std::vector<std::string>>& words,
             const std::vector<std::string>& inherited) {
  std::vector<std::string> flags = inherited;
  for (const CLI::Option* option : app.get_options())
    for (const std::string& name : option->get_lnames()) flags.push_back("--" + name);
  std::vector<std::string>& here = words[path];
  for (const CLI::App* one : app.get_subcommands([](const CLI::App*) { return true; })) {
    here.push_back(one->get_name());
    collect(*one, path.empty() ? one->get_name() : path + ' ' + one->get_name(), words, flags);
  }
  here.insert(here.end(), flags.begin(), flags.end());
}

std::string joined(const std::vector<std::string>& words) {
  return fmt::format("{}", fmt::join(words, " "));
}

using Words = std::map<std::string, std::vector<std::string>>;

/// A word belongs to the path only if there is such a command: "entity call account/alice" still completes as "entity call",
/// and what follows a flag is its value.
std::string known_paths(const Words& words, std::string_view between) {
  std::vector<std::string> paths;
  for (const auto& [path, ignored] : words)
    if (!path.empty()) paths.push_back("'" + path + "'");
  return fmt::format("{}", fmt::join(paths, between));
}

std::string cases_of(const Words& words, std::string_view form) {
  std::string cases;
  for (const auto& [path, here] : words)
    cases += fmt::format(fmt::runtime(form), path, joined(here));
  return cases;
}

std::string bash(const Words& words) {
  return "# catga completion bash > /etc/bash_completion.d/catga\n"
         "_catga() {\n"
         "  local path='' longer words='' i\n"
         "  for ((i = 1; i < COMP_CWORD; i++)); do\n"
         "    longer=\"${path:+$path }${COMP_WORDS[i]}\"\n"
         "    case $longer in\n"
         "    " +
         known_paths(words, "|") +
         ") path=$longer ;;\n"
         "    esac\n"
         "  done\n"
         "  case $path in\n" +
         cases_of(words, "    '{}') words='{}' ;;\n") +
         "  esac\n"
         "  COMPREPLY=($(compgen -W \"$words\" -- \"${COMP_WORDS[COMP_CWORD]}\"))\n"
         "}\n"
         "complete -o default -F _catga catga\n";
}

std::string zsh(const Words& words) {
  return "#compdef catga\n"
         "# catga completion zsh > \"${fpath[1]}/_catga\"\n"
         "_catga() {\n"
         "  local -a offer\n"
         "  local taken='' longer word\n"
         "  for word in ${words[2,CURRENT-1]}; do\n"
         "    longer=\"${taken:+$taken }$word\"\n"
         "    case \"$longer\" in\n"
         "    " +
         known_paths(words, "|") +
         ") taken=$longer ;;\n"
         "    esac\n"
         "  done\n"
         "  case \"$taken\" in\n" +
         cases_of(words, "    '{}') offer=({}) ;;\n") +
         "  esac\n"
         "  compadd -- $offer\n"
         "}\n"
         "if [ \"$funcstack[1]\" = _catga ]; then _catga; else compdef _catga catga; fi\n";
}

std::string fish(const Words& words) {
  return "# catga completion fish > ~/.config/fish/completions/catga.fish\n"
         "function __catga_at\n"
         "  set -l taken ''\n"
         "  for word in (commandline -opc)[2..]\n"
         "    set -l longer (string trim -- \"$taken $word\")\n"
         "    contains -- \"$longer\" " +
         known_paths(words, " ") +
         "; and set taken \"$longer\"\n"
         "  end\n"
         "  test \"$taken\" = \"$argv[1]\"\n"
         "end\n"
         "complete -c catga -f\n" +
         cases_of(words, "complete -c catga -n \"__catga_at '{}'\" -a '{}'\n");
}

}  // namespace

void add_completion(CLI::App& app, Context&) {
  CLI::App* const group =
      app.add_subcommand("completion", "prints a script for a shell")->require_subcommand(1);
  const auto add = [&app, group](const char* shell, std::string (*write)(const Words&)) {
    group->add_subcommand(shell, std::string("for ") + shell)->callback([&app, write] {
      Words words;
      collect(app, "", words, {});
      fmt::print("{}", write(words));
    });
  };
  add("bash", bash);
  add("zsh", zsh);
  add("fish", fish);
}

}  // namespace catga::tool
