// The short way past a shard's actor, on a node in this process.
#include <catga/catga.hpp>
#include <doctest/doctest.h>

#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

namespace catga {
namespace {

// clang-format off
struct Note { using Reply = Done; std::int64_t number = 0; bool leave = false; CATGA_MESSAGE(Note, number, leave); };
struct Count { using Reply = std::int64_t; CATGA_MESSAGE(Count); };
// clang-format on

/// Entities are made by the runtime, so what they saw is kept here.
std::atomic<std::int64_t> seen{0}, out_of_order{0};

/// Takes notes of one sender, and leaves memory when told to: the next note finds it cold.
class Reader {
 public:
  static constexpr std::string_view kind = "reader";
  using Handles = Messages<Note, Count>;
  struct State {
    std::int64_t last = 0;
    CATGA_FIELDS(last);
  } state;

  Done on(Turn& turn, const Note& note) {
    if (note.number <= state.last) out_of_order.fetch_add(1);
    state.last = note.number;
    seen.fetch_add(1);
    if (note.leave) turn.passivate();
    return {};
  }
  std::int64_t on(const Count&) const { return state.last; }
};

}  // namespace

TEST_CASE("what one thread tells one entity arrives in order, in memory or not") {
  seen = out_of_order = 0;
  Config config = Config::embedded();
  config.cluster.shards = 16;
  Node node{config};
  node.host<Reader>();
  const Status started = node.start();
  INFO((started.ok() ? "" : started.error().text));
  REQUIRE(started.ok());
  constexpr std::int64_t each = 3000;
  constexpr int readers = 8;
  std::vector<std::thread> senders;
  for (int i = 0; i < readers; ++i) {
    senders.emplace_back([&node, i] {
      const auto reader = node.ref<Reader>("r" + std::to_string(i));
      for (std::int64_t number = 1; number <= each; ++number) {
        while (!reader.tell(Note{number, number % 7 == i % 7}).ok()) std::this_thread::yield();
        if (number % 100 == 0) (void)reader.ask(Count{});  // does not run too far ahead
      }
    });
  }
  for (std::thread& sender : senders) sender.join();
  for (int i = 0; i < readers; ++i) {
    const auto last = node.ref<Reader>("r" + std::to_string(i)).ask(Count{});
    REQUIRE(last.ok());
    CHECK(*last == each);
  }
  CHECK(seen == each * readers);
  CHECK(out_of_order == 0);
}

}  // namespace catga
