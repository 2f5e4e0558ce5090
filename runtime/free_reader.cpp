#include "catga/runtime/free_reader.hpp"

#include "catga/runtime/letter_desk.hpp"
#include "catga/runtime/telemetry/entity_keys.hpp"

#include <algorithm>
#include <utility>

namespace catga {

namespace {

constexpr std::chrono::milliseconds patience{1500}, pull_for{5000};
constexpr std::int64_t pull_lost_ms = 2000, again_ms = 300, complain_again_ms = 10'000;
constexpr std::int64_t park_again_ms = 1000, full_again_ms = 2000;

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
      consumer_(consumer_of(subscription, world.config.node.id)),
      letters_(std::make_shared<LetterStream>(world.nats, world.stream, world.prefix,
                                              world.config.events.parked_max)) {}

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
  open_desk();
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
  InHand& one = in_hand_[sequence];
  const bool in_work = one.times != 0;
  one.reply = reply_of(*message);
  one.times = delivery->times;
  one.marked_at = boot_ms();
  if (!in_work) take(sequence, *message);
  pull(boot_ms());
}

void FreeReader::take(std::uint64_t sequence, natsMsg& message) {
  InHand& one = in_hand_.at(sequence);
  Result<StreamEvent> event = read_event(
      [&message](const std::string& name) { return header_of(message, name); }, body_of(message));
  one.letter.sequence = sequence;
  if (!event.ok()) {  // somebody else's: kept as it is
    one.letter.event.source = {"?", std::string(subject_of(message))};
    one.letter.event.name = subscription_.event;
    one.letter.event.payload = body_of(message);
    return handled(sequence, {Handled::Kind::hopeless, event.error().text, true});
  }
  one.letter.first_ms = event->at_ms;
  one.letter.event = std::move(*event);
  const StreamEvent& read = one.letter.event;
  const std::int64_t first_ms = one.times == 1 ? world_.standing.cluster_now() : read.at_ms;
  handle_event(world_, subscription_,
               facts_of(one.letter, read.at_ms < since_ms_, static_cast<std::uint32_t>(one.times)),
               read.payload, read.trace, first_ms,
               on_loop([sequence](FreeReader& self, const Handled& outcome) {
                 self.handled(sequence, outcome);
               }));
}

void FreeReader::handled(std::uint64_t sequence, const Handled& outcome) {
  const auto found = in_hand_.find(sequence);
  if (found == in_hand_.end()) return;
  InHand& one = found->second;
  const bool too_often = outcome.counts && one.times >= world_.config.events.attempts;
  // An acknowledgement that is lost brings the event again, after events.ack_wait.
  if (outcome.kind == Handled::Kind::hopeless ||
      (outcome.kind == Handled::Kind::again && too_often)) {
    one.letter.why = outcome.why;
    return park(sequence);
  }
  if (outcome.kind == Handled::Kind::done) {
    (void)world_.nats.publish(one.reply, "", "+ACK");
  } else {
    const std::int64_t wait =
        event_retry_ms(static_cast<std::uint32_t>(std::min<std::uint64_t>(one.times, 30)));
    (void)world_.nats.publish(one.reply, "",
                              "-NAK {\"delay\":" + std::to_string(wait * 1'000'000) + '}');
  }
  in_hand_.erase(found);
  pull(boot_ms());
}

// ---- dead letters --------------------------------------------------------------------------------------------------

void FreeReader::park(std::uint64_t sequence) {
  InHand& one = in_hand_.at(sequence);
  one.park_at = 0;
  one.letter.parked_ms = world_.standing.cluster_now();
  one.letter.attempts = static_cast<std::uint32_t>(one.times);
  world_.chores.post([letters = letters_, reader = consumer_, letter = one.letter,
                      done = on_loop([sequence](FreeReader& self, const Result<bool>& kept) {
                        self.parked(sequence, kept);
                      })] { done(letters->park(reader, letter)); });
}

void FreeReader::parked(std::uint64_t sequence, const Result<bool>& kept) {
  const auto found = in_hand_.find(sequence);
  if (found == in_hand_.end()) return;
  InHand& one = found->second;
  const EntityId& source = one.letter.event.source;
  if (!kept.ok() || !*kept) {
    one.park_at = boot_ms() + (kept.ok() ? full_again_ms : park_again_ms);
    return complain(kept.ok() ? "there is no room for more dead letters of " +
                                    entity_shown(world_.config, source) +
                                    ": what is given up stays in hand until some are retried or "
                                    "discarded"
                              : "a dead letter cannot be kept yet: " + kept.error().text);
  }
  world_.log.write(
      Severity::error, "events", "",
      "subscription " + consumer_ + ": an event of " + entity_shown(world_.config, source) +
          " is given up after " + std::to_string(one.times) + " attempts: " + one.letter.why +
          ". It is a dead letter now: retry or discard it",
      {{"sequence", static_cast<std::int64_t>(sequence)}, {"event", one.letter.event.name}});
  (void)world_.nats.publish(one.reply, "", "+TERM");
  in_hand_.erase(found);
  pull(boot_ms());
}

void FreeReader::open_desk() {
  if (desk_) return;
  const auto taker = on_loop([](FreeReader& self, std::shared_ptr<NatsMessage> message) {
    serve_letters(
        self, body_of(**message),
        [&world = self.world_, reply = std::string(reply_of(**message))](
            const std::string& answer) { (void)world.nats.publish(reply, "", answer); },
        subject_of(**message).ends_with(".0"));
  });
  const std::string subject = world_.prefix + "dl." + consumer_ + ".*";
  Result<NatsSubscription> desk = world_.nats.subscribe(
      subject, "letters",
      [taker](NatsMessage message) { taker(std::make_shared<NatsMessage>(std::move(message))); });
  if (desk.ok()) desk_ = std::move(*desk);
}

void FreeReader::list_letters(Answer<std::vector<LetterLine>> then) {
  world_.chores.post([letters = letters_, reader = consumer_, then = std::move(then)] {
    then(letters->list(reader));
  });
}

void FreeReader::show_letters(const EntityId& source, std::uint64_t limit,
                              Answer<std::vector<DeadLetter>> then) {
  world_.chores.post(
      [letters = letters_, reader = consumer_, source, limit, then = std::move(then)] {
        Result<std::vector<LetterStream::Kept>> kept = letters->read(reader, source, limit);
        if (!kept.ok()) return then(kept.error());
        std::vector<DeadLetter> all;
        for (LetterStream::Kept& one : *kept) all.push_back(std::move(one.letter));
        then(std::move(all));
      });
}

void FreeReader::retry_letters(const LetterOrder& order, Answer<std::uint64_t> then) {
  retry_head(order, 0, std::move(then));
}

/// The handler runs where all handlers do, between two calls to JetStream.
void FreeReader::retry_head(const LetterOrder& order, std::uint64_t so_far,
                            Answer<std::uint64_t> then) {
  const auto read = [order, so_far, then](FreeReader& self,
                                          const Result<std::vector<LetterStream::Kept>>& kept) {
    if (!kept.ok()) return then(kept.error());
    if (kept->empty()) return then(so_far);
    const LetterStream::Kept& head = kept->front();
    const std::int64_t first_ms =
        order.renew ? self.world_.standing.cluster_now() : head.letter.first_ms;
    handle_event(
        self.world_, self.subscription_,
        facts_of(head.letter, head.letter.event.at_ms < self.since_ms_, head.letter.attempts + 1),
        head.letter.event.payload, head.letter.event.trace, first_ms,
        self.on_loop([order, so_far, then, place = head.place](FreeReader& again,
                                                               const Handled& outcome) {
          if (outcome.kind != Handled::Kind::done) return then(Error{Code::failed, outcome.why});
          again.world_.chores.post(
              [letters = again.letters_, place,
               done = again.on_loop([order, so_far, then](FreeReader& next, const Status& removed) {
                 if (!removed.ok()) return then(removed.error());
                 next.retry_head(order, so_far + 1, then);
               })] { done(letters->remove(place)); });
        }));
  };
  world_.chores.post([letters = letters_, reader = consumer_, source = order.source,
                      done = on_loop(read)] { done(letters->read(reader, source, 1)); });
}

void FreeReader::discard_letter(const EntityId& source, Answer<std::uint64_t> then) {
  world_.chores.post([letters = letters_, reader = consumer_, source, then = std::move(then)] {
    const Result<std::vector<LetterStream::Kept>> kept = letters->read(reader, source, 1);
    if (!kept.ok()) return then(kept.error());
    if (kept->empty()) return then(nothing_parked(source));
    const Status removed = letters->remove(kept->front().place);
    if (!removed.ok()) return then(removed.error());
    then(letters->length(reader, source));
  });
}

// ---- time ----------------------------------------------------------------------------------------------------------

void FreeReader::tick(std::int64_t now_ms) {
  if (over_) return;
  if (again_at_ != 0 && now_ms >= again_at_) return prepare();
  for (auto& [sequence, one] : in_hand_) {
    if (one.park_at != 0 && now_ms >= one.park_at) park(sequence);
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
  desk_ = {};
  for (const auto& [sequence, one] : in_hand_) (void)world_.nats.publish(one.reply, "", "-NAK");
  in_hand_.clear();
}

}  // namespace catga
