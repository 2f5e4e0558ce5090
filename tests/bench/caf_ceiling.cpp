// The ceiling of everything inside one node: CAF alone, one actor per entity, nothing decoded,
// counted, looked up or promised.
//
//   activate N        spawns so many actors
//   tell N            N messages over them, one sender     {per_second}
//   tell_inside N     the same, two actors send             {per_second}
//   tell_one N        N messages to one of them            {per_second}
//   ask FLIGHTS EACH  so many actors ask others in turn    {per_second}
#include "conversation.hpp"
#include "spread.hpp"
#include "tally.hpp"
#include <caf/actor_system.hpp>
#include <caf/actor_system_config.hpp>
#include <caf/allowed_unsafe_message_type.hpp>
#include <caf/config.hpp>
#include <caf/event_based_actor.hpp>
#include <caf/scoped_actor.hpp>
#include <caf/send.hpp>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <thread>
#include <vector>

struct RawPoke {};
struct RawLook {};
struct RawSpread {
  std::uint64_t first = 0;
  std::uint64_t count = 0;
  const std::vector<caf::actor>* cells = nullptr;
};
struct RawChase {
  std::uint64_t first = 0;
  std::uint64_t times = 0;
  const std::vector<caf::actor>* peers = nullptr;
};
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(RawPoke)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(RawLook)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(RawSpread)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(RawChase)

namespace bench {
namespace {

using namespace std::chrono_literals;

class Cell final : public caf::event_based_actor {
 public:
  Cell(caf::actor_config& config, Tally& handled) : event_based_actor(config), handled_(handled) {}
  caf::behavior make_behavior() override {
    return {[this](RawPoke) { handled_.add(); }, [this](RawLook) { return value_; }};
  }

 private:
  Tally& handled_;
  std::int64_t value_ = 0;
};

class Chaser final : public caf::event_based_actor {
 public:
  Chaser(caf::actor_config& config, caf::actor boss)
      : event_based_actor(config), boss_(std::move(boss)) {}
  caf::behavior make_behavior() override {
    return {[this](RawChase chase) {
      chase_ = chase;
      step();
    }};
  }

 private:
  void step() {
    if (chase_.times == 0) {
      send(boss_, std::int64_t{0});
      quit();
      return;
    }
    --chase_.times;
    const auto& peer = (*chase_.peers)[spread(chase_.first++, chase_.peers->size())];
    request(peer, caf::infinite, RawLook{}).then([this](std::int64_t) { step(); });
  }

  const caf::actor boss_;
  RawChase chase_;
};

/// Tells from within: what an actor enqueues on a worker wakes nobody. In slices, so that the
/// receivers run in between and no queue grows without end.
class Teller final : public caf::event_based_actor {
 public:
  using event_based_actor::event_based_actor;
  caf::behavior make_behavior() override {
    return {[this](RawSpread work) {
      const std::uint64_t slice = std::min<std::uint64_t>(work.count, 1024);
      for (std::uint64_t i = 0; i < slice; ++i)
        send((*work.cells)[spread(work.first + i, work.cells->size())], RawPoke{});
      work.first += slice;
      work.count -= slice;
      if (work.count == 0) return quit();
      send(this, work);
    }};
  }
};

class Ceiling {
 public:
  explicit Ceiling(caf::actor_system& system) : system_(system) {}
  ~Ceiling() {
    for (const caf::actor& cell : cells_)
      caf::anon_send_exit(cell, caf::exit_reason::user_shutdown);
  }
  Ceiling(const Ceiling&) = delete;
  Ceiling& operator=(const Ceiling&) = delete;

  Figures activate(const Numbers& request) {
    while (cells_.size() < request.at(0)) cells_.push_back(system_.spawn<Cell>(std::ref(handled_)));
    return {{"actors", cells_.size()}};
  }

  Figures tell(const Numbers& request) {
    return poke(request.at(0), [this](std::uint64_t i) -> const caf::actor& {
      return cells_[spread(i, cells_.size())];
    });
  }

  Figures tell_inside(const Numbers& request) {
    const std::uint64_t total = request.at(0);
    const std::uint64_t begin = handled_.sum();
    const auto began = Clock::now();
    caf::anon_send(system_.spawn<Teller>(), RawSpread{0, total / 2, &cells_});
    caf::anon_send(system_.spawn<Teller>(), RawSpread{total / 2, total - total / 2, &cells_});
    while (handled_.sum() - begin < total) std::this_thread::sleep_for(200us);
    return per_second(total, began);
  }

  Figures tell_one(const Numbers& request) {
    return poke(request.at(0), [this](std::uint64_t) -> const caf::actor& { return cells_[0]; });
  }

  Figures ask(const Numbers& request) {
    const std::uint64_t flights = request.at(0);
    const std::uint64_t each = request.at(1);
    const caf::scoped_actor boss{system_};
    std::vector<caf::actor> chasers;
    for (std::uint64_t i = 0; i < flights; ++i)
      chasers.push_back(system_.spawn<Chaser>(caf::actor_cast<caf::actor>(boss)));
    const auto began = Clock::now();
    for (std::uint64_t i = 0; i < flights; ++i)
      caf::anon_send(chasers[i], RawChase{i * each, each, &cells_});
    for (std::uint64_t i = 0; i < flights; ++i) boss->receive([](std::int64_t) {});
    return per_second(flights * each, began);
  }

 private:
  static Figures per_second(std::uint64_t count, Clock::time_point began) {
    const double seconds = seconds_since(began);
    return {{"per_second", static_cast<double>(count) / seconds}, {"seconds", seconds}};
  }

  /// As catga-bench-local does it, down to how far the sender may be ahead.
  template <class Target>
  Figures poke(std::uint64_t total, Target target) {
    const std::uint64_t begin = handled_.sum();
    const auto began = Clock::now();
    for (std::uint64_t i = 0; i < total; ++i) {
      if (i % 1024 == 0)
        while (i - (handled_.sum() - begin) > tells_ahead) std::this_thread::yield();
      caf::anon_send(target(i), RawPoke{});
    }
    while (handled_.sum() - begin < total) std::this_thread::yield();
    return per_second(total, began);
  }

  caf::actor_system& system_;
  Tally handled_;
  std::vector<caf::actor> cells_;
};

}  // namespace
}  // namespace bench

int main() {
  caf::actor_system_config config;
  // As many workers as a node has by default.
  config.set("scheduler.max-threads", std::max(2u, std::thread::hardware_concurrency()));
  caf::actor_system system{config};
  bench::Ceiling ceiling(system);
  const bench::Verbs verbs{
      {"activate", [&](const bench::Numbers& numbers) { return ceiling.activate(numbers); }},
      {"tell", [&](const bench::Numbers& numbers) { return ceiling.tell(numbers); }},
      {"tell_inside", [&](const bench::Numbers& numbers) { return ceiling.tell_inside(numbers); }},
      {"tell_one", [&](const bench::Numbers& numbers) { return ceiling.tell_one(numbers); }},
      {"ask", [&](const bench::Numbers& numbers) { return ceiling.ask(numbers); }},
  };
  return bench::converse(verbs, {{"caf", CAF_VERSION}});
}
