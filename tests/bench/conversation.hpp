// How a program of the benchmark is driven: a line with a word and numbers comes in, a line of JSON
// goes out.
//
// Between two requests a program rests: its ceiling, or what it is the ceiling of, has the machine.
// Answers begin with "= ", so that a log on the same pipe does no harm.
#pragma once
#include <nlohmann/json.hpp>

#include <chrono>
#include <cstdint>
#include <ctime>
#include <functional>
#include <iostream>
#include <map>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

namespace bench {

using Clock = std::chrono::steady_clock;
using Figures = nlohmann::json;
using Numbers = std::vector<std::uint64_t>;
using Verbs = std::map<std::string, std::function<Figures(const Numbers&)>>;

inline void say(const Figures& figures) { std::cout << "= " << figures.dump() << std::endl; }

inline double seconds_since(Clock::time_point began) {
  return std::chrono::duration<double>(Clock::now() - began).count();
}

inline Figures answer_to(const Verbs& verbs, const std::string& line) {
  std::istringstream words(line);
  std::string verb;
  words >> verb;
  Numbers numbers;
  for (std::uint64_t number = 0; words >> number;) numbers.push_back(number);
  const auto found = verbs.find(verb);
  if (found == verbs.end()) return {{"trouble", "unknown request: " + line}};
  try {
    const std::clock_t began = std::clock();
    Figures figures = found->second(numbers);
    // On a busy machine this says more than the time that passed.
    figures["cpu_s"] = static_cast<double>(std::clock() - began) / CLOCKS_PER_SEC;
    return figures;
  } catch (const std::exception& trouble) {
    return {{"trouble", verb + ": " + trouble.what()}};
  }
}

/// Says that it is ready, then answers until standard input ends.
inline int converse(const Verbs& verbs, Figures about = Figures::object()) {
  about["ready"] = true;
  about["compiler"] = __VERSION__;
  say(about);
  for (std::string line; std::getline(std::cin, line);) say(answer_to(verbs, line));
  return 0;
}

}  // namespace bench
