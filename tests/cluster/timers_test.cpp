// Durable timers on a real cluster: on time, once, across the kill of a node. CATGA_TEST_TIMERS says how many; the suite
// `long` has 100,000.
#include "scene.hpp"

#include <algorithm>
#include <cstdlib>
#include <future>

namespace catga::testing {

namespace {

constexpr std::int64_t each = 100;  // of one entity

std::int64_t wall_ms() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

std::string bell(std::int64_t number) { return "bell " + std::to_string(number); }

/// All at once, a few hundred under way.
template <class Message>
std::vector<typename Message::Reply> ask_all(Scene& scene, std::int64_t bells,
                                             const Message& message) {
  using Reply = typename Message::Reply;
  std::vector<Reply> replies;
  std::vector<std::future<Result<Reply>>> waiting;
  const auto collect = [&] {
    for (auto& one : waiting) replies.push_back(must(one.get()));
    waiting.clear();
  };
  for (std::int64_t i = 0; i < bells; ++i) {
    auto promise = std::make_shared<std::promise<Result<Reply>>>();
    waiting.push_back(promise->get_future());
    scene.client().ref<Bell>(bell(i)).ask_then(
        message, [promise](Result<Reply> reply) { promise->set_value(std::move(reply)); },
        {.timeout = 20s});
    if (waiting.size() == 200) collect();
  }
  collect();
  return replies;
}

std::int64_t rung(const std::vector<Heard>& all) {
  std::int64_t sum = 0;
  for (const Heard& one : all) sum += one.rung;
  return sum;
}

}  // namespace

TEST_CASE(
    "timers fire once and within a second of their time, a node killed in the middle of them") {
  if (!servers_here()) return;
  const char* given = std::getenv("CATGA_TEST_TIMERS");
  const std::int64_t wanted = given != nullptr ? std::strtoll(given, nullptr, 10) : 6000;
  const std::int64_t bells = wanted / each;
  // About 1,000 a second: what they are late must not be for want of CPU.
  const std::int64_t lead = 3000 + bells * 20,
                     spacing = std::max<std::int64_t>(wanted / 1000 * 10, 50);
  Scene scene;
  for (const char* name : {"a", "b", "c"}) scene.launch(name);
  for (const char* name : {"a", "b", "c"}) scene.expect_ready(name);
  scene.expect_up(3);
  scene.let_them_meet();
  const std::int64_t begin = wall_ms();
  ask_all(scene, bells, Wind{each, lead, spacing});
  const std::int64_t set_after = wall_ms() - begin;
  MESSAGE((bells * each) << " timers set in " << set_after << " ms; they are due over "
                         << each * spacing << " ms");
  REQUIRE(set_after < lead);
  const std::int64_t middle = begin + lead + each * spacing / 2;
  std::this_thread::sleep_for(Milliseconds(std::max<std::int64_t>(middle - wall_ms(), 0)));
  scene.node("b").kill9();
  const std::int64_t killed = wall_ms();
  std::vector<Heard> all;
  const auto patience = Milliseconds(begin + set_after + lead + each * spacing - wall_ms()) + 20s;
  CHECK(eventually(
      [&] {
        std::this_thread::sleep_for(200ms);  // the question costs what the timers need
        all = ask_all(scene, bells, Listen{});
        return rung(all) >= bells * each;
      },
      patience));
  CHECK(rung(all) == bells * each);
  std::this_thread::sleep_for(500ms);  // for those that would fire again
  CHECK(rung(ask_all(scene, bells, Listen{})) == bells * each);
  std::int64_t worst = 0, late = 0;
  for (const Heard& one : all) {
    CHECK(one.early == 0);
    worst = std::max(worst, one.worst_ms);
    late += static_cast<std::int64_t>(one.late.size());
    for (const std::int64_t due : one.late) {  // only for want of an owner
      CHECK(due > killed - 1000);
      CHECK(due < killed + 3000);
    }
  }
  MESSAGE("the latest was " << worst << " ms late; " << late << " were later than a second");
  CHECK(worst < 4000);
}

TEST_CASE("a reminder keeps ringing, whoever owns the shard, and misses no beat for good") {
  if (!servers_here()) return;
  Scene scene;
  for (const char* name : {"a", "b"}) scene.launch(name);
  for (const char* name : {"a", "b"}) scene.expect_ready(name);
  scene.expect_up(2);
  scene.let_them_meet();
  constexpr std::int64_t bells = 40, period = 300;
  ask_all(scene, bells, Chime{period});
  const std::int64_t begin = wall_ms();
  std::this_thread::sleep_for(1s);
  scene.node("a").kill9();
  CHECK(eventually([&] {
    const std::vector<Heard> all = ask_all(scene, bells, Listen{});
    return std::all_of(all.begin(), all.end(), [](const Heard& one) { return one.rung >= 10; });
  }));
  const std::int64_t most = (wall_ms() - begin) / period + 2;
  for (const Heard& one : ask_all(scene, bells, Listen{})) CHECK(one.rung <= most + 1);
}

}  // namespace catga::testing
