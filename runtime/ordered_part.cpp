#include "catga/runtime/ordered_part.hpp"

#include "catga/entities/operation.hpp"
#include "catga/runtime/letter_desk.hpp"
#include "catga/runtime/telemetry/entity_keys.hpp"

#include <algorithm>
#include <utility>

namespace catga {

namespace {

constexpr std::chrono::milliseconds patience{1500};  // for one call to JetStream
constexpr std::chrono::milliseconds pull_for{5000};  // a pull is held open so long
constexpr std::int64_t pull_lost_ms = 2000;          // no word so long after: the pull is lost
constexpr std::int64_t again_ms = 300, save_again_ms = 200, complain_again_ms = 10'000;
constexpr std::int64_t save_every_ms = 500;
constexpr std::uint64_t save_every = 256, claim_ahead = 1024;  // sequences
constexpr std::int64_t full_again_ms = 2000;

/// Where a subscription begins that was never started before.
struct Start {
  std::uint64_t last = 0;      ///< of the stream, now
  std::uint64_t position = 0;  ///< what is up to here is not read
};

Result<Start> start_of(EventWorld& world, const From& from) {
  const Status there = ensure_stream(world.nats, world.stream, patience);
  if (!there.ok()) return there.error();
  Start start;
  start.last = CATGA_TRY(last_sequence(world.nats, world.stream.name, patience));
  start.position = start.last;
  if (from.kind() == From::Kind::now) return start;
  std::uint64_t first = from.value();
  if (from.kind() == From::Kind::time) {
    const auto time_ms = static_cast<std::int64_t>(from.value());
    first = CATGA_TRY(sequence_at(world.nats, world.stream.name, time_ms, patience));
  }
  start.position = std::min(first == 0 ? 0 : first - 1, start.last);  // beyond the end is now
  return start;
}

}  // namespace

OrderedPart::OrderedPart(EventWorld& world, const Subscription& subscription, std::uint32_t part,
                         ShardId shard, OwnerToken token)
    : world_(world),
      subscription_(subscription),
      part_(part),
      shard_(shard),
      entity_(event_part_entity(subscription.name, part)),
      token_(token) {}

std::string OrderedPart::consumer() const {
  return subscription_.name + '-' + std::to_string(part_);
}

LetterBox OrderedPart::box_of(const EntityId& source) const {
  return {shard_, token_, letter_box(subscription_.name, source)};
}

/// Makes of a call a callback for any thread: it runs on the loop, if this part is still there and not over.
template <class Call>
auto OrderedPart::on_loop(Call call) {
  return [weak = weak_from_this(), &world = world_, call = std::move(call)](auto answer) {
    world.loop.post([weak, call, answer = std::move(answer)]() mutable {
      const std::shared_ptr<OrderedPart> self = weak.lock();
      if (self && !self->over()) call(*self, std::move(answer));
    });
  };
}

void OrderedPart::complain(const std::string& what) {
  const std::int64_t now = boot_ms();
  if (complained_at_ != 0 && now - complained_at_ < complain_again_ms) return;
  complained_at_ = now;
  world_.log.write(
      Severity::warn, "events", "",
      "subscription " + subscription_.name + ", part " + std::to_string(part_) + ": " + what,
      {{"catga.shard.id", static_cast<std::int64_t>(shard_.value)}});
}

void OrderedPart::stop(const std::string& why) {
  if (over()) return;
  phase_ = Phase::over;
  inbox_ = {};
  desk_ = {};
  complain(why + "; it goes on when the shard is served again");
}

// ---- the place -----------------------------------------------------------------------------------------------------

void OrderedPart::begin() { load(); }

void OrderedPart::load() {
  phase_ = Phase::loading;
  again_at_ = 0;
  ++life_;
  inbox_ = {};
  if (saving_) return again_in(save_again_ms);  // its answer says what stands there
  Load load;
  load.shard = shard_;
  load.token = token_;
  load.entity = entity_;
  world_.stores.state().load(
      load, on_loop([life = life_, token = token_](OrderedPart& self, Result<Loaded> answer) {
        if (life != self.life_) return;
        if (answer.ok() && answer->fenced && token != self.token_) return self.load();
        self.loaded(std::move(answer));
      }));
}

void OrderedPart::loaded(Result<Loaded> answer) {
  if (!answer.ok()) return again_in(again_ms);
  if (answer->fenced) return stop("the shard has another owner");
  if (reader_ && answer->version == version_) return prepare();  // what is in hand stays
  reader_.reset();
  in_hand_.clear();
  ++reading_;
  version_ = answer->version;
  const Result<std::uint64_t> count =
      parse_number(std::string_view(version_).substr(0, version_.find('.')));
  count_ = count.ok() ? *count : 0;
  if (!answer->state.empty()) {
    Result<EventPlace> place = parse_event_place(answer->state);
    if (!place.ok()) return stop(place.error().text);
    place_ = stored_ = *place;
  }
  LetterStore* letters = world_.stores.letters();
  if (letters == nullptr) return boxes_read(LetterBoxes{});
  letters->boxes(shard_, token_,
                 on_loop([life = life_](OrderedPart& self, const Result<LetterBoxes>& boxes) {
                   if (life == self.life_) self.boxes_read(boxes);
                 }));
}

void OrderedPart::boxes_read(const Result<LetterBoxes>& answer) {
  if (!answer.ok()) return again_in(again_ms);
  if (answer->fenced) return stop("the shard has another owner");
  boxes_.clear();
  const std::string mine = subscription_.name + ':';
  for (const LetterBoxes::Box& box : answer->boxes) {
    const std::string_view name = box.name;
    const auto slash = name.find('/');
    if (!name.starts_with(mine) || slash == name.npos) continue;
    const EntityId source{std::string(name.substr(mine.size(), slash - mine.size())),
                          std::string(name.substr(slash + 1))};
    boxes_[source] = {box.length, box.since_ms, std::nullopt, false};
  }
  if (version_.empty()) return first_start();
  claimed_before_ = place_.claimed;
  read_from(place_.position);
  prepare();
}

void OrderedPart::read_from(std::uint64_t position) {
  ++reading_;  // what comes back from handlers of before is not looked at
  in_hand_.clear();
  reader_ = std::make_unique<EventReader>(position, world_.config.events.unacknowledged);
  for (const auto& [source, box] : boxes_) reader_->park(source);
}

/// Where the stream ends now, is where the subscription begins to be live; the place is written before anything is read.
void OrderedPart::first_start() {
  phase_ = Phase::preparing;
  world_.chores.post([&world = world_, from = subscription_.options.from,
                      done = on_loop([life = life_](OrderedPart& self, const Result<Start>& start) {
                        if (life != self.life_) return;
                        if (!start.ok()) {
                          self.complain(start.error().text);
                          self.phase_ = Phase::loading;
                          return self.again_in(again_ms);
                        }
                        self.place_.live_from = start->last;
                        self.place_.position = start->position;
                        self.place_.claimed = self.claimed_before_ = self.place_.position;
                        self.read_from(self.place_.position);
                        self.save();  // prepare() follows
                      })] { done(start_of(world, from)); });
}

void OrderedPart::save() {
  if (saving_ || over()) return;
  if (reader_) place_.position = std::max(place_.position, reader_->position());
  saving_ = std::make_unique<Commit>();
  saving_->shard = shard_;
  saving_->entity = entity_;
  saving_->expected = version_;
  saving_->next = std::to_string(count_ + 1) + '.' +
                  std::to_string(static_cast<std::uint32_t>(new_operation_id().low));
  saving_->state = bytes_of(place_);
  send_save();
}

void OrderedPart::send_save() {
  save_again_at_ = 0;
  saving_->token = token_;
  world_.stores.state().commit(
      *saving_, on_loop([version = saving_->next](OrderedPart& self, Result<Committed> answer) {
        self.saved(version, std::move(answer));
      }));
}

void OrderedPart::saved(const std::string& version, Result<Committed> answer) {
  if (!saving_ || saving_->next != version) return;
  if (!answer.ok()) {
    save_again_at_ = boot_ms() + save_again_ms;
    return;
  }
  switch (answer->outcome) {
    case Committed::Outcome::ok:
    case Committed::Outcome::already:
      break;
    case Committed::Outcome::fenced:
      if (saving_->token != token_) return send_save();
      return stop("the shard has another owner");
    default:  // somebody wrote since: what is in memory is of no use
      saving_.reset();
      reader_.reset();
      in_hand_.clear();
      ++reading_;
      complain("its place was written by somebody else; it is read again");
      return load();
  }
  stored_ = parse_event_place(*saving_->state).value();
  version_ = saving_->next;
  count_ += 1;
  saving_.reset();
  saved_at_ = boot_ms();
  if (phase_ == Phase::preparing && !inbox_ && again_at_ == 0) return prepare();
  if (phase_ == Phase::reading) work();  // it may have waited for a higher claim
}

// ---- the consumer --------------------------------------------------------------------------------------------------

/// Operators find the part at the node that reads it, and nowhere else.
void OrderedPart::open_desk() {
  if (desk_) return;
  const auto taker = on_loop([](OrderedPart& self, std::shared_ptr<NatsMessage> message) {
    serve_letters(self, body_of(**message),
                  [&world = self.world_, reply = std::string(reply_of(**message))](
                      const std::string& answer) { (void)world.nats.publish(reply, "", answer); });
  });
  Result<NatsSubscription> desk = world_.nats.subscribe(
      letter_subject(world_.prefix, subscription_.name, part_), "",
      [taker](NatsMessage message) { taker(std::make_shared<NatsMessage>(std::move(message))); });
  if (desk.ok()) desk_ = std::move(*desk);
}

void OrderedPart::prepare() {
  phase_ = Phase::preparing;
  open_desk();
  again_at_ = 0;
  const std::uint64_t life = ++life_;
  ConsumerOptions options;
  options.stream = world_.stream.name;
  options.name = consumer();
  options.filter = event_filter(world_.prefix, subscription_.event, part_);
  options.from_sequence = reader_->position() + 1;
  options.explicit_acks = false;
  again_in(60'000);  // should the answer be lost
  world_.chores.post([&world = world_, options = std::move(options),
                      done = on_loop([life](OrderedPart& self, Result<std::uint64_t> last) {
                        if (life == self.life_) self.prepared(std::move(last));
                      })] {
    Status there = ensure_stream(world.nats, world.stream, patience);
    Result<std::uint64_t> last = 0;
    if (there.ok()) last = last_sequence(world.nats, world.stream.name, patience);
    if (there.ok() && last.ok()) {
      const Result<std::int64_t> made = make_consumer(world.nats, options, true, patience);
      if (!made.ok()) there = made.error();
    }
    done(there.ok() ? last : Result<std::uint64_t>(there.error()));
  });
}

void OrderedPart::prepared(Result<std::uint64_t> last) {
  again_at_ = 0;
  if (!last.ok()) {
    complain(last.error().text);
    phase_ = Phase::loading;
    return again_in(again_ms);
  }
  if (*last < reader_->newest()) {
    complain("the stream " + world_.stream.name + " ends at " + std::to_string(*last) +
             ", before the place reached, " + std::to_string(reader_->newest()) +
             ": it was made anew, and is read from its beginning");
    place_ = {};
    claimed_before_ = 0;
    read_from(0);
    phase_ = Phase::preparing;
    return save();  // prepare() follows
  }
  inbox_subject_ = world_.new_inbox();
  const auto taker =
      on_loop([life = life_](OrderedPart& self, std::shared_ptr<NatsMessage> message) {
        if (life == self.life_) self.delivered(std::move(*message));
      });
  Result<NatsSubscription> inbox = world_.nats.subscribe(
      inbox_subject_, "",
      [taker](NatsMessage message) { taker(std::make_shared<NatsMessage>(std::move(message))); });
  if (!inbox.ok()) {
    phase_ = Phase::loading;
    return again_in(again_ms);
  }
  inbox_ = std::move(*inbox);
  phase_ = Phase::reading;
  next_delivery_ = 1;
  asked_for_ = 0;
  pull_at_ = pull_until_ = 0;
  work();
}

void OrderedPart::pull(std::int64_t now_ms) {
  if (phase_ != Phase::reading || full_) return;
  if (asked_for_ != 0 && now_ms < pull_until_) return;
  if (asked_for_ != 0) return load();  // no word of it: lost, or the consumer is
  if (now_ms < pull_at_) return;
  const std::size_t room = reader_->room();
  if (room == 0 || room < world_.config.events.unacknowledged / 4) return;
  const Status sent =
      world_.nats.publish(pull_subject(world_.stream.name, consumer()), inbox_subject_,
                          pull_body(static_cast<std::uint32_t>(room), pull_for));
  if (!sent.ok()) {
    pull_at_ = now_ms + again_ms;
    return;
  }
  asked_for_ = room;
  pull_until_ = now_ms + pull_for.count() + pull_lost_ms;
}

void OrderedPart::status(const std::string& code) {
  asked_for_ = 0;
  if (code == "404" || code == "408") return pull(boot_ms());  // nothing came in time
  reconnected();  // 409, 503: the consumer is gone, its leader changed, or somebody else reads it
}

void OrderedPart::reconnected() {
  if (phase_ != Phase::reading) return;
  phase_ = Phase::loading;
  ++life_;
  inbox_ = {};
  again_in(again_ms);
}

void OrderedPart::delivered(NatsMessage message) {
  if (phase_ != Phase::reading) return;
  const std::string code = pull_status(*message);
  if (code == "100") return;
  if (!code.empty()) return status(code);
  const std::optional<Delivery> delivery = read_delivery(reply_of(*message));
  if (!delivery) return;
  if (delivery->consumer_sequence != next_delivery_)
    return load();  // a gap: nothing behind it is looked at
  next_delivery_ += 1;
  if (asked_for_ != 0) asked_for_ -= 1;
  take(delivery->sequence, *message);
  work();
}

void OrderedPart::take(std::uint64_t sequence, natsMsg& message) {
  Result<StreamEvent> event = read_event(
      [&message](const std::string& name) { return header_of(message, name); }, body_of(message));
  InHand one;
  if (event.ok()) {
    one.event = std::move(*event);
  } else {  // somebody else's: kept as it is, in a sequence of its own
    one.event.source = {"?", std::string(subject_of(message))};
    one.event.name = subscription_.event;
    one.event.payload = body_of(message);
    one.broken = event.error().text;
  }
  EntityId source = one.event.source;
  if (reader_->arrived(sequence, std::move(source))) in_hand_.emplace(sequence, std::move(one));
}

// ---- handling ------------------------------------------------------------------------------------------------------

void OrderedPart::work() {
  if (phase_ != Phase::reading) return;
  if (reader_->newest() > stored_.claimed) {  // before any of them is handed out: see EventPlace
    if (!saving_) {
      place_.claimed = reader_->newest() + claim_ahead;
      save();
    }
  } else {
    for (auto steps = reader_->due(boot_ms()); !steps.empty(); steps = reader_->due(boot_ms()))
      for (const EventReader::Step& step : steps) start(step);
  }
  if (reader_->position() >= stored_.position + save_every && !saving_) save();
  pull(boot_ms());
}

void OrderedPart::start(const EventReader::Step& step) {
  InHand& one = in_hand_.at(step.sequence);
  if (step.park || !one.broken.empty()) return park(step.sequence);
  // Above what earlier lives of this part claimed, nobody can have handed it out before: a long wait in the stream then
  // does not make it look like a late repeat.
  if (one.first_ms == 0) {
    one.first_ms =
        step.sequence > claimed_before_ ? world_.standing.cluster_now() : one.event.at_ms;
  }
  EventInfo::Facts facts{one.event.id,    one.event.source,        one.event.number,
                         one.event.epoch, one.event.at_ms,         one.event.name,
                         step.sequence,   replayed(step.sequence), step.attempt};
  handle_event(world_, subscription_, std::move(facts), one.event.payload, one.event.trace,
               one.first_ms,
               on_loop([sequence = step.sequence, reading = reading_](OrderedPart& self,
                                                                      const Handled& outcome) {
                 if (reading == self.reading_) self.handled(sequence, outcome);
               }));
}

void OrderedPart::handled(std::uint64_t sequence, const Handled& outcome) {
  const auto found = in_hand_.find(sequence);
  if (found == in_hand_.end() || !reader_) return;
  InHand& one = found->second;
  if (outcome.kind == Handled::Kind::done) return finished(sequence);
  one.why = outcome.why;
  if (outcome.counts) one.counted += 1;
  if (outcome.kind == Handled::Kind::hopeless || one.counted >= world_.config.events.attempts) {
    park(sequence);
    return work();
  }
  const std::uint32_t waits = std::max(one.counted, std::uint32_t{1});
  reader_->finished(sequence, EventReader::Verdict::again, boot_ms() + event_retry_ms(waits));
  work();
}

void OrderedPart::finished(std::uint64_t sequence) {
  reader_->finished(sequence, EventReader::Verdict::done, 0);
  in_hand_.erase(sequence);
  work();
}

// ---- dead letters --------------------------------------------------------------------------------------------------

void OrderedPart::park(std::uint64_t sequence) {
  const InHand& one = in_hand_.at(sequence);
  LetterStore* letters = world_.stores.letters();
  Box& box = boxes_[one.event.source];
  reader_->park(one.event.source);
  if (box.busy || letters == nullptr) {
    reader_->finished(sequence, EventReader::Verdict::again, boot_ms() + again_ms);
    return;
  }
  if (box.length != 0 && !box.newest) return look_at_last(sequence);
  if (box.newest && sequence <= *box.newest) {  // parked before a crash
    reader_->finished(sequence, EventReader::Verdict::done, 0);
    in_hand_.erase(sequence);
    return;
  }
  DeadLetter letter;
  letter.event = one.event;
  letter.sequence = sequence;
  letter.first_ms = one.first_ms != 0 ? one.first_ms : one.event.at_ms;
  letter.parked_ms = world_.standing.cluster_now();
  letter.attempts = one.counted;
  letter.why = !one.broken.empty() ? one.broken : one.why;
  if (box.length == 0) {
    box.since_ms = letter.parked_ms;
    world_.log.write(
        Severity::error, "events", "",
        "subscription " + subscription_.name + ": an event of " +
            entity_shown(world_.config, one.event.source) +
            " cannot be handled; it and all later ones of this entity are parked: " + letter.why,
        {{"sequence", static_cast<std::int64_t>(sequence)}, {"event", one.event.name}});
  }
  box.busy = true;
  letters->park(box_of(one.event.source), box.length, world_.config.events.parked_max,
                letter.parked_ms, {bytes_of(letter)},
                on_loop([sequence, expected = box.length, reading = reading_](
                            OrderedPart& self, const Result<LetterAnswer>& answer) {
                  if (reading == self.reading_) self.parked_one(sequence, expected, answer);
                }));
}

void OrderedPart::parked_one(std::uint64_t sequence, std::uint64_t expected,
                             const Result<LetterAnswer>& answer) {
  const auto found = in_hand_.find(sequence);
  if (found == in_hand_.end()) return;  // the place was read again meanwhile
  Box& box = boxes_[found->second.event.source];
  box.busy = false;
  const std::int64_t now = boot_ms();
  if (!answer.ok()) {
    reader_->finished(sequence, EventReader::Verdict::again, now + again_ms);
    return;
  }
  switch (answer->outcome) {
    case LetterAnswer::Outcome::fenced:
      return stop("the shard has another owner");
    case LetterAnswer::Outcome::full:
      if (!std::exchange(full_, true))
        complain("more than events.parked_max events of " +
                 entity_shown(world_.config, found->second.event.source) +
                 " are parked: this part stands still until some are retried or discarded");
      reader_->finished(sequence, EventReader::Verdict::again, now + full_again_ms);
      return;
    case LetterAnswer::Outcome::conflict:
      box.length = answer->length;
      if (answer->length == expected + 1) break;  // an earlier copy of this very call
      reader_->finished(sequence, EventReader::Verdict::again, now + again_ms);
      return;
    case LetterAnswer::Outcome::already:  // of tells only
    case LetterAnswer::Outcome::ok:
      box.length = answer->length;
      break;
  }
  full_ = false;
  box.newest = sequence;
  finished(sequence);
}

/// The place may be older than what was parked: what is there already is not parked again.
void OrderedPart::look_at_last(std::uint64_t sequence) {
  const EntityId source = in_hand_.at(sequence).event.source;
  boxes_[source].busy = true;
  world_.stores.letters()->read_last(
      box_of(source), on_loop([source, sequence, reading = reading_](
                                  OrderedPart& self, const Result<Letters>& answer) {
        if (reading != self.reading_) return;
        Box& box = self.boxes_[source];
        box.busy = false;
        if (answer.ok() && answer->fenced) return self.stop("the shard has another owner");
        if (answer.ok() && answer->letters.empty()) box = {};
        if (answer.ok() && !answer->letters.empty()) {
          const Result<DeadLetter> last = parse_dead_letter(answer->letters.front());
          box.newest = last.ok() ? last->sequence : 0;
        }
        if (answer.ok())
          self.park(sequence);
        else
          self.reader_->finished(sequence, EventReader::Verdict::again, boot_ms() + again_ms);
        self.work();
      }));
}

void OrderedPart::list_letters(Answer<std::vector<LetterLine>> then) {
  std::vector<LetterLine> all;
  for (const auto& [source, box] : boxes_) {
    if (box.length == 0) continue;
    const std::chrono::milliseconds since(box.since_ms);
    all.push_back(
        {subscription_.name, {source, box.length, std::chrono::system_clock::time_point(since)}});
  }
  then(std::move(all));
}

void OrderedPart::show_letters(const EntityId& source, std::uint64_t limit,
                               Answer<std::vector<DeadLetter>> then) {
  LetterStore* letters = world_.stores.letters();
  if (letters == nullptr) return then(std::vector<DeadLetter>{});
  letters->read(box_of(source), limit, [then = std::move(then)](const Result<Letters>& answer) {
    then(letters_in(answer));
  });
}

void OrderedPart::retry_letters(const LetterOrder& order, Answer<std::uint64_t> then) {
  retry_head(order, 0, std::move(then));
}

void OrderedPart::retry_head(const LetterOrder& order, std::uint64_t so_far,
                             Answer<std::uint64_t> then) {
  const auto box = boxes_.find(order.source);
  LetterStore* letters = world_.stores.letters();
  if (over() || letters == nullptr || box == boxes_.end() || box->second.length == 0)
    return then(so_far);
  letters->read(
      box_of(order.source), 1,
      on_loop([order, so_far, then](OrderedPart& self, const Result<Letters>& answer) {
        if (!answer.ok()) return then(answer.error());
        if (answer->fenced) {
          then(Error{Code::unavailable, "the shard has another owner; ask again"});
          return self.stop("the shard has another owner");
        }
        if (answer->letters.empty()) return then(so_far);
        const std::string head = answer->letters.front();
        const Result<DeadLetter> letter = parse_dead_letter(head);
        if (!letter.ok()) return then(letter.error());
        const std::int64_t first_ms =
            order.renew ? self.world_.standing.cluster_now() : letter->first_ms;
        handle_event(
            self.world_, self.subscription_,
            facts_of(*letter, self.replayed(letter->sequence), letter->attempts + 1),
            letter->event.payload, letter->event.trace, first_ms,
            self.on_loop([order, so_far, then, head](OrderedPart& part, const Handled& outcome) {
              if (outcome.kind != Handled::Kind::done)
                return then(Error{Code::failed, outcome.why});
              part.take_head(
                  order.source, head,
                  [weak = part.weak_from_this(), order, so_far, then](Result<std::uint64_t> left) {
                    const auto still = weak.lock();
                    if (!left.ok() || !still) return then(left);
                    still->retry_head(order, so_far + 1, then);
                  });
            }));
      }));
}

void OrderedPart::discard_letter(const EntityId& source, Answer<std::uint64_t> then) {
  LetterStore* letters = world_.stores.letters();
  if (letters == nullptr || !boxes_.contains(source)) return then(nothing_parked(source));
  letters->read(box_of(source), 1,
                on_loop([source, then](OrderedPart& self, const Result<Letters>& answer) {
                  if (!answer.ok()) return then(answer.error());
                  if (answer->letters.empty()) return then(nothing_parked(source));
                  self.take_head(source, answer->letters.front(), then);
                }));
}

/// `then` gets how many are left.
void OrderedPart::take_head(const EntityId& source, const std::string& letter,
                            std::function<void(Result<std::uint64_t>)> then) {
  Box& box = boxes_[source];
  if (box.busy)
    return then(
        Error{Code::unavailable, "an event of " + text_of(source) + " is being parked; try again"});
  box.busy = true;
  world_.stores.letters()->take(
      box_of(source), letter,
      on_loop([source, then](OrderedPart& self, const Result<LetterAnswer>& answer) {
        Box& taken = self.boxes_[source];
        taken.busy = false;
        if (!answer.ok()) return then(answer.error());
        if (answer->outcome == LetterAnswer::Outcome::fenced) {
          then(Error{Code::unavailable, "the shard has another owner; ask again"});
          return self.stop("the shard has another owner");
        }
        taken.length = answer->length;
        self.full_ = false;
        if (taken.length == 0) {
          self.boxes_.erase(source);
          if (self.reader_) self.reader_->reopen(source);
        }
        then(answer->length);
        self.work();
      }));
}

// ---- time ----------------------------------------------------------------------------------------------------------

void OrderedPart::tick(std::int64_t now_ms) {
  if (over()) return;
  if (saving_ && save_again_at_ != 0 && now_ms >= save_again_at_) send_save();
  if (again_at_ != 0 && now_ms >= again_at_) return load();
  if (phase_ != Phase::reading) return;
  if (!saving_ && reader_->position() > stored_.position && now_ms - saved_at_ >= save_every_ms)
    save();
  work();
}

void OrderedPart::leave() {
  if (over()) return;
  if (!saving_ && reader_ && reader_->position() > stored_.position) save();
  phase_ = Phase::over;
  ++life_;
  inbox_ = {};
  desk_ = {};
}

}  // namespace catga
