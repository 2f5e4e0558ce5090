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

std::string bash(const Words& words) {
  std::string cases;
  for (const auto& [path, here] : words)
    cases += fmt::format("    '{}') words='{}' ;;\n", path, joined(here));
  return "# catga completion bash > /etc/bash_completion.d/catga\n"
         "_catga() {\n"
         "  local path='' word words='' i\n"
         "  for ((i = 1; i < COMP_CWORD; i++)); do\n"
         "    word=${COMP_WORDS[i]}\n"
         "    [[ $word == -* ]] || path=\"${path:+$path }$word\"\n"
         "  done\n"
         "  case $path in\n" +
         cases +
         "  esac\n"
         "  COMPREPLY=($(compgen -W \"$words\" -- \"${COMP_WORDS[COMP_CWORD]}\"))\n"
         "}\n"
         "complete -o default -F _catga catga\n";
}

std::string zsh(const Words& words) {
  std::string cases;
  for (const auto& [path, here] : words)
    cases += fmt::format("    '{}') offer=({}) ;;\n", path, joined(here));
  return "#compdef catga\n"
         "# catga completion zsh > \"${fpath[1]}/_catga\"\n"
         "_catga() {\n"
         "  local -a offer taken\n"
         "  taken=(${words[2,CURRENT-1]:#-*})\n"
         "  case \"$taken\" in\n" +
         cases +
         "  esac\n"
         "  compadd -- $offer\n"
         "}\n"
         "compdef _catga catga\n";
}

std::string fish(const Words& words) {
  std::string lines =
      "# catga completion fish > ~/.config/fish/completions/catga.fish\n"
      "function __catga_at\n"
      "  set -l taken (string match -v -- '-*' (commandline -opc)[2..])\n"
      "  test \"$taken\" = \"$argv[1]\"\n"
      "end\n";
  for (const auto& [path, here] : words)
    lines +=
        fmt::format("complete -c catga -f -n \"__catga_at '{}'\" -a '{}'\n", path, joined(here));
  return lines;
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
