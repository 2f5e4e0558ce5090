// One story, told again and again on a node that dies at another commit each time, of a saga or of an entity: right before
// it and right after it. Whatever happens, the story must end as it ends without a crash.
//
// CATGA_TEST_CRASH_STRIDE=<n> takes every n-th commit only, from one by chance on: a sample for every day.
#pragma once
#include <catga/catga.hpp>

#include "crashing_stores.hpp"
#include "lone_node.hpp"
#include "scene.hpp"

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <random>
#include <string>

namespace catga::testing {

/// Each function is told the name of the round, new every time: what it names after it is this round's alone.
struct CrashStory {
  std::function<void(const std::string&)> prepare;  ///< what is there before; nothing dies yet
  /// Begins the story, or begins it once more: whoever starts a saga does not know whether the start died with its node.
  std::function<Status(const std::string&)> begin;
  /// Whether it is over. Asked again and again; may say what the saga waits for, in words that are safe to repeat.
  std::function<bool(const std::string&)> over;
  std::function<void(const std::string&)> check;  ///< what must be so at the end
  /// How it stands, for who wonders why it does not end. May be empty.
  std::function<std::string(const std::string&)> look;
  int commits = 0;  ///< there are at least so many to die at
};

inline int crash_stride() {
  const char* const asked = std::getenv("CATGA_TEST_CRASH_STRIDE");  // NOLINT: nobody changes it
  return asked == nullptr ? 1 : std::max(1, std::atoi(asked));
}

/// Of its log.
inline std::string last_words(const NodeProcess& node) {
  const std::string log = node.log();
  return log.substr(log.size() - std::min<std::size_t>(log.size(), 5000));
}

/// `scene.program` must host Bomb and wear CrashingStores. Needs a node to itself.
inline void crash_at_every_commit(Scene& scene, const CrashStory& story) {
  LoneNode node(scene);
  scene.ask_timeout = 1s;           // what was asked of the node that died is asked in vain
  Client& client = scene.client();  // waits until there is a cluster
  const int stride = crash_stride();
  std::random_device chance;
  const auto arm = [&](std::int64_t commits, bool before) {
    REQUIRE(eventually([&] { return client.ref<Bomb>("b").ask(Arm{commits, before}).ok(); }));
  };
  int crashes = 0;
  for (const bool before : {true, false}) {
    bool crashed = true;
    for (std::int64_t n = 1 + chance() % static_cast<unsigned>(stride); crashed; n += stride) {
      const std::string round = (before ? "before-" : "after-") + std::to_string(n);
      INFO("crash " << round);
      story.prepare(round);
      arm(n, before);
      Status begun = story.begin(round);
      const auto get_on = [&](bool until_it_dies, Milliseconds patience) {
        const bool done = eventually(
            [&] {
              if (until_it_dies && !node.process().running()) return true;
              if (!begun.ok()) begun = story.begin(round);
              return begun.ok() && story.over(round);
            },
            patience);
        REQUIRE_MESSAGE(done, (begun.ok() ? "" : begun.error().text)
                                  << '\n'
                                  << (story.look ? story.look(round) : "") << '\n'
                                  << last_words(node.process()));
      };
      get_on(true, 20s);
      crashed = !node.process().running();
      if (crashed) {
        node.launch();
        ++crashes;
      } else {
        arm(0, before);
      }
      begun = story.begin(round);
      get_on(false, 60s);
      story.check(round);
    }
  }
  MESSAGE("crashed at " << crashes << " commits");
  CHECK(crashes >= 2 * (story.commits / stride));
}

/// The saga with the name of the round has come to `status`.
template <class S>
bool has_come_to(Client& client, const Saga<S>& saga, const std::string& id, SagaStatus status) {
  const auto report = client.saga(saga, id).status();
  return report.ok() && report->status == status;
}

/// Its journal, and where it stands.
inline std::string look_at_saga(Client& client, const std::string& type, const std::string& id) {
  const auto story = client.sagas().show(type, id);
  if (!story.ok()) return story.error().text;
  std::string words = std::string(name_of(story->report.status)) + ' ' + story->report.cause + ' ' +
                      story->report.text;
  for (const JournalEntry& entry : story->journal)
    words += '\n' + std::to_string(entry.at_ms) + ' ' + std::string(name_of(entry.kind)) + ' ' +
             entry.step;
  return words;
}

/// Asks until it is answered: nodes come and go.
template <class Entity, class Message>
auto say(Client& client, const std::string& key, const Message& message) {
  auto answer = client.ref<Entity>(key).ask(message);
  REQUIRE(eventually([&] {
    if (!answer.ok()) answer = client.ref<Entity>(key).ask(message);
    return answer.ok();
  }));
  return std::move(answer).value();
}

}  // namespace catga::testing
