#include "catga/runtime/saga_machine.hpp"

#include "catga/entities/codec.hpp"
#include "catga/entities/saga/ending.hpp"
#include "catga/entities/saga/step_answer.hpp"
#include "catga/entities/saga/versions.hpp"
#include "catga/runtime/outbox_entry.hpp"
#include "catga/runtime/saga_events.hpp"
#include "catga/sharding/hash.hpp"

#include <algorithm>
#include <array>
#include <cassert>
#include <iterator>

namespace catga {

using namespace saga_action;

namespace {

constexpr std::int64_t back_off_first = 100, back_off_most = 10'000;
constexpr std::int64_t answer_before_deadline =
    100;  // who waits for the end hears in time that it has not come
constexpr std::int64_t timer_again = 1000;
constexpr std::int64_t forget_again = 60'000;    // and later and later
constexpr std::uint32_t load_failures_many = 3;  // then the header is asked for alone
constexpr std::string_view forget_timer = "forget", retry_timer = "retry", step_timer = "step.";
constexpr std::string_view crash_loop = "crash_loop";
constexpr std::string_view child_says = "child";  // `by` of the signal that a child's end is
constexpr std::uint64_t child_end_domain = 48;

namespace header {
constexpr std::string_view why = "why", version = "dv", fingerprint = "fp", created = "c",
                           parent = "pa", events = "n", trace = "tr";
}

void set_field(SagaFields& fields, std::string_view name, std::string value) {
  for (auto& [known, old] : fields) {
    if (known == name) {
      old = std::move(value);
      return;
    }
  }
  fields.emplace_back(name, std::move(value));
}

std::uint64_t number_in(const SagaFields& fields, std::string_view name) {
  const Result<std::uint64_t> number = parse_number(find_field(fields, name));
  return number ? *number : 0;
}

std::optional<SagaStatus> status_in(const SagaFields& fields) {
  const std::string_view name = find_field(fields, saga_field::status);
  for (const SagaStatus status :
       {SagaStatus::running, SagaStatus::compensating, SagaStatus::parked, SagaStatus::completed,
        SagaStatus::compensated, SagaStatus::aborted}) {
    if (name_of(status) == name) return status;
  }
  return std::nullopt;
}

SagaPlace place_of(SagaStatus status) {
  if (has_ended(status)) return SagaPlace::ended;
  return status == SagaStatus::parked ? SagaPlace::parked : SagaPlace::active;
}

/// Keeps the state as bytes: it is shown by nobody, and no reply is put into it.
class OpaqueState final : public SagaState {
 public:
  explicit OpaqueState(std::string bytes) : bytes_(std::move(bytes)) {}
  std::unique_ptr<SagaState> copy() const override { return std::make_unique<OpaqueState>(bytes_); }
  std::string bytes() const override { return bytes_; }

 private:
  std::string bytes_;
};

std::shared_ptr<const SagaDefinition> without_steps(const std::string& type,
                                                    std::uint32_t version) {
  auto definition = std::make_shared<SagaDefinition>();
  definition->type = type;
  definition->version = version;
  definition->decode_state = [](std::string_view bytes) -> Result<std::unique_ptr<SagaState>> {
    return std::unique_ptr<SagaState>(std::make_unique<OpaqueState>(std::string(bytes)));
  };
  return definition;
}

Error no_such_saga(const EntityId& saga) {
  return Error{Code::not_found, "there is no saga '" + text_of(saga) + "'"};
}

bool retries_slowly(const SagaParked& parked) {
  return parked.cause == ParkCause::compensation_stuck ||
         (parked.cause == ParkCause::forward_stuck && parked.note.refused);
}

}  // namespace

SagaMachine::SagaMachine(const SagaDefinitions& definitions, SagaMachineLimits limits,
                         SagaSeat seat, Origin origin)
    : definitions_(definitions), limits_(limits), seat_(std::move(seat)), origin_(origin) {}

SagaMachine::~SagaMachine() = default;

// ---- what happens to it --------------------------------------------------------------------------------------------

SagaActions SagaMachine::recover(const SagaMoment& moment) { return go_on(moment); }

SagaActions SagaMachine::arrived(Envelope envelope, const SagaMoment& moment) {
  requests_.push_back(std::move(envelope));
  return go_on(moment);
}

SagaActions SagaMachine::fired(std::string timer, const SagaMoment& moment) {
  fired_.insert(std::move(timer));
  return go_on(moment);
}

SagaActions SagaMachine::answered(const SagaTask& task, std::uint32_t attempt,
                                  const Result<StepReply>& reply, const SagaMoment& moment) {
  answers_.push_back({task, attempt, reply});
  return go_on(moment);
}

SagaActions SagaMachine::woken(const SagaMoment& moment) { return go_on(moment); }

SagaActions SagaMachine::retoken(const OwnerToken& token, const SagaMoment& moment) {
  seat_.token = token;
  if (create_) create_->token = token;
  if (write_) write_->token = token;
  if (fenced_) {
    fenced_ = false;
    again_ms_ = moment.now_ms;
  }
  return go_on(moment);
}

SagaActions SagaMachine::drop() {
  SagaActions actions;
  for (Held& held : std::exchange(held_, {})) {
    actions.push_back(
        Answer{std::move(held.envelope), Error{Code::unknown,
                                               "the shard was lost before it was known whether "
                                               "this is written; say it again"}});
  }
  refuse_all(actions, Error{Code::unavailable, "the shard was lost; say it again"});
  return actions;
}

SagaActions SagaMachine::go_on(const SagaMoment& moment) {
  SagaActions actions;
  refuse_late(actions, moment);
  if (again_ms_ != 0 && again_ms_ <= moment.now_ms && !fenced_) {
    again_ms_ = 0;
    if (create_) {
      actions.push_back(Create{*create_});
    } else if (write_) {
      actions.push_back(Write{*write_});
    } else if (phase_ == Phase::loading && !draining_) {
      load(actions, false);
    }
  }
  begin(actions, moment);
  turn(actions, moment);
  plan_wake(moment);
  return actions;
}

/// Asks the store for it, unless that is done already.
void SagaMachine::begin(SagaActions& actions, const SagaMoment& moment) {
  if (draining_ || fenced_ || (phase_ != Phase::fresh && phase_ != Phase::absent)) return;
  while (true) {
    const auto start = std::ranges::find(requests_, saga_call::start, &Envelope::message);
    if (start == requests_.end()) break;
    create(*start, actions, moment);
    if (create_) return;
    requests_.erase(start);  // it was answered: it cannot be
  }
  if (phase_ == Phase::fresh) return load(actions, origin_.after_crash);
  refuse_all(actions, no_such_saga(seat_.saga));
  for (const std::string& timer : std::exchange(fired_, {})) {
    actions.push_back(Tidy{member(timer)});
  }
}

// ---- the store -----------------------------------------------------------------------------------------------------

void SagaMachine::create(const Envelope& envelope, SagaActions& actions, const SagaMoment& moment) {
  Result<StartSaga> start = decode<StartSaga>(envelope.payload);
  if (!start) return actions.push_back(Answer{envelope, start.error()});
  if (Status good = check_saga_id(seat_.saga.key); !good) {
    return actions.push_back(Answer{envelope, good.error()});
  }
  if (start->version == 0) {
    const SagaDefinition* newest = nullptr;
    for (const auto& known : definitions_) {
      if (known->type == seat_.saga.kind && (!newest || newest->version < known->version)) {
        newest = known.get();
      }
    }
    if (!newest) {
      return actions.push_back(
          Answer{envelope, Error{Code::unavailable, "no definition of saga '" + seat_.saga.kind +
                                                        "' is hosted where its shard is now"}});
    }
    start->version = newest->version;
    start->fingerprint = fingerprint(*newest);
    start->deadline_ms = newest->deadline ? newest->deadline->count() : -1;
  }
  const std::string hash = input_hash(start->input);
  Result<JournalEntry> input =
      input_entry(std::move(start->input), std::move(start->by), moment.now_ms);
  if (!input) return actions.push_back(Answer{envelope, input.error()});
  create_ = std::make_unique<SagaCreate>();
  create_->shard = seat_.shard;
  create_->token = seat_.token;
  create_->saga = seat_.saga;
  create_->now_ms = moment.now_ms;
  create_->input_hash = hash;
  if (start->deadline_ms >= 0) create_->deadline_ms = moment.now_ms + start->deadline_ms;
  create_->input = encode_entry(*input);
  set_field(create_->fields, header::version, std::to_string(start->version));
  set_field(create_->fields, header::fingerprint, std::to_string(start->fingerprint));
  set_field(create_->fields, header::created, std::to_string(moment.now_ms));
  set_field(create_->fields, saga_field::updated, std::to_string(moment.now_ms));
  if (!start->parent.type.empty()) {
    set_field(create_->fields, header::parent, encode(start->parent));
  }
  if (start_in_) set_field(create_->fields, header::trace, start_in_.text());
  creator_ = envelope.operation;
  phase_ = Phase::creating;
  actions.push_back(Create{*create_});
}

SagaActions SagaMachine::created(Result<SagaCreated> answer, const SagaMoment& moment) {
  SagaActions actions;
  if (!create_) return actions;
  if (!answer) {
    again_ms_ = back_off(moment);
    plan_wake(moment);
    return actions;
  }
  if (answer->outcome == SagaCreated::Outcome::fenced) {
    fenced_ = true;
    actions.push_back(Fenced{create_->token});
    return actions;
  }
  wait_ms_ = 0;
  const std::unique_ptr<SagaCreate> made = std::exchange(create_, nullptr);
  switch (answer->outcome) {
    case SagaCreated::Outcome::ok: {
      SagaLoaded loaded;
      loaded.fields = made->fields;
      set_field(loaded.fields, saga_field::status, std::string(name_of(SagaStatus::running)));
      set_field(loaded.fields, saga_field::input_hash, made->input_hash);
      set_field(loaded.fields, saga_field::recoveries, "0");
      loaded.journal = {made->input};
      loaded.length = 1;
      open_journal(std::move(loaded), moment);
      SagaNews news;
      news.standing = *standing();
      actions.push_back(Tell{std::move(news)});
      if (made->deadline_ms) {
        actions.push_back(
            Timers{{TimerWrite{member(saga_deadline_timer), *made->deadline_ms, ""}}});
      }
      break;
    }
    case SagaCreated::Outcome::exists:
      creator_ = {};
      if (draining_) {
        phase_ = Phase::fresh;
      } else {
        load(actions, false);
      }
      break;
    default: {
      phase_ = Phase::fresh;
      std::vector<Envelope> others;
      for (Envelope& envelope : std::exchange(requests_, {})) {
        const bool same = envelope.message == saga_call::start && envelope.operation == creator_;
        if (!same) {
          others.push_back(std::move(envelope));
          continue;
        }
        actions.push_back(Answer{std::move(envelope),
                                 Error{Code::malformed, "saga '" + text_of(seat_.saga) +
                                                            "' was started before, with another "
                                                            "input; it is " +
                                                            answer->status}});
      }
      requests_ = std::move(others);
      if (requests_.empty() && fired_.empty()) return actions;
      break;
    }
  }
  SagaActions more = go_on(moment);
  std::ranges::move(more, std::back_inserter(actions));
  return actions;
}

void SagaMachine::load(SagaActions& actions, bool after_crash) {
  phase_ = Phase::loading;
  load_open_ = true;
  SagaLoad load;
  load.shard = seat_.shard;
  load.token = seat_.token;
  load.saga = seat_.saga;
  load.after_crash = after_crash;
  load.journal = !header_load_;
  actions.push_back(saga_action::Load{std::move(load)});
}

SagaActions SagaMachine::loaded(Result<SagaLoaded> answer, const SagaMoment& moment) {
  SagaActions actions;
  if (!load_open_ || phase_ != Phase::loading) return actions;
  load_open_ = false;
  const bool header_only = std::exchange(header_load_, false);
  if (!answer) {
    if (!header_only) {
      load_error_ = answer.error().text;
      load_failures_ += 1;
    }
    if (!header_only && load_failures_ >= load_failures_many && !draining_) {
      header_load_ = true;
      load(actions, false);
      return actions;
    }
    again_ms_ = back_off(moment);
    plan_wake(moment);
    return actions;
  }
  if (header_only && answer->outcome == SagaLoaded::Outcome::ok) {
    return serve_from_header(std::move(*answer), moment);
  }
  load_failures_ = 0;
  wait_ms_ = 0;
  switch (answer->outcome) {
    case SagaLoaded::Outcome::fenced:
      fenced_ = true;
      actions.push_back(Fenced{seat_.token});
      return actions;
    case SagaLoaded::Outcome::none:
      phase_ = Phase::absent;
      settled_ = true;
      break;
    case SagaLoaded::Outcome::ok:
      open_journal(std::move(*answer), moment);
      break;
  }
  return go_on(moment);
}

/// The journal cannot be loaded, the header can: what needs no more than that is answered, and it may be aborted.
SagaActions SagaMachine::serve_from_header(SagaLoaded answer, const SagaMoment& moment) {
  SagaActions actions;
  header_ = std::move(answer.fields);
  length_ = answer.length;
  const std::optional<SagaStatus> status = status_in(header_);
  if (status && has_ended(*status)) {  // nobody needs its journal any more
    load_failures_ = 0;
    phase_ = Phase::ready;
    told_ = standing();
    return go_on(moment);
  }
  std::vector<Envelope> others;
  for (Envelope& envelope : std::exchange(requests_, {})) {
    const Result<LookAtSaga> look_at = decode<LookAtSaga>(envelope.payload);
    if (envelope.message == saga_call::look && look_at && !look_at->wait) {
      SagaLook seen = look(*look_at);
      seen.text = "its journal cannot be loaded: " + load_error_;
      actions.push_back(Answer{std::move(envelope), encode(seen)});
      continue;
    }
    const bool aborts = !write_ && envelope.message == saga_call::operate &&
                        abort_unread(envelope, actions, moment);
    if (!aborts) others.push_back(std::move(envelope));
  }
  requests_ = std::move(others);
  if (!write_) again_ms_ = back_off(moment);
  plan_wake(moment);
  return actions;
}

/// Whether the request was an abort: it is on its way, or answered.
bool SagaMachine::abort_unread(Envelope& envelope, SagaActions& actions, const SagaMoment& moment) {
  const Result<OperateSaga> asked = decode<OperateSaga>(envelope.payload);
  if (!asked || asked->verb != name_of(OperatorVerb::abort)) return false;
  if (asked->reason.empty() || asked->by.empty()) {
    actions.push_back(
        Answer{std::move(envelope),
               Error{Code::malformed, "a verb of an operator needs a reason and who gives it"}});
    return true;
  }
  write_ = std::make_unique<SagaCommit>();
  write_->shard = seat_.shard;
  write_->token = seat_.token;
  write_->saga = seat_.saga;  // and no expected length: whatever the journal holds
  write_->entries = {encode_entry(abort_entry(asked->reason, asked->by, moment.now_ms))};
  write_->fields = {{std::string(saga_field::status), std::string(name_of(SagaStatus::aborted))},
                    {std::string(header::why), ""}};
  write_->place = SagaPlace::ended;
  write_->now_ms = moment.now_ms;
  write_->journal_ttl = limits_.keep_finished;
  write_->header_ttl = limits_.decisions.retention;
  const ChildEnd end{std::string(name_of(SagaStatus::aborted)), "", asked->reason};
  if (std::optional<std::string> tell = tell_parent(end, moment)) {
    write_->outbox.push_back(std::move(*tell));
  }
  actions.push_back(Write{*write_});
  held_.push_back({std::move(envelope), encode(Done{})});
  return true;
}

/// An abort is written; what the journal holds nobody will know.
void SagaMachine::written_unread(const SagaCommit& commit, SagaActions& actions) {
  for (const auto& [name, value] : commit.fields) set_field(header_, name, value);
  set_field(header_, saga_field::updated, std::to_string(commit.now_ms));
  phase_ = Phase::ready;
  load_failures_ = 0;
  told_ = standing();
  settled_ = true;
  SagaNews news;
  news.what = SagaNews::What::ended;
  news.standing = *standing();
  news.text = "aborted without its journal, which could not be loaded: " + load_error_;
  news.failed = true;
  actions.push_back(Tell{std::move(news)});
  for (Held& held : std::exchange(held_, {})) {
    actions.push_back(Answer{std::move(held.envelope), std::move(held.answer)});
  }
}

void SagaMachine::stand_in(const std::vector<JournalEntry>& journal) {
  standing_in_ = true;
  definition_ = without_steps(seat_.saga.kind,
                              static_cast<std::uint32_t>(number_in(header_, header::version)));
  progress_.emplace(*definition_, seat_.saga.key, journal);
}

/// Chooses what runs it: its definition, or a stand-in.
void SagaMachine::open_journal(SagaLoaded answer, const SagaMoment& moment) {
  phase_ = Phase::ready;
  header_ = std::move(answer.fields);
  length_ = answer.length;
  standing_in_ = false;
  unreadable_.clear();
  first_.clear();
  timers_.clear();
  progress_.reset();
  definition_.reset();
  const std::optional<SagaStatus> status = status_in(header_);
  const bool parked = status == SagaStatus::parked;
  const bool over = status && has_ended(*status);
  told_ = standing();
  if (answer.journal.empty()) return;  // of an ended one, some time after
  const Result<std::vector<JournalEntry>> journal = decode_journal(answer.journal);
  if (!journal) {
    unreadable_ = journal.error().text;
    JournalEntry nothing;
    nothing.at_ms = static_cast<std::int64_t>(number_in(header_, header::created));
    stand_in({nothing});
    JournalEntry park = park_entry(ParkCause::poison, "", {.text = unreadable_}, moment.now_ms);
    if (parked || over) {
      progress_->apply(std::move(park));
    } else {
      first_.push_back(std::move(park));
    }
    return;
  }
  const bool in_loop = parked && find_field(header_, header::why) == crash_loop;
  const bool too_often =
      !parked && !over &&
      (origin_.looping || number_in(header_, saga_field::recoveries) > limits_.recoveries_max);
  origin_.looping = false;
  if (in_loop || too_often) {
    stand_in(*journal);
    if (too_often) {
      first_.push_back(park_entry(
          ParkCause::crash_loop, "",
          {.text = "its actor or its owners died " +
                   std::to_string(number_in(header_, saga_field::recoveries)) +
                   " times before it got any further; look for what kills them, then retry"},
          moment.now_ms));
    }
    return;
  }
  StoredSaga stored;
  stored.type = seat_.saga.kind;
  stored.version = static_cast<std::uint32_t>(number_in(header_, header::version));
  stored.fingerprint = number_in(header_, header::fingerprint);
  stored.journal = *journal;
  std::vector<const SagaDefinition*> registered;
  for (const auto& known : definitions_) registered.push_back(known.get());
  DefinitionChoice choice = choose_definition(registered, stored, moment.now_ms);
  if (choice.definition == nullptr) {
    stand_in(*journal);
    if (!over) first_ = std::move(choice.entries);
    return;
  }
  for (const auto& known : definitions_) {
    if (known.get() == choice.definition) definition_ = known;
  }
  progress_.emplace(*definition_, seat_.saga.key, *journal);
  timers_ = timers_wanted();
  if (!over) first_ = std::move(choice.entries);
}

void SagaMachine::write(std::vector<JournalEntry> entries, SagaActions& actions,
                        const SagaMoment& moment) {
  assert(!entries.empty() && !write_);
  Result<std::vector<std::string>> events = events_of(entries);
  if (!events) return park_instead(events.error().text, actions, moment);
  const SagaStanding now = *standing();
  write_ = std::make_unique<SagaCommit>();
  SagaCommit& commit = *write_;
  commit.shard = seat_.shard;
  commit.token = seat_.token;
  commit.saga = seat_.saga;
  commit.expected = length_;
  for (const JournalEntry& entry : entries) {
    commit.entries.push_back(encode_entry(entry));
    if (entry.kind != EntryKind::upgraded) continue;
    set_field(commit.fields, header::version, std::to_string(definition_->version));
    set_field(commit.fields, header::fingerprint, std::to_string(fingerprint(*definition_)));
  }
  set_field(commit.fields, saga_field::status, std::string(name_of(now.status)));
  set_field(commit.fields, header::why, now.cause);
  if (number_in(header_, saga_field::recoveries) != 0) {
    set_field(commit.fields, saga_field::recoveries, "0");
  }
  timers_next_ = timers_wanted();
  for (const auto& [name, due] : timers_next_) {
    const auto known = timers_.find(name);
    const bool same = known != timers_.end() && known->second == due && !fired_.contains(name);
    if (!same) commit.timers.push_back({member(name), due});
  }
  for (const auto& [name, due] : timers_) {
    if (!timers_next_.contains(name)) commit.timers.push_back({member(name), {}});
  }
  for (const std::string& name : fired_) {
    const bool known = timers_next_.contains(name) || timers_.contains(name);
    if (!known && !standing_in_) commit.timers.push_back({member(name), {}});
  }
  fired_.clear();
  commit.place = place_of(now.status);
  commit.now_ms = moment.now_ms;
  if (has_ended(now.status)) {
    commit.journal_ttl = limits_.keep_finished;
    commit.header_ttl = limits_.decisions.retention;
    if (std::optional<std::string> end = tell_parent(child_end(*progress_), moment)) {
      commit.outbox.push_back(std::move(*end));
    }
  }
  if (!events->empty()) {
    set_field(commit.fields, header::events,
              std::to_string(number_in(header_, header::events) + events->size()));
    std::ranges::move(*events, std::back_inserter(commit.outbox));
  }
  actions.push_back(Write{commit});
}

Result<std::vector<std::string>> SagaMachine::events_of(
    const std::vector<JournalEntry>& entries) const {
  if (standing_in_) return std::vector<std::string>{};
  const TraceContext own = trace().own;
  return published_by(*progress_, entries, seat_.token.epoch, number_in(header_, header::events),
                      own ? own.traceparent() : std::string{});
}

/// What would be published cannot be made: back to what the store has, and park there. Those who asked wait for the
/// next decision.
void SagaMachine::park_instead(const std::string& why, SagaActions& actions,
                               const SagaMoment& moment) {
  const std::vector<JournalEntry>& all = progress_->journal();
  assert(length_ <= all.size());
  const std::vector<JournalEntry> stored(all.begin(),
                                         all.begin() + static_cast<std::ptrdiff_t>(length_));
  progress_.emplace(*definition_, seat_.saga.key, stored);
  hold_no_more();
  JournalEntry park = park_entry(ParkCause::poison, "", {.text = why}, moment.now_ms);
  progress_->apply(park);
  write({std::move(park)}, actions, moment);
}

/// What was about to be answered has not happened: it is asked again.
void SagaMachine::hold_no_more() {
  std::vector<Envelope> again;
  for (Held& held : std::exchange(held_, {})) again.push_back(std::move(held.envelope));
  requests_.insert(requests_.begin(), std::make_move_iterator(again.begin()),
                   std::make_move_iterator(again.end()));
}

/// What the parent hears, as a tell that leaves with the commit of the end.
std::optional<std::string> SagaMachine::tell_parent(const ChildEnd& end,
                                                    const SagaMoment& moment) const {
  const std::string_view bytes = find_field(header_, header::parent);
  if (bytes.empty()) return std::nullopt;
  const Result<SagaParent> parent = decode<SagaParent>(bytes);
  if (!parent) return std::nullopt;  // our own bytes: cannot be
  SignalSaga said;
  said.name = parent->step;
  said.id = seat_.saga.key;
  said.payload = encode(end);
  said.by = child_says;
  PendingTell tell;
  tell.source = seat_.saga;
  tell.target = EntityId{parent->type, parent->id};
  tell.operation = hash128(child_end_domain, "end of " + text_of(seat_.saga) + '/' +
                                                 std::string(find_field(header_, header::created)));
  tell.at_ms = moment.now_ms;
  tell.message = saga_call::signal;
  tell.payload = encode(said);
  tell.trace = trace().own;
  return bytes_of(tell);
}

SagaActions SagaMachine::committed(Result<SagaCommitted> answer, const SagaMoment& moment) {
  SagaActions actions;
  if (!write_ || again_ms_ != 0) return actions;
  if (!answer) {
    again_ms_ = back_off(moment);
    plan_wake(moment);
    return actions;
  }
  wait_ms_ = 0;
  switch (answer->outcome) {
    case SagaCommitted::Outcome::fenced:
      fenced_ = true;
      actions.push_back(Fenced{write_->token});
      return actions;
    case SagaCommitted::Outcome::ok:
    case SagaCommitted::Outcome::already:
      written(*answer, actions, moment);
      break;
    case SagaCommitted::Outcome::conflict:
    case SagaCommitted::Outcome::ended:
    case SagaCommitted::Outcome::none: {
      // Nothing of it is written, and memory is no longer what the store has.
      write_.reset();
      hold_no_more();
      progress_.reset();
      phase_ = Phase::fresh;
      if (!draining_) load(actions, false);
      break;
    }
  }
  SagaActions more = go_on(moment);
  std::ranges::move(more, std::back_inserter(actions));
  return actions;
}

void SagaMachine::written(const SagaCommitted& answer, SagaActions& actions,
                          const SagaMoment& moment) {
  const std::unique_ptr<SagaCommit> commit = std::exchange(write_, nullptr);
  length_ += commit->entries.size();
  for (const auto& [name, value] : commit->fields) set_field(header_, name, value);
  set_field(header_, saga_field::updated, std::to_string(commit->now_ms));
  if (progress_) timers_ = timers_next_;
  Timers timers;
  for (const SagaTimerWrite& timer : commit->timers) {
    timers.timers.push_back(TimerWrite{timer.member, timer.due_ms, ""});
  }
  if (!timers.timers.empty()) actions.push_back(std::move(timers));
  if (!commit->outbox.empty()) actions.push_back(Outbox{commit->outbox, answer.outbox});
  if (!progress_) return written_unread(*commit, actions);
  tell_what_changed(actions);
  for (Held& held : std::exchange(held_, {})) {
    actions.push_back(Answer{std::move(held.envelope), std::move(held.answer)});
  }
  answer_waiters(actions, moment);
  const SagaStatus status = progress_->status();
  if (has_ended(status)) settled_ = true;
  if (standing_in_ && status != SagaStatus::parked && !has_ended(status)) {
    // An operator wants it tried again: from the journal, with its own definition.
    progress_.reset();
    phase_ = Phase::fresh;
    if (!draining_) load(actions, false);
  }
}

void SagaMachine::tell_what_changed(SagaActions& actions) {
  const SagaStanding now = *standing();
  const SagaStanding before = told_.value_or(SagaStanding{});
  told_ = now;
  SagaNews news;
  news.standing = now;
  if (has_ended(now.status)) {
    news.what = SagaNews::What::ended;
    news.text = look(LookAtSaga{}).text;
    news.lasted_ms = progress_->journal().back().at_ms - progress_->created_ms();
    news.entries = progress_->journal().size();
    news.failed = now.status == SagaStatus::aborted || progress_->undo_was_skipped();
  } else if (now.status == SagaStatus::parked &&
             (before.status != now.status || before.cause != now.cause)) {
    news.what = SagaNews::What::stuck;
    news.step = progress_->parked()->step;
    news.text = progress_->parked()->note.text;
    news.attempts = std::exchange(parked_after_, 0);
  } else if (before.status == SagaStatus::parked && now.status != SagaStatus::parked) {
    news.what = SagaNews::What::resumed;
    for (const JournalEntry& entry : progress_->journal()) {
      if (entry.kind == EntryKind::resumed) news.text = entry.by;
    }
  } else {
    return;
  }
  actions.push_back(Tell{std::move(news)});
}

std::int64_t SagaMachine::back_off(const SagaMoment& moment) {
  wait_ms_ = wait_ms_ == 0 ? back_off_first : std::min(2 * wait_ms_, back_off_most);
  const double jitter = 0.8 + 0.4 * moment.chance;
  return moment.now_ms + static_cast<std::int64_t>(static_cast<double>(wait_ms_) * jitter) + 1;
}

// ---- deciding ------------------------------------------------------------------------------------------------------

void SagaMachine::turn(SagaActions& actions, const SagaMoment& moment) {
  if (busy() || draining_) return;
  if (!progress_) {  // ended long ago: its header is all there is
    for (Envelope& envelope : std::exchange(requests_, {})) {
      std::vector<JournalEntry> none;
      Result<std::string> answer = handle(envelope, none, moment);
      actions.push_back(Answer{std::move(envelope), std::move(answer)});
    }
    for (const std::string& timer : std::exchange(fired_, {})) {
      actions.push_back(Tidy{member(timer)});
    }
    settled_ = true;
    return;
  }
  std::vector<JournalEntry> entries = std::exchange(first_, {});
  for (const JournalEntry& entry : entries) progress_->apply(entry);
  for (JournalEntry& entry : take_answers(moment)) entries.push_back(std::move(entry));
  SagaDecision decision;
  const auto decide = [&] {
    if (standing_in_) return;
    decision = next(*progress_, moment.now_ms, limits_.decisions);
    std::ranges::move(decision.entries, std::back_inserter(entries));
  };
  if (!entries.empty()) decide();  // so that requests are judged by what is decided already
  take_requests_in(entries, moment);
  decide();
  if (!entries.empty()) return write(std::move(entries), actions, moment);
  for (Held& held : std::exchange(held_, {})) {
    actions.push_back(Answer{std::move(held.envelope), std::move(held.answer)});
  }
  answer_waiters(actions, moment);
  if (!standing_in_) carry_out(decision, actions, moment);
  if (!write_) settle_timers(actions, moment);
  settled_ = true;
}

std::vector<JournalEntry> SagaMachine::take_answers(const SagaMoment& moment) {
  std::vector<JournalEntry> entries;
  for (const StepAnswer& answer : std::exchange(answers_, {})) {
    const auto at = attempts_.find({answer.task.verb, answer.task.operation});
    if (standing_in_ || at == attempts_.end()) continue;
    Attempt& attempt = at->second;
    if (!attempt.under_way || attempt.number != answer.attempt) continue;
    attempt.under_way = false;
    const bool child = answer.task.sort == StepSort::child &&
                       (answer.task.verb == TaskVerb::run || answer.task.verb == TaskVerb::settle);
    if (child && answer.reply) {
      if (answer.task.verb == TaskVerb::settle && !attempt.cancelling) {
        attempt.cancelling = true;
        attempt.again_ms = 0;
      } else {
        attempt.delivered = true;
      }
      continue;
    }
    if (child && attempt.cancelling) {
      const Code code = answer.reply.error().code;
      if (code == Code::rejected) {  // too late: its end comes as a signal, or has come
        attempt.delivered = true;
        continue;
      }
      if (code == Code::not_found) attempt.cancelling = false;  // start it again
    }
    const StepAttempt made{answer.attempt, moment.now_ms, moment.chance};
    const SagaAnswer means =
        catga::answered(*progress_, answer.task, answer.reply, made, limits_.decisions);
    if (means.again_ms) {
      attempt.number += 1;
      attempt.again_ms = *means.again_ms;
      continue;
    }
    attempts_.erase(at);
    for (const JournalEntry& entry : means.entries) {
      progress_->apply(entry);
      entries.push_back(entry);
      if (entry.kind == EntryKind::parked) parked_after_ = answer.attempt;
    }
  }
  return entries;
}

void SagaMachine::take_requests_in(std::vector<JournalEntry>& entries, const SagaMoment& moment) {
  for (Envelope& envelope : std::exchange(requests_, {})) {
    if (envelope.message == saga_call::look && !has_ended(progress_->status())) {
      const Result<LookAtSaga> what = decode<LookAtSaga>(envelope.payload);
      if (what && what->wait) {
        waiters_.push_back(std::move(envelope));
        continue;
      }
    }
    // A no is held too: what it follows from may not be written yet.
    Result<std::string> answer = handle(envelope, entries, moment);
    held_.push_back({std::move(envelope), std::move(answer)});
  }
}

Result<std::string> SagaMachine::handle(const Envelope& envelope,
                                        std::vector<JournalEntry>& entries,
                                        const SagaMoment& moment) {
  if (envelope.message == saga_call::look) {
    const LookAtSaga what = CATGA_TRY(decode<LookAtSaga>(envelope.payload));
    return encode(look(what));
  }
  if (envelope.message == saga_call::start) {
    const StartSaga start = CATGA_TRY(decode<StartSaga>(envelope.payload));
    if (input_hash(start.input) != find_field(header_, saga_field::input_hash)) {
      return Error{Code::malformed,
                   "saga '" + text_of(seat_.saga) + "' was started before, with another input"};
    }
    SagaStarted started;
    started.existed = envelope.operation != creator_;
    started.status = name_of(standing()->status);
    return encode(started);
  }
  const SagaEntries more = CATGA_TRY(entries_for(envelope, moment));
  for (const JournalEntry& entry : more) {
    progress_->apply(entry);
    entries.push_back(entry);
  }
  return encode(Done{});
}

Result<SagaEntries> SagaMachine::entries_for(const Envelope& envelope, const SagaMoment& moment) {
  const bool over = !progress_ || has_ended(progress_->status());
  if (envelope.message == saga_call::signal) {
    SignalSaga said = CATGA_TRY(decode<SignalSaga>(envelope.payload));
    const bool from_child = said.by == child_says;
    if (over && from_child) return SagaEntries{};  // nobody waits for it any more
    if (!progress_) return Error{Code::not_found, "saga '" + text_of(seat_.saga) + "' has ended"};
    return receive_signal(*progress_,
                          SignalRequest{std::move(said.name), std::move(said.id),
                                        std::move(said.payload), std::move(said.by)},
                          moment.now_ms, limits_.decisions);
  }
  if (!progress_) {
    const Result<OperateSaga> asked = decode<OperateSaga>(envelope.payload);
    const bool again = envelope.message == saga_call::operate && asked &&
                       asked->verb == name_of(OperatorVerb::abort) &&
                       standing()->status == SagaStatus::aborted;
    if (again) return SagaEntries{};
    return Error{Code::rejected, "too late: saga '" + text_of(seat_.saga) + "' was " +
                                     std::string(name_of(standing()->status))};
  }
  if (envelope.message == saga_call::cancel) {
    CancelSaga cancel = CATGA_TRY(decode<CancelSaga>(envelope.payload));
    return request_cancel(*progress_, std::move(cancel.reason), std::move(cancel.by),
                          moment.now_ms);
  }
  if (envelope.message == saga_call::operate) {
    OperateSaga operate = CATGA_TRY(decode<OperateSaga>(envelope.payload));
    OperatorRequest request;
    request.verb = CATGA_TRY(parse_operator_verb(operate.verb));
    request.reason = std::move(operate.reason);
    request.by = std::move(operate.by);
    request.step = std::move(operate.step);
    request.payload = std::move(operate.payload);
    return catga::operate(*progress_, request, moment.now_ms);
  }
  return Error{Code::not_found, "sagas do not know '" + envelope.message + "'"};
}

// ---- acting --------------------------------------------------------------------------------------------------------

void SagaMachine::carry_out(const SagaDecision& decision, SagaActions& actions,
                            const SagaMoment& moment) {
  decision_wake_ms_ = decision.wake_ms;
  std::set<AttemptKey> open;
  for (const SagaTask& task : decision.tasks) {
    const AttemptKey key{task.verb, task.operation};
    open.insert(key);
    Attempt& attempt = attempts_[key];
    const bool rests = attempt.under_way || attempt.delivered || attempt.again_ms > moment.now_ms;
    if (rests) continue;
    const Result<StepCall> call = call_of(*progress_, task);
    if (!call) {
      JournalEntry poison = poisoned(task, call.error(), moment.now_ms);
      progress_->apply(poison);
      return write({std::move(poison)}, actions, moment);
    }
    attempt.under_way = true;
    const bool child = task.sort == StepSort::child &&
                       (task.verb == TaskVerb::run || task.verb == TaskVerb::settle);
    if (child) {
      call_child(task, attempt, *call, actions);
    } else {
      actions.push_back(Send{task, attempt.number, *call});
    }
  }
  std::erase_if(attempts_, [&open](const auto& known) { return !open.contains(known.first); });
  SagaNews news;
  news.standing = *standing();
  if (decision.overdue && !std::exchange(told_overdue_, true)) {
    news.what = SagaNews::What::overdue;
    actions.push_back(Tell{news});
  }
  if (decision.half_full && !std::exchange(told_half_full_, true)) {
    news.what = SagaNews::What::half_full;
    actions.push_back(Tell{news});
  }
}

void SagaMachine::call_child(const SagaTask& task, Attempt& attempt, const StepCall& call,
                             SagaActions& actions) {
  CallChild child;
  child.task = task;
  child.attempt = attempt.number;
  child.child = call.entity;
  if (attempt.cancelling) {
    child.message = saga_call::cancel;
    child.payload = encode(CancelSaga{reason_to_go_back(*progress_), "parent"});
  } else {
    StartSaga start;
    start.input = call.payload;
    start.by = "parent";
    start.parent = SagaParent{seat_.saga.kind, seat_.saga.key, task.step};
    child.message = saga_call::start;
    child.payload = encode(start);
  }
  actions.push_back(std::move(child));
}

std::map<std::string, std::int64_t> SagaMachine::timers_wanted() const {
  std::map<std::string, std::int64_t> timers;
  if (standing_in_) return timers;  // it knows of none, and leaves those that are there alone
  const SagaProgress& saga = *progress_;
  if (has_ended(saga.status())) {
    const bool asked = std::ranges::any_of(saga.journal(), [](const JournalEntry& entry) {
      if (entry.kind != EntryKind::done || entry.data.empty()) return false;
      const Result<DoneNote> note = decode<DoneNote>(entry.data);
      return note && note->forget;
    });
    if (asked) {
      timers.emplace(forget_timer, saga.journal().back().at_ms + limits_.forget_after.count());
    }
    return timers;
  }
  if (const auto& parked = saga.parked()) {
    if (retries_slowly(*parked)) {
      timers.emplace(retry_timer, parked->at_ms + limits_.decisions.slow_retry.count());
    }
    return timers;
  }
  if (saga.going_back()) return timers;
  if (saga.definition().deadline && !saga.past_pivot()) {
    timers.emplace(saga_deadline_timer, saga.created_ms() + saga.definition().deadline->count());
  }
  if (saga.reached() >= saga.stages().size()) return timers;
  for (const SlotProgress& slot : saga.stages()[saga.reached()]) {
    const StepProgress& element = slot.elements[0];
    if (!slot.step->waits_only() || element.phase != StepPhase::open) continue;
    timers.emplace(std::string(step_timer) + slot.step->name,
                   saga.ready_ms(slot, element) + slot.step->timeout.count());
  }
  return timers;
}

/// Timers that fired and led to no entry: they mean nothing any more, or came early.
void SagaMachine::settle_timers(SagaActions& actions, const SagaMoment& moment) {
  const std::set<std::string> fired = std::exchange(fired_, {});
  if (fired.empty() || standing_in_) return;
  const std::map<std::string, std::int64_t> wanted = timers_wanted();
  Timers again;
  for (const std::string& name : fired) {
    const auto known = wanted.find(name);
    if (name == forget_timer && has_ended(progress_->status())) {
      forget_operations(actions, moment);
      continue;
    }
    if (known == wanted.end()) {
      actions.push_back(Tidy{member(name)});
      continue;
    }
    const std::int64_t due = std::max(known->second, moment.now_ms + timer_again);
    again.timers.push_back(TimerWrite{member(name), due, ""});
  }
  if (!again.timers.empty()) actions.push_back(std::move(again));
}

/// Asks all participants, again and again until each has said that it is done, or the journal is gone. The timer stays
/// in the store as long: whoever owns the shard then goes on.
void SagaMachine::forget_operations(SagaActions& actions, const SagaMoment& moment) {
  const std::int64_t over_for = moment.now_ms - progress_->journal().back().at_ms;
  const std::int64_t again = moment.now_ms + std::max(forget_again, over_for / 4);
  if (forgetting_ == 0) {
    for (auto& [participant, operations] : operations_to_forget()) {
      for (std::size_t from = 0; from < operations.size(); from += forget_max) {
        const auto begin = operations.begin() + static_cast<std::ptrdiff_t>(from);
        const std::size_t count = std::min(forget_max, operations.size() - from);
        actions.push_back(Forget{participant, {begin, begin + static_cast<std::ptrdiff_t>(count)}});
        forgetting_ += 1;
      }
    }
  }
  if (forgetting_ == 0) {
    actions.push_back(Tidy{member(forget_timer)});
  } else {
    actions.push_back(Timers{{TimerWrite{member(forget_timer), again, ""}}});
  }
}

std::map<EntityId, std::vector<OperationId>> SagaMachine::operations_to_forget() const {
  std::map<EntityId, std::vector<OperationId>> all;
  for (const JournalEntry& entry : progress_->journal()) {
    if (entry.kind != EntryKind::done || entry.data.empty()) continue;
    const Result<DoneNote> note = decode<DoneNote>(entry.data);
    const StepProgress* element = progress_->find(entry.step);
    if (!note || !note->forget || element == nullptr) continue;
    SagaTask task;
    task.step = entry.step;
    task.operation =
        step_operation(progress_->name(), StepSide::forward, entry.step, element->round);
    const Result<StepCall> call = call_of(*progress_, task);
    if (!call) continue;  // its participant forgets by itself, later
    all[call->entity].push_back(task.operation);
  }
  return all;
}

SagaActions SagaMachine::forgot(bool done) {
  SagaActions actions;
  if (forgetting_ == 0) return actions;
  forgetting_ -= 1;
  forget_failed_ = forget_failed_ || !done;
  if (forgetting_ != 0) return actions;
  if (!std::exchange(forget_failed_, false)) actions.push_back(Tidy{member(forget_timer)});
  return actions;
}

// ---- who asked -----------------------------------------------------------------------------------------------------

void SagaMachine::answer_waiters(SagaActions& actions, const SagaMoment& moment) {
  if (waiters_.empty() || !progress_) return;
  const bool over = has_ended(progress_->status());
  std::erase_if(waiters_, [&](Envelope& waiter) {
    const bool late = waiter.deadline_ms - answer_before_deadline <= moment.boot_ms;
    if (!over && !late) return false;
    const Result<LookAtSaga> what = decode<LookAtSaga>(waiter.payload);
    // In two steps: g++ 12 takes the answer for uninitialized otherwise.
    Result<std::string> answer = encode(look(what.value()));
    actions.push_back(Answer{std::move(waiter), std::move(answer)});
    return true;
  });
}

/// Those who asked while the store does not answer.
void SagaMachine::refuse_late(SagaActions& actions, const SagaMoment& moment) {
  std::erase_if(requests_, [&](Envelope& request) {
    if (request.deadline_ms == 0 || request.deadline_ms > moment.boot_ms) return false;
    actions.push_back(
        Answer{std::move(request), Error{Code::unavailable, "saga '" + text_of(seat_.saga) +
                                                                "' could not be read or written "
                                                                "in time"}});
    return true;
  });
}

void SagaMachine::refuse_all(SagaActions& actions, const Error& error) {
  for (std::vector<Envelope>* list : {&requests_, &waiters_}) {
    for (Envelope& envelope : std::exchange(*list, {})) {
      actions.push_back(Answer{std::move(envelope), error});
    }
  }
}

SagaLook SagaMachine::look(const LookAtSaga& what) const {
  SagaLook look;
  const SagaStanding now = *standing();
  look.status = name_of(now.status);
  look.cause = now.cause;
  look.version = now.version;
  look.created_ms = created_ms();
  look.updated_ms = static_cast<std::int64_t>(number_in(header_, saga_field::updated));
  look.recoveries = number_in(header_, saga_field::recoveries);
  look.entries = length_;
  if (!progress_) return look;
  if (const auto& parked = progress_->parked()) {
    look.step = parked->step;
    look.text = parked->note.text;
  } else if (has_ended(now.status)) {
    look.text = child_end(*progress_).reason;
  } else {
    look.text = reason_to_go_back(*progress_);
  }
  if (what.state && !standing_in_ && progress_->state() != nullptr) {
    look.has_state = true;
    look.state = progress_->state()->bytes();
  }
  if (what.journal && unreadable_.empty()) {
    for (const JournalEntry& entry : progress_->journal()) {
      look.journal.push_back(encode_entry(entry));
    }
  }
  return look;
}

// ---- what it is ----------------------------------------------------------------------------------------------------

std::string SagaMachine::member(std::string_view timer) const {
  return saga_timer_member(seat_.saga, timer);
}

std::optional<SagaStanding> SagaMachine::standing() const {
  SagaStanding now;
  now.version = static_cast<std::uint32_t>(number_in(header_, header::version));
  now.created_ms = created_ms();
  if (progress_) {
    now.status = progress_->status();
    if (!standing_in_) now.version = definition_->version;
    if (progress_->parked() && !has_ended(now.status)) {
      now.cause = name_of(progress_->parked()->cause);
    }
    return now;
  }
  const std::optional<SagaStatus> status = status_in(header_);
  if (!status) return std::nullopt;
  now.status = *status;
  now.cause = find_field(header_, header::why);
  return now;
}

SagaTrace SagaMachine::trace() const { return SagaTrace::read(find_field(header_, header::trace)); }

std::int64_t SagaMachine::created_ms() const {
  return static_cast<std::int64_t>(number_in(header_, header::created));
}

bool SagaMachine::idle() const {
  if (forgetting_ != 0) return false;
  if (fenced_ || write_ || create_ || phase_ == Phase::loading || phase_ == Phase::creating)
    return false;
  if (!requests_.empty() || !answers_.empty() || !held_.empty() || !waiters_.empty() ||
      !fired_.empty() || !first_.empty())
    return false;
  if (!progress_ || standing_in_ || has_ended(progress_->status())) return true;
  return std::ranges::all_of(attempts_, [](const auto& known) { return known.second.delivered; });
}

std::vector<Envelope> SagaMachine::take_requests() {
  std::vector<Envelope> requests = std::exchange(requests_, {});
  for (Envelope& waiter : std::exchange(waiters_, {})) requests.push_back(std::move(waiter));
  return requests;
}

void SagaMachine::plan_wake(const SagaMoment& moment) {
  wake_ms_.reset();
  const auto by = [this](std::int64_t at_ms) {
    if (!wake_ms_ || at_ms < *wake_ms_) wake_ms_ = at_ms;
  };
  if (again_ms_ != 0 && !fenced_) by(again_ms_);
  const std::int64_t offset = moment.now_ms - moment.boot_ms;
  for (const Envelope& request : requests_) {
    if (request.deadline_ms != 0) by(request.deadline_ms + offset);
  }
  for (const Envelope& waiter : waiters_) {
    by(waiter.deadline_ms - answer_before_deadline + offset);
  }
  if (busy() || draining_ || !progress_ || standing_in_ || has_ended(progress_->status())) return;
  if (decision_wake_ms_) by(*decision_wake_ms_);
  for (const auto& [key, attempt] : attempts_) {
    if (!attempt.under_way && !attempt.delivered) by(attempt.again_ms);
  }
}

}  // namespace catga
