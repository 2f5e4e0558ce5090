// One part of an ordered subscription on the node that serves its shard: reads it from JetStream in order, hands its
// events to the handler, remembers its place, parks what cannot be handled.
//
// ORDER. JetStream gives a consumer's messages in order, but a message on its way can be lost (a connection breaks) and is
// then given again behind later ones; and an owner that does not know yet that it was replaced may take some. So the
// consumer `<name>-<part>` is not trusted with the place: it numbers its deliveries, and when a number is missing the
// consumer is made anew, beginning behind the place reached. Nothing behind a gap is ever looked at. Its acknowledgements
// are not used (D61).
//
// PLACE. The place lives in Redis, in the state of the system entity `$sub/<name>-<part>`, and is written under the
// shard's token: an owner that was replaced cannot move it. It is also read before each making of the consumer, so that
// such an owner does not take the consumer from the new one. After a crash some events are handled again: commands to
// entities are recognised by their operation id, other handlers run at least once.
//
//   loading --place read--> preparing --consumer made--> reading --gap, consumer gone--> loading
//      \____________________ fenced: over; the shard serves() again under another token __________/
//
// All but the constructor runs on the loop of the EventWorld.
#pragma once
#include "catga/runtime/dead_letter.hpp"
#include "catga/runtime/event_place.hpp"
#include "catga/runtime/event_reader.hpp"
#include "catga/runtime/event_world.hpp"
#include "catga/runtime/letter_keeper.hpp"

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace catga {

class OrderedPart final : public LetterKeeper, public std::enable_shared_from_this<OrderedPart> {
 public:
  OrderedPart(EventWorld& world, const Subscription& subscription, std::uint32_t part,
              ShardId shard, OwnerToken token);
  void begin();
  void retoken(OwnerToken token) { token_ = token; }
  /// What was on its way is lost.
  void reconnected();
  /// The shard leaves: the place is written once more, if it can be.
  void leave();
  void tick(std::int64_t now_ms);
  const OwnerToken& token() const { return token_; }
  ShardId shard() const { return shard_; }
  bool over() const { return phase_ == Phase::over; }

  // ---- for operators: from the loop ----
  void list_letters(Answer<std::vector<LetterLine>> then) override;
  void show_letters(const EntityId& source, std::uint64_t limit,
                    Answer<std::vector<DeadLetter>> then) override;
  /// When none is left its events flow again.
  void retry_letters(const LetterOrder& order, Answer<std::uint64_t> then) override;
  void discard_letter(const EntityId& source, Answer<std::uint64_t> then) override;

 private:
  enum class Phase { loading, preparing, reading, over };
  struct InHand {
    StreamEvent event;
    std::int64_t first_ms = 0;  ///< time of its operation: the same at every attempt
    std::uint32_t counted = 0;  ///< attempts that failed by its own fault
    std::string broken;         ///< why it cannot even be read
    std::string why;            ///< the last failure
  };
  struct Box {
    std::uint64_t length = 0;
    std::int64_t since_ms = 0;
    std::optional<std::uint64_t> newest;  ///< sequence of the last letter, once it is known
    bool busy = false;
  };

  template <class Call>
  auto on_loop(Call call);
  void load();
  void loaded(Result<Loaded> answer);
  void boxes_read(const Result<LetterBoxes>& answer);
  void again_in(std::int64_t ms) { again_at_ = boot_ms() + ms; }
  void read_from(std::uint64_t position);
  void first_start();
  void prepare();
  void prepared(Result<std::uint64_t> last);
  void complain(const std::string& what);
  void open_desk();
  void delivered(NatsMessage message);
  void status(const std::string& code);
  void take(std::uint64_t sequence, natsMsg& message);
  void pull(std::int64_t now_ms);
  void work();
  void start(const EventReader::Step& step);
  void handled(std::uint64_t sequence, const Handled& outcome);
  void finished(std::uint64_t sequence);
  void park(std::uint64_t sequence);
  void look_at_last(std::uint64_t sequence);
  void parked_one(std::uint64_t sequence, std::uint64_t expected,
                  const Result<LetterAnswer>& answer);
  void save();
  void saved(const std::string& version, Result<Committed> answer);
  void send_save();
  void stop(const std::string& why);
  void retry_head(const LetterOrder& order, std::uint64_t so_far, Answer<std::uint64_t> then);
  void take_head(const EntityId& source, const std::string& letter,
                 std::function<void(Result<std::uint64_t>)> then);
  LetterBox box_of(const EntityId& source) const;
  bool replayed(std::uint64_t sequence) const { return sequence <= place_.live_from; }
  std::string consumer() const;

  EventWorld& world_;
  const Subscription& subscription_;
  const std::uint32_t part_;
  const ShardId shard_;
  const EntityId entity_;
  OwnerToken token_;

  Phase phase_ = Phase::loading;
  std::int64_t again_at_ = 0;  ///< boot_ms(); 0: nothing is due
  std::uint64_t life_ = 0;     ///< of the consumer: what was asked for an earlier one is dropped
  std::int64_t complained_at_ = 0;

  EventPlace place_, stored_;         ///< stored_: as it stands in Redis
  std::uint64_t claimed_before_ = 0;  ///< by earlier lives of this part
  std::string version_;
  std::uint64_t count_ = 0;
  std::unique_ptr<Commit> saving_;
  std::int64_t save_again_at_ = 0, saved_at_ = 0;

  std::unique_ptr<EventReader> reader_;
  std::uint64_t reading_ = 0;  ///< of the reader
  std::map<std::uint64_t, InHand> in_hand_;
  std::map<EntityId, Box> boxes_;
  bool full_ = false;

  NatsSubscription desk_;  ///< where operators ask
  NatsSubscription inbox_;
  std::string inbox_subject_;
  std::uint64_t next_delivery_ = 1;
  std::uint64_t asked_for_ = 0;  ///< and not delivered yet
  std::int64_t pull_until_ = 0, pull_at_ = 0;
};

}  // namespace catga
