// The entities and subscriptions of the tests of events: sources that count aloud, followers that check what they hear.
#pragma once
#include <catga/catga.hpp>

#include <cstdint>
#include <stdexcept>
#include <string>

namespace catga::testing {

/// A source's events carry 1, 2, 3 …
struct Counted {
  std::int64_t value = 0;
  CATGA_MESSAGE(Counted, value);
};
/// The same for subscribers that no test of order listens to.
struct Whispered {
  std::int64_t value = 0;
  CATGA_MESSAGE(Whispered, value);
};
struct Emit {
  using Reply = std::int64_t;
  std::int64_t count = 1;
  bool whisper = false;
  CATGA_MESSAGE(Emit, count, whisper);
};

class Source {
 public:
  static constexpr std::string_view kind = "source";
  using Handles = Messages<Emit>;
  struct State {
    std::int64_t emitted = 0;
    CATGA_FIELDS(emitted);
  } state;
  std::int64_t on(Turn& turn, const Emit& emit) {
    for (std::int64_t i = 0; i < emit.count; ++i) {
      state.emitted += 1;
      if (emit.whisper)
        turn.publish(Whispered{state.emitted});
      else
        turn.publish(Counted{state.emitted});
    }
    return state.emitted;
  }
};

struct Follow {
  using Reply = std::int64_t;
  std::int64_t value = 0;
  std::uint64_t number = 0;
  bool replayed = false;
  CATGA_MESSAGE(Follow, value, number, replayed);
};
struct Followed {
  std::int64_t count = 0;        ///< effects
  std::int64_t last = 0;         ///< the value heard last
  std::int64_t disorders = 0;    ///< values that did not follow the one before
  std::int64_t misnumbered = 0;  ///< events whose number is not their value
  std::int64_t replayed = 0;
  CATGA_FIELDS(count, last, disorders, misnumbered, replayed);
};
struct WhatHeard {
  using Reply = Followed;
  CATGA_MESSAGE(WhatHeard);
};
/// From now on a follower fails at this value; 0: never.
struct FailAt {
  using Reply = std::int64_t;
  std::int64_t value = 0;
  CATGA_MESSAGE(FailAt, value);
};

/// follower/<k> follows source/<k>.
class Follower {
 public:
  static constexpr std::string_view kind = "follower";
  using Handles = Messages<Follow, WhatHeard, FailAt>;
  struct State {
    Followed heard;
    std::int64_t fail_at = 0;
    CATGA_FIELDS(heard, fail_at);
  } state;
  std::int64_t on(const Follow& event) {
    if (event.value == state.fail_at) throw std::runtime_error("told to fail");
    Followed& heard = state.heard;
    heard.count += 1;
    if (event.value != heard.last + 1) heard.disorders += 1;
    if (static_cast<std::int64_t>(event.number) != event.value) heard.misnumbered += 1;
    if (event.replayed) heard.replayed += 1;
    heard.last = event.value;
    return heard.count;
  }
  Followed on(const WhatHeard&) const { return state.heard; }
  std::int64_t on(const FailAt& at) { return state.fail_at = at.value; }
};

inline void follow(Node& node, const std::string& name = "followers",
                   SubscribeOptions options = {}) {
  node.host<Source>().host<Follower>();
  node.subscribe<Counted>(
      name,
      [](const Counted& counted, const EventInfo& event) {
        return to<Follower>(event.source().key,
                            Follow{counted.value, event.number(), event.replayed()});
      },
      options);
}

struct Telling {
  std::string source;
  std::int64_t emitted = 0;
  CATGA_FIELDS(source, emitted);
};

/// Publishes what it heard from source/<source>, and its end.
inline Saga<Telling> telling_saga() {
  return saga<Telling>("telling", 1)
      .step("emit",
            [](const Telling& t) {
              return to<Source>(t.source, Emit{2, false});
            })
      .on_reply([](Telling& t, const std::int64_t& emitted) { t.emitted = emitted; })
      .publish([](const Telling& t) { return Whispered{t.emitted}; })
      .publish_completed([](const Telling& t) { return Whispered{100 + t.emitted}; })
      .build();
}

}  // namespace catga::testing
