// catga-chaos-check [--tail-may-be-lost] FILE...: judges a history that clients wrote, and says in
// JSON what it found. Exit code 0: good; 1: not; 2: the files cannot be read.
#include "../support/history.hpp"
#include <nlohmann/json.hpp>

#include <fstream>
#include <iostream>
#include <string>
#include <vector>

namespace {

using catga::testing::History;
using catga::testing::Tail;
using catga::testing::Verdict;

catga::Status read_file(const std::string& name, History& into) {
  std::ifstream file(name);
  if (!file) return catga::Error{catga::Code::not_found, name + " cannot be opened"};
  for (std::string line; std::getline(file, line);)
    if (const auto read = catga::testing::read_line(line, into); !read)
      return catga::Error{read.error().code, name + ": " + read.error().text};
  return catga::Done{};
}

nlohmann::json json_of(const Verdict& verdict) {
  return {{"calls", verdict.calls},
          {"acknowledged", verdict.acknowledged},
          {"rejected", verdict.rejected},
          {"refused", verdict.refused},
          {"unknown", verdict.unknown},
          {"lost", verdict.lost},
          {"applied_twice", verdict.applied_twice},
          {"nonlinearizable", verdict.nonlinearizable},
          {"applied_though_refused", verdict.applied_though_refused},
          {"unexplained", verdict.unexplained},
          {"examples", verdict.examples}};
}

}  // namespace

int main(int argc, char** argv) {
  History history;
  Tail tail = Tail::kept;
  const std::vector<std::string> words(argv + 1, argv + argc);
  for (const std::string& word : words) {
    if (word == "--tail-may-be-lost") {
      tail = Tail::may_be_lost;
    } else if (const auto read = read_file(word, history); !read) {
      std::cerr << read.error().text << '\n';
      return 2;
    }
  }
  const Verdict verdict = judge(history, tail);
  std::cout << json_of(verdict).dump(2) << '\n';
  return verdict.good(tail) ? 0 : 1;
}
