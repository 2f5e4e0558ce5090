// One node in this process and everything that is asked of it from inside: tells, asks between
// entities, commands, cold entities, memory.
//
//   activate N        loads cells 0 … N-1 into memory      {seconds, bytes_each, state_bytes}
//   tell N            N pokes over them, one sender        {per_second}
//   ask FLIGHTS EACH  so many cells ask others in turn     {per_second}
//   add W N CELLS     N commands over so many cells        {per_second}
//   hot W N           N commands to one cell               {per_second}
//   chill N           makes N committed cells that are not in memory
//   warm W N          one query to each of those           {per_second}
//
// Flags are those of a node.
#include "cell.hpp"
#include "conversation.hpp"
#include "flight.hpp"
#include <malloc.h>

#include <chrono>
#include <cstdio>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

namespace bench {
namespace {

using namespace std::chrono_literals;
using CellRef = catga::Ref<Cell>;
constexpr std::uint64_t load_width =
    512;  // below entity.mailbox and shard limits, enough for batches

void must(const catga::Status& status) {
  if (!status.ok()) throw std::runtime_error(status.error().text);
}

/// Resident memory that is in use, not merely not given back.
double resident_bytes() {
  malloc_trim(0);
  std::ifstream statm("/proc/self/statm");
  double all = 0;
  double resident = 0;
  statm >> all >> resident;
  return resident * 4096;
}

Figures per_second(std::uint64_t count, double seconds) {
  return {{"per_second", static_cast<double>(count) / seconds}, {"seconds", seconds}};
}

class Local {
 public:
  explicit Local(catga::Node& node) : node_(node) {}

  Figures activate(const Numbers& request) {
    cells_.clear();
    for (std::uint64_t i = 0; i < request.at(0); ++i) cells_.push_back(node_.ref<Cell>(key_of(i)));
    // What asking costs once (tables, pools) is paid before the memory is read.
    look_at(node_.ref<Cell>("first"), 20'000);
    const double before = resident_bytes();
    const double took = look_at_all(cells_, load_width);
    const double bytes = resident_bytes() - before;
    return {{"seconds", took},
            {"bytes_each", bytes / static_cast<double>(cells_.size())},
            {"state_bytes", sizeof(Cell)},
            {"entities", node_.figures().entities}};
  }

  /// The sender is never further ahead of the handlers than `tells_ahead`, here and in the ceiling:
  /// a tell that waits for ask.timeout is dropped, and is lost for this figure.
  Figures tell(const Numbers& request) {
    const std::uint64_t total = request.at(0);
    const std::uint64_t begin = pokes_handled().sum();
    std::uint64_t refused = 0;
    const auto began = Clock::now();
    for (std::uint64_t i = 0; i < total; ++i) {
      if (i % 1024 == 0)
        while (i - (pokes_handled().sum() - begin) > tells_ahead) std::this_thread::yield();
      while (!cells_[spread(i, cells_.size())].tell(Poke{}).ok()) {
        ++refused;
        std::this_thread::yield();
      }
    }
    const auto until = Clock::now() + 30s;
    while (pokes_handled().sum() - begin < total) {
      if (Clock::now() > until)
        throw std::runtime_error(std::to_string(total - (pokes_handled().sum() - begin)) +
                                 " tells were lost");
      std::this_thread::yield();
    }
    Figures figures = per_second(total, seconds_since(began));
    figures["refused"] = refused;
    return figures;
  }

  Figures ask(const Numbers& request) {
    const std::uint64_t flights = request.at(0);
    const std::uint64_t each = request.at(1);
    const std::uint64_t peers = cells_.size();
    const double took = fly(flights, flights, [&](std::uint64_t i, Flight::Then then) {
      ask_for(node_.ref<Cell>("chaser" + std::to_string(i)), Chase{i * each, each, peers},
              std::move(then), 120s);
    });
    return per_second(flights * each, took);
  }

  Figures add(const Numbers& request) {
    const std::uint64_t cells = request.at(2);
    while (cells_.size() < cells) cells_.push_back(node_.ref<Cell>(key_of(cells_.size())));
    const double took = fly(request.at(0), request.at(1), [&](std::uint64_t i, Flight::Then then) {
      ask_for(cells_[spread(i, cells)], Add{1}, std::move(then));
    });
    return per_second(request.at(1), took);
  }

  Figures hot(const Numbers& request) {
    const CellRef cell = node_.ref<Cell>("hot" + std::to_string(next_hot_++));
    const double took = fly(request.at(0), request.at(1), [&](std::uint64_t, Flight::Then then) {
      ask_for(cell, Add{1}, std::move(then));
    });
    const std::int64_t value = value_of(cell);
    if (value != static_cast<std::int64_t>(request.at(1)))
      throw std::runtime_error("the hot cell counted " + std::to_string(value));
    return per_second(request.at(1), took);
  }

  Figures chill(const Numbers& request) {
    const std::uint32_t before = node_.figures().entities;
    for (auto i = cold_.size(); i < request.at(0); ++i)
      cold_.push_back(node_.ref<Cell>("cold" + std::to_string(i)));
    const auto all = [&](const auto& message) {
      return fly(load_width, cold_.size(), [&](std::uint64_t i, Flight::Then then) {
        ask_for(cold_[i], message, std::move(then));
      });
    };
    if (!chilled_) all(Add{1});
    all(Leave{});
    const std::uint32_t at_most =
        chilled_ ? before - static_cast<std::uint32_t>(cold_.size()) : before;
    chilled_ = true;
    const auto until = Clock::now() + 30s;
    while (node_.figures().entities > at_most) {
      if (Clock::now() > until) throw std::runtime_error("cells did not leave memory in 30 s");
      std::this_thread::sleep_for(1ms);  // looked at again; the figure decides
    }
    return {{"entities", node_.figures().entities}};
  }

  Figures warm(const Numbers& request) {
    const std::uint32_t before = node_.figures().entities;
    const double took = look_at_all(cold_, request.at(0));
    Figures figures = per_second(cold_.size(), took);
    figures["activated"] = node_.figures().entities - before;
    return figures;
  }

 private:
  static double look_at_all(const std::vector<CellRef>& cells, std::uint64_t width) {
    return fly(width, cells.size(), [&](std::uint64_t i, Flight::Then then) {
      ask_for(cells[i], Look{}, std::move(then));
    });
  }
  static void look_at(const CellRef& cell, std::uint64_t times) {
    fly(64, times,
        [&](std::uint64_t, Flight::Then then) { ask_for(cell, Look{}, std::move(then)); });
  }
  static std::int64_t value_of(const CellRef& cell) {
    const catga::Result<std::int64_t> value = cell.ask(Look{});
    return value.ok() ? *value : -1;
  }

  catga::Node& node_;
  std::vector<CellRef> cells_;
  std::vector<CellRef> cold_;
  bool chilled_ = false;
  std::uint64_t next_hot_ = 0;
};

int run(int argc, char** argv) {
  catga::Node node{catga::Config::from(argc, argv)};
  node.host<Cell>();
  must(node.start());
  Local local(node);
  const Verbs verbs{
      {"activate", [&](const Numbers& numbers) { return local.activate(numbers); }},
      {"tell", [&](const Numbers& numbers) { return local.tell(numbers); }},
      {"ask", [&](const Numbers& numbers) { return local.ask(numbers); }},
      {"add", [&](const Numbers& numbers) { return local.add(numbers); }},
      {"hot", [&](const Numbers& numbers) { return local.hot(numbers); }},
      {"chill", [&](const Numbers& numbers) { return local.chill(numbers); }},
      {"warm", [&](const Numbers& numbers) { return local.warm(numbers); }},
  };
  return converse(verbs);
}

}  // namespace
}  // namespace bench

int main(int argc, char** argv) {
  try {
    return bench::run(argc, argv);
  } catch (const std::exception& trouble) {
    std::fprintf(stderr, "catga-bench-local: %s\n", trouble.what());
    return 1;
  }
}
