// Tells that could not be delivered, and timers whose handler fails, of the entities on the shards that this node serves,
// as operators see them.
//
// The actor of a shard moves such a tell from the outbox to the letters of its source, in one step (LetterStore::park_tell).
// What is done with it afterwards is said here, under the token of the shard: read, sent again, thrown away. A tell is sent
// again as it was sent before, under its operation id: a target that has applied it answers from its record.
//
// Thread-safe. Nothing waits: answers come on threads of the store and of the router.
#pragma once
#include "catga/entities/messenger.hpp"
#include "catga/persistence/letters.hpp"
#include "catga/runtime/letter_keeper.hpp"
#include "catga/runtime/messaging/nats.hpp"
#include "catga/runtime/standing.hpp"
#include "catga/runtime/tenants.hpp"

#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

namespace catga {

class TellLetters final : public ShardTenants, public LetterKeeper {
 public:
  struct Surroundings {
    LetterStore& letters;
    Messenger& messenger;
    const NodeStanding& standing;
    std::uint32_t shards = 0;
    ShardTenants* next = nullptr;  ///< hears the same; may be null
  };
  /// All of it outlives this object; the stores and the messenger end before it does.
  explicit TellLetters(Surroundings around) : around_(around) {}

  /// Begins to hear operators (letter_desk.hpp).
  Status open(NatsConnection& nats, const std::string& prefix, const std::string& node);
  void close();

  void serves(ShardId shard, OwnerToken token) override;
  void leaves(ShardId shard) override;

  /// How many there were at the last look, `tells` with timers. Looks again, later, if that is old: nobody waits.
  struct Count {
    std::uint64_t tells = 0, events = 0;
  };
  Count count(std::int64_t now_ms);

  /// Of subscriptions too, as far as they live on these shards.
  void list_letters(Answer<std::vector<LetterLine>> then) override;
  void show_letters(const EntityId& source, std::uint64_t limit,
                    Answer<std::vector<DeadLetter>> then) override;
  void retry_letters(const LetterOrder& order, Answer<std::uint64_t> then) override;
  void discard_letter(const EntityId& source, Answer<std::uint64_t> then) override;

 private:
  struct Listing;
  Result<LetterBox> box_of(const EntityId& source) const;
  void list_some(const std::shared_ptr<Listing>& listing);
  void retry_head(const LetterOrder& order, std::uint64_t so_far,
                  const Answer<std::uint64_t>& then);
  void take(const EntityId& source, const std::string& letter, const Answer<std::uint64_t>& then);
  void answer(const std::string& to, const std::string& text);

  const Surroundings around_;
  mutable std::mutex lock_;
  std::map<ShardId, OwnerToken> served_;
  Count count_;
  bool counting_ = false;
  std::int64_t counted_ms_ = 0;
  NatsConnection* nats_ = nullptr;  ///< null: closed
  NatsSubscription desk_;
};

}  // namespace catga
