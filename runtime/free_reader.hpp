// One node's reader of a subscription without order: a queue group, or its own copy of a broadcast.
//
// The consumer is JetStream's and keeps the place: `<name>` for a group, shared by all nodes, `<name>-<node>` for a
// broadcast. Each event is acknowledged when it was handled, given back for later when it was not, and, after
// events.attempts deliveries or when it is hopeless, kept as a dead letter (messaging/letter_stream.hpp) before it is
// ended; until that is done it stays in hand. What a node that died had in hand comes again after events.ack_wait, to
// another one. There is no order, so nothing is parked behind a letter.
//
// Operators find a program that reads it under the name of the consumer; any of a group will do.
//
// All but the constructor runs on the loop of the EventWorld.
#pragma once
#include "catga/runtime/event_world.hpp"
#include "catga/runtime/letter_keeper.hpp"
#include "catga/runtime/messaging/letter_stream.hpp"

#include <cstdint>
#include <map>
#include <memory>
#include <string>

namespace catga {

class FreeReader final : public LetterKeeper, public std::enable_shared_from_this<FreeReader> {
 public:
  FreeReader(EventWorld& world, const Subscription& subscription);
  void begin() { prepare(); }
  void reconnected();
  void leave();
  void tick(std::int64_t now_ms);

  // ---- for operators ----
  void list_letters(Answer<std::vector<LetterLine>> then) override;
  void show_letters(const EntityId& source, std::uint64_t limit,
                    Answer<std::vector<DeadLetter>> then) override;
  void retry_letters(const LetterOrder& order, Answer<std::uint64_t> then) override;
  void discard_letter(const EntityId& source, Answer<std::uint64_t> then) override;

 private:
  struct InHand {
    std::string reply;
    std::uint64_t times = 0;
    std::int64_t marked_at = 0;  ///< when JetStream last heard that it is in work
    DeadLetter letter{};         ///< the event, and what it becomes if it is given up
    std::int64_t park_at = 0;    ///< given up, and there was no room for it: again then; 0: not so
  };
  template <class Call>
  auto on_loop(Call call);
  void prepare();
  void prepared(Result<std::int64_t> since_ms);
  void delivered(NatsMessage message);
  void take(std::uint64_t sequence, natsMsg& message);
  void handled(std::uint64_t sequence, const Handled& outcome);
  void park(std::uint64_t sequence);
  void parked(std::uint64_t sequence, const Result<bool>& kept);
  void open_desk();
  void retry_head(const LetterOrder& order, std::uint64_t so_far, Answer<std::uint64_t> then);
  void pull(std::int64_t now_ms);
  void again_in(std::int64_t ms) { again_at_ = boot_ms() + ms; }
  void complain(const std::string& what);

  EventWorld& world_;
  const Subscription& subscription_;
  const std::string consumer_;
  const std::shared_ptr<LetterStream> letters_;  ///< of chores that may outlive this
  NatsSubscription desk_;
  bool over_ = false, reading_ = false;
  std::uint64_t life_ = 0;
  std::int64_t again_at_ = 0, complained_at_ = 0;
  std::int64_t since_ms_ = 0;  ///< when the consumer was made: what is older is replayed
  NatsSubscription inbox_;
  std::string inbox_subject_;
  std::map<std::uint64_t, InHand> in_hand_;  // by sequence
  std::uint64_t asked_for_ = 0;
  std::int64_t pull_until_ = 0, pull_at_ = 0;
};

}  // namespace catga
