#include "catga/runtime/free_reader.hpp"

#include <algorithm>
#include <utility>

namespace catga {

namespace {

constexpr std::chrono::milliseconds patience{1500}, pull_for{5000};
constexpr std::int64_t pull_lost_ms = 2000, again_ms = 300, complain_again_ms = 10'000;

std::string consumer_of(const Subscription& subscription, std::string node) {
  if (subscription.options.spread != Spread::broadcast) return subscription.name;
  std::ranges::replace(node, '.', '_');  // a dot would make two tokens of a subject
  return subscription.name + '-' + node;
}

Result<std::int64_t> made_consumer(EventWorld& world, const From& from, ConsumerOptions& options) {
  const Status there = ensure_stream(world.nats, world.stream, patience);
  if (!there.ok()) return there.error();
  if (from.kind() == From::Kind::time) {
    const auto time_ms = static_cast<std::int64_t>(from.value());
    options.from_sequence =
        CATGA_TRY(sequence_at(world.nats, world.stream.name, time_ms, patience));
  }
  return make_consumer(world.nats, options, false, patience);
}

}  // namespace

FreeReader::FreeReader(EventWorld& world, const Subscription& subscription)
    : world_(world),
      subscription_(subscription),
      consumer_(consumer_of(subscription, world.config.node.id)) {}

template <class Call>
auto FreeReader::on_loop(Call call) {
  return [weak = weak_from_this(), &world = world_, call = std::move(call)](auto answer) {
    world.loop.post([weak, call, answer = std::move(answer)]() mutable {
      const std::shared_ptr<FreeReader> self = weak.lock();
      if (self && !self->over_) call(*self, std::move(answer));
    });
  };
}

void FreeReader::complain(const std::string& what) {
  const std::int64_t now = boot_ms();
  if (complained_at_ != 0 && now - complained_at_ < complain_again_ms) return;
  complained_at_ = now;
  world_.log.write(Severity::warn, "events", "",
                   "subscription " + subscription_.name + ": " + what);
}

void FreeReader::prepare() {
  ++life_;
  reading_ = false;
  inbox_ = {};
  again_in(60'000);  // should the answer be lost
  ConsumerOptions options;
  options.stream = world_.stream.name;
  options.name = consumer_;
  options.filter = event_filter(world_.prefix, subscription_.event, std::nullopt);
  const From from = subscription_.options.from;
  if (from.kind() == From::Kind::sequence)
    options.from_sequence = std::max<std::uint64_t>(from.value(), 1);
  options.ack_wait = world_.config.events.ack_wait;
  // Each node has so many in hand; JetStream counts those of all.
  options.unacknowledged_max = world_.config.events.unacknowledged * 16;
  world_.chores.post([&world = world_, from, options = std::move(options),
                      done = on_loop([life = life_](FreeReader& self, Result<std::int64_t> since) {
                        if (life == self.life_) self.prepared(std::move(since));
                      })]() mutable { done(made_consumer(world, from, options)); });
}

void FreeReader::prepared(Result<std::int64_t> since_ms) {
  again_at_ = 0;
  if (!since_ms.ok()) {
    complain(since_ms.error().text);
    return again_in(again_ms);
  }
  since_ms_ = *since_ms;
  inbox_subject_ = world_.new_inbox();
  const auto taker =
      on_loop([life = life_](FreeReader& self, std::shared_ptr<NatsMessage> message) {
        if (life == self.life_) self.delivered(std::move(*message));
      });
  Result<NatsSubscription> inbox = world_.nats.subscribe(
      inbox_subject_, "",
      [taker](NatsMessage message) { taker(std::make_shared<NatsMessage>(std::move(message))); });
  if (!inbox.ok()) return again_in(again_ms);
  inbox_ = std::move(*inbox);
  reading_ = true;
  asked_for_ = 0;
  pull_at_ = pull_until_ = 0;
  pull(boot_ms());
}

void FreeReader::pull(std::int64_t now_ms) {
  if (!reading_ || now_ms < pull_at_) return;
  if (asked_for_ != 0 && now_ms < pull_until_) return;
  if (asked_for_ != 0) return reconnected();
  const std::size_t most = world_.config.events.unacknowledged;
  const std::size_t room = in_hand_.size() >= most ? 0 : most - in_hand_.size();
  if (room == 0 || room < most / 4) return;
  // Half of it: what one node asks for and does not get to is not there for the others.
  const auto batch = static_cast<std::uint32_t>(std::max<std::size_t>(room / 2, 1));
  const Status sent = world_.nats.publish(pull_subject(world_.stream.name, consumer_),
                                          inbox_subject_, pull_body(batch, pull_for));
  if (!sent.ok()) {
    pull_at_ = now_ms + again_ms;
    return;
  }
  asked_for_ = batch;
  pull_until_ = now_ms + pull_for.count() + pull_lost_ms;
}

void FreeReader::reconnected() {
  reading_ = false;
  ++life_;
  inbox_ = {};
  again_in(again_ms);
}

void FreeReader::delivered(NatsMessage message) {
  if (!reading_) return;
  const std::string code = pull_status(*message);
  if (code == "100") return;
  if (code == "404" || code == "408") {
    asked_for_ = 0;
    return pull(boot_ms());
  }
  if (!code.empty()) return reconnected();
  const std::optional<Delivery> delivery = read_delivery(reply_of(*message));
  if (!delivery) return;
  if (asked_for_ != 0) asked_for_ -= 1;
  const std::uint64_t sequence = delivery->sequence;
  const bool in_work = in_hand_.contains(sequence);
  in_hand_[sequence] = {std::string(reply_of(*message)), delivery->times, boot_ms()};
  if (!in_work) {
    Result<StreamEvent> event =
        read_event([&message](const std::string& name) { return header_of(*message, name); },
                   body_of(*message));
    if (!event.ok()) {
      handled(sequence, {Handled::Kind::hopeless, event.error().text, true});
    } else {
      EventInfo::Facts facts{event->id,
                             event->source,
                             event->number,
                             event->epoch,
                             event->at_ms,
                             event->name,
                             sequence,
                             event->at_ms < since_ms_,
                             static_cast<std::uint32_t>(delivery->times)};
      const std::int64_t first_ms =
          delivery->times == 1 ? world_.standing.cluster_now() : event->at_ms;
      handle_event(world_, subscription_, std::move(facts), std::move(event->payload),
                   std::move(event->trace), first_ms,
                   on_loop([sequence](FreeReader& self, const Handled& outcome) {
                     self.handled(sequence, outcome);
                   }));
    }
  }
  pull(boot_ms());
}

void FreeReader::handled(std::uint64_t sequence, const Handled& outcome) {
  const auto found = in_hand_.find(sequence);
  if (found == in_hand_.end()) return;
  const InHand one = std::move(found->second);
  in_hand_.erase(found);
  const bool too_often = outcome.counts && one.times >= world_.config.events.attempts;
  // An acknowledgement that is lost brings the event again, after events.ack_wait.
  if (outcome.kind == Handled::Kind::done) {
    (void)world_.nats.publish(one.reply, "", "+ACK");
  } else if (outcome.kind == Handled::Kind::hopeless || too_often) {
    world_.log.write(
        Severity::error, "events", "",
        "subscription " + subscription_.name + ": an event is given up after " +
            std::to_string(one.times) + " attempts: " + outcome.why +
            ". It stays in the stream until that forgets it: to handle it after all, subscribe "
            "under a new name from its sequence, or read it there",
        {{"sequence", static_cast<std::int64_t>(sequence)}, {"event", subscription_.event}});
    (void)world_.nats.publish(one.reply, "", "+TERM");
  } else {
    const std::int64_t wait =
        event_retry_ms(static_cast<std::uint32_t>(std::min<std::uint64_t>(one.times, 30)));
    (void)world_.nats.publish(one.reply, "",
                              "-NAK {\"delay\":" + std::to_string(wait * 1'000'000) + '}');
  }
  pull(boot_ms());
}

void FreeReader::tick(std::int64_t now_ms) {
  if (over_) return;
  if (again_at_ != 0 && now_ms >= again_at_) return prepare();
  for (auto& [sequence, one] : in_hand_) {
    if (now_ms - one.marked_at < world_.config.events.ack_wait.count() / 3) continue;
    one.marked_at = now_ms;
    (void)world_.nats.publish(one.reply, "", "+WPI");
  }
  pull(now_ms);
}

void FreeReader::leave() {
  over_ = true;
  reading_ = false;
  inbox_ = {};
  for (const auto& [sequence, one] : in_hand_) (void)world_.nats.publish(one.reply, "", "-NAK");
  in_hand_.clear();
}

}  // namespace catga
