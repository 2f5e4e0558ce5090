// Callers of all kinds: what they ask, when, and what the oracle hears of the answers.
#pragma once
#include "node.hpp"
#include "oracle.hpp"

#include <memory>
#include <vector>

namespace catga::sim {

class Load {
 public:
  Load(const Scenery& scenery, Oracle& oracle, std::vector<std::unique_ptr<Node>>& nodes,
       std::vector<std::unique_ptr<Caller>>& callers);
  void start();
  void stop() { running_ = false; }
  /// Asks of processes that still live, without an answer.
  std::size_t open() const;
  std::string oldest_open() const;
  std::uint64_t asked() const { return next_ / static_cast<std::uint64_t>(numbers_per_change); }

 private:
  struct Open {
    Machine* by;
    std::uint64_t life;
    Oracle::Question question;
  };
  void next();
  void ask_something();
  /// Asks whose handlers hold workers, and asks that wait for such; with chance of their own.
  void next_ponder();
  void ask_to_ponder();
  std::pair<Machine*, Router*> somebody(Dice& dice);
  void send(Machine& by, Router& router, Ask ask, const Oracle::Question& question, int tries);
  void tell(Router& router);
  EntityId some(const char* kind);

  const Scenery scenery_;
  Oracle& oracle_;
  std::vector<std::unique_ptr<Node>>& nodes_;
  std::vector<std::unique_ptr<Caller>>& callers_;
  bool running_ = false;
  std::uint64_t next_ = numbers_per_change;
  std::uint64_t next_open_ = 1;
  std::map<std::uint64_t, Open> open_;
};

}  // namespace catga::sim
