// Feeds the membership machine with events and time, and carries out what it decides.
//
// One thread owns the machine; everything else only posts: NATS handlers, answers of the store,
// other threads of the node. What they post into is a mailbox that they share with this thread, so
// that an answer which comes after stop() falls into nothing. The thread never waits for Redis, and
// for NATS only while it is not a member.
#include "catga/runtime/cluster/membership_driver.hpp"

#include "catga/persistence/named_thread.hpp"
#include "catga/runtime/cluster/cpu_share.hpp"
#include "catga/runtime/cluster/fingerprint.hpp"
#include "catga/runtime/cluster/membership_answers.hpp"
#include "catga/runtime/cluster/membership_wire.hpp"
#include "catga/runtime/cluster/place.hpp"
#include "catga/runtime/messaging/nats.hpp"
#include "catga/runtime/telemetry/log.hpp"
#include "catga/sharding/membership.hpp"

#include <time.h>

#include <algorithm>
#include <cassert>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>
#include <optional>
#include <random>
#include <set>
#include <thread>
#include <utility>
#include <variant>
#include <vector>

namespace catga {

namespace {

using namespace membership;
using std::chrono::milliseconds;

constexpr std::size_t mailbox_events = 10'000;  // beyond it heartbeats are dropped; they come again
constexpr std::int64_t eviction_hold = 250;     // ms; part of the fingerprint
constexpr std::int64_t connect_again = 200;     // ms
constexpr std::int64_t clock_sample_most =
    200;                                       // ms: a slower answer says too little about the time
constexpr std::int64_t facts_every = 100;      // ms
constexpr std::int64_t throttle_every = 1000;  // ms
constexpr std::int64_t throttle_much = 100;    // ms of these
constexpr std::size_t primary_max = 1024;      // bytes

std::int64_t unix_ms() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<milliseconds>(now).count();
}

Incarnation random_incarnation() {
  std::random_device chance;
  const auto half = [&chance] { return static_cast<std::uint64_t>(chance()) << 32 | chance(); };
  Incarnation out;
  while (!out) out = Incarnation{half(), half()};
  return out;
}

// What one wake of the driver finds. Signs of life come with every batch of messages: of each node
// one is enough.
struct Letters {
  std::deque<Event> events;
  std::vector<std::function<void()>> farewells;
  std::map<Incarnation, ViewVersion> alive;
  std::set<Incarnation> nobody;
  std::optional<std::int64_t> clock;  // cluster time minus boot_ms(), measured
  bool stopped = false;
};

class Mailbox {
 public:
  void post(Event event) {
    const std::lock_guard lock(mutex_);
    if (std::holds_alternative<Heard>(event) && letters_.events.size() >= mailbox_events) return;
    letters_.events.push_back(std::move(event));
    news_.notify_one();
  }
  void farewell(std::function<void()> done) {
    const std::lock_guard lock(mutex_);
    letters_.events.emplace_back(Gone{});
    letters_.farewells.push_back(std::move(done));
    news_.notify_one();
  }
  void alive(Incarnation node,
             ViewVersion seen) {  // may wait for the next tick: no wake for each message
    const std::lock_guard lock(mutex_);
    ViewVersion& newest = letters_.alive[node];
    newest = std::max(newest, seen);
  }
  void nobody(Incarnation node) {
    const std::lock_guard lock(mutex_);
    letters_.nobody.insert(node);
    news_.notify_one();
  }
  void clock(std::int64_t offset_ms) {
    const std::lock_guard lock(mutex_);
    letters_.clock = offset_ms;
  }
  void stop() {
    const std::lock_guard lock(mutex_);
    letters_.stopped = true;
    news_.notify_one();
  }
  /// What has come, or comes within `patience`.
  Letters take(milliseconds patience) {
    std::unique_lock lock(mutex_);
    news_.wait_for(lock, patience, [this] {
      return letters_.stopped || !letters_.events.empty() || !letters_.nobody.empty();
    });
    Letters out = std::exchange(letters_, Letters{});
    letters_.stopped = out.stopped;
    return out;
  }

 private:
  std::mutex mutex_;
  std::condition_variable news_;
  Letters letters_;
};

using Mail = std::shared_ptr<Mailbox>;

// Heartbeats and what else comes to this node. On a thread of nats.c.
void hear(const Mail& mail, const natsMsg& message) {
  if (is_no_responders(message)) {
    if (const auto target = target_of_echo(subject_of(message))) mail->nobody(*target);
    return;
  }
  auto frame = decode(body_of(message));
  if (frame.ok()) mail->post(Heard{std::move(*frame)});
}

DetectorProfile profile_of(const Config& config) {
  const std::string& wanted = config.membership.profile;
  if (wanted == "fast") return DetectorProfile::fast;
  if (wanted == "normal") return DetectorProfile::normal;
  if (wanted == "cloud") return DetectorProfile::cloud;
  return profile_for(cpu_quota_cores());
}

Times times_of(const Config& config) {
  Times times;
  times.heartbeat = config.membership.heartbeat.count();
  times.quiet = quiet_floor(config.membership.suspect_after.count(), profile_of(config));
  times.session_ttl = config.membership.session_ttl.count();
  times.session_renew = config.membership.session_renew.count();
  times.lost_grace = config.nats.lost_grace.count();
  times.patience = config.start.patience.count();
  return times;
}

}  // namespace

struct MembershipDriver::Private {
  Private(const Config& settings, MemberStore& store, NodeStanding& shown,
          MembershipListener to_tell, MembershipSources to_ask)
      : config(settings),
        members(store),
        standing(shown),
        listener(std::move(to_tell)),
        sources(std::move(to_ask)) {
    // Good enough until the first RENEW brings the time of Redis.
    standing.cluster_offset_ms.store(unix_ms() - boot_ms(), std::memory_order_relaxed);
  }

  void run();
  void take_in(Letters letters);
  void feed(const Event& event) {
    for (Action& action : step(node, event, boot_ms()))
      std::visit([this](auto& one) { carry_out(one); }, action);
    if (!node.spare) node.spare = random_incarnation();
  }

  void ask_sources();
  void connect_if_absent();
  Status listen(NatsConnection& connection);

  void carry_out(const AskJoin& ask);
  void carry_out(const AskRenew& ask);
  void carry_out(const AskState& ask);
  void carry_out(const AskEvict& ask);
  void carry_out(const AskWithdraw& ask);
  void carry_out(const AskReap& ask);
  void carry_out(const AskView& ask);
  void carry_out(const AskSessions& ask);
  void carry_out(const Send& send);
  void carry_out(const Publish& publish);
  void carry_out(const ViewAdopted& adopted);
  void carry_out(const Session& session);
  void carry_out(const Reborn& reborn);
  void carry_out(const Links& links);
  void carry_out(const Refused& refused);
  void carry_out(const Left& left);
  void carry_out(const ReadingRight& right);
  void carry_out(const PostCanary& post);
  void carry_out(const Impaired& impaired);
  void carry_out(const NewPrimary& primary);
  void carry_out(const Note& note);

  void write(Severity severity, EventName event, const std::string& text,
             std::initializer_list<LogField> fields = {}) {
    if (sources.log != nullptr) sources.log->write(severity, "membership", event, text, fields);
  }
  std::string name_of(Incarnation member) const {
    const Member* row = node.view ? node.view->find(member) : nullptr;
    return row != nullptr ? row->name : text_of(member);
  }

  std::string telemetry() const {
    return "{\"score\":" + std::to_string(score(node, boot_ms())) +
           ",\"load\":" + std::to_string(node.load) + "}";
  }

  const Config config;
  MemberStore& members;
  NodeStanding& standing;
  const MembershipListener listener;
  const MembershipSources sources;
  const Mail mail = std::make_shared<Mailbox>();
  std::function<void(Incarnation)> renew_incarnation;

  Membership node;
  std::int64_t connect_due = 0, facts_due = 0, throttle_due = 0;
  std::optional<std::int64_t> throttled;  // ms, when last looked at
  NatsConnection nats;                    // before its subscriptions: they end first
  NatsSubscription own, echoes, views;
  std::optional<std::pair<bool, Incarnation>> session_told;
  std::vector<std::function<void()>> farewells;
  std::thread thread;
};

void MembershipDriver::Private::run() {
  if (listener.on_links) listener.on_links(false, false);
  feed(Begin{});
  for (;;) {
    connect_if_absent();
    const std::int64_t wait = std::max<std::int64_t>(next_wake(node) - boot_ms(), 0);
    Letters letters = mail->take(milliseconds(wait));
    if (letters.stopped) return;
    take_in(std::move(letters));
    ask_sources();
    if (boot_ms() >= next_wake(node)) feed(Tick{});
  }
}

void MembershipDriver::Private::ask_sources() {
  const std::int64_t now = boot_ms();
  if (now >= facts_due) {
    facts_due = now + facts_every;
    OwnFacts facts{node.primary, node.load};
    if (sources.primary) facts.primary = sources.primary();
    if (facts.primary.size() > primary_max) facts.primary.resize(primary_max);
    if (sources.load) facts.load = sources.load();
    if (facts.primary != node.primary || facts.load != node.load) feed(facts);
  }
  if (now < throttle_due) return;
  throttle_due = now + throttle_every;
  const auto before = std::exchange(throttled, cpu_throttled_ms());
  if (before && throttled && *throttled - *before > throttle_much) feed(Throttled{});
}

void MembershipDriver::Private::take_in(Letters letters) {
  if (letters.clock) standing.cluster_offset_ms.store(*letters.clock, std::memory_order_relaxed);
  for (auto& farewell : letters.farewells) farewells.push_back(std::move(farewell));
  for (const Event& event : letters.events) feed(event);
  for (const auto& [from, seen] : letters.alive) feed(SignOfLife{from, seen});
  for (const Incarnation nobody : letters.nobody) feed(NoResponders{nobody});
  if (node.over) carry_out(Left{});  // a farewell that came after the end
}

// ---- NATS ----

// The first connection is ours to try; once made, nats.c brings it back for ever. Waiting here
// delays nothing: a node without NATS has not joined.
void MembershipDriver::Private::connect_if_absent() {
  if (nats || node.over || boot_ms() < connect_due) return;
  NatsCallbacks callbacks;
  callbacks.on_lost = [mail = mail](const std::string& why) {
    mail->post(NatsLost{"the connection to NATS is lost: " + why});
  };
  callbacks.on_back = [mail = mail] { mail->post(NatsBack{}); };
  // Threads of its own: heartbeats must not queue behind traffic.
  auto connection =
      connect(config, "catga " + config.cluster.name + ' ' + config.node.id + " heartbeat",
              std::move(callbacks), true);
  const Status heard = connection.ok() ? listen(*connection) : Status(connection.error());
  if (heard.ok()) {
    nats = std::move(connection).value();
    return feed(NatsBack{});
  }
  connect_due = boot_ms() + connect_again;
  feed(NatsLost{heard.error().text});
}

// Subscribes as the incarnation in force, and waits until the server knows: before JOIN others must
// reach us.
Status MembershipDriver::Private::listen(NatsConnection& connection) {
  const NatsHandler handler = [mail = mail](NatsMessage message) { hear(mail, *message); };
  const std::string& cluster = config.cluster.name;
  NatsSubscription next_own =
      CATGA_TRY(connection.subscribe(heartbeat_subject(cluster, node.self), "", handler));
  NatsSubscription next_echoes =
      CATGA_TRY(connection.subscribe(echo_subjects(cluster, node.self), "", handler));
  NatsSubscription next_views = CATGA_TRY(connection.subscribe(view_subject(cluster), "", handler));
  own = std::move(next_own);
  echoes = std::move(next_echoes);
  views = std::move(next_views);
  return connection.flush(NatsConnection::subscribe_patience);
}

void MembershipDriver::Private::carry_out(const Send& send) {
  // Lost or refused, it is repeated or missed: the machine lives with silence.
  (void)nats.publish(heartbeat_subject(config.cluster.name, send.to),
                     echo_subject(config.cluster.name, node.self, send.to), encode(send.frame));
}

void MembershipDriver::Private::carry_out(const Publish& publish) {
  (void)nats.publish(view_subject(config.cluster.name), "", encode(publish.frame));
}

// ---- Redis ----

void MembershipDriver::Private::carry_out(const AskJoin& ask) {
  Join join;
  join.member.incarnation = ask.self;
  join.member.state = ask.shadow ? MemberState::shadow : MemberState::warm;
  join.member.name = config.node.id;
  join.member.weight = config.node.weight;
  join.member.app_version = "-";
  join.member.host = word_of({host_name(), config.node.region, config.node.zone});
  join.member.joined_ms = unix_ms();
  join.fingerprint = fingerprint(config);
  join.cluster_id = ask.cluster_id;
  if (config.cluster.create && ask.cluster_id.empty()) join.new_id = text_of(random_incarnation());
  join.telemetry = telemetry();
  join.session_ttl = config.membership.session_ttl;
  const bool first = ask.cluster_id.empty();
  members.join(
      join, [mail = mail, self = ask.self, settings = config, first](const Result<Joined>& result) {
        if (first && !result.ok() && result.error().code == Code::failed) {
          // Redis says no for good: keys of another program under our names, rights that lack.
          return mail->post(JoinAnswer{self, {true, reply_of_no(result.error(), settings), {}}});
        }
        mail->post(JoinAnswer{self, answer_of<JoinReply>(result, [&](const Joined& joined) {
                                return reply_of_join(joined, settings);
                              })});
      });
}

void MembershipDriver::Private::carry_out(const AskRenew& ask) {
  const std::int64_t sent = boot_ms();
  members.renew(
      ask.self, telemetry(), config.membership.session_ttl,
      [mail = mail, self = ask.self, sent, tell = sources.renewed](const Result<Renewed>& result) {
        const std::int64_t received = boot_ms();
        if (tell) tell(result.ok() && result->alive, received - sent);
        if (result.ok() && result.value().alive && received - sent <= clock_sample_most)
          mail->clock(result.value().redis_us / 1000 - (sent + received) / 2);
        mail->post(RenewAnswer{self, answer_of<RenewReply>(result, [](const Renewed& renewed) {
                                 return RenewReply{renewed.alive, renewed.version, renewed.votes};
                               })});
      });
}

void MembershipDriver::Private::carry_out(const AskState& ask) {
  members.set_state(
      ask.self, state_of(ask.wanted),
      [mail = mail, self = ask.self, wanted = ask.wanted](const Result<StateChanged>& result) {
        mail->post(StateAnswer{self, wanted, answer_of<StateReply>(result, reply_of_state)});
      });
}

void MembershipDriver::Private::carry_out(const AskEvict& ask) {
  const auto evidence = ask.evidence == membership::Evidence::quiet
                            ? catga::Evidence::quiet
                            : catga::Evidence::no_responders;
  members.evict(
      ask.self, ask.target, evidence, milliseconds(eviction_hold),
      [mail = mail, self = ask.self, target = ask.target](const Result<Evicted>& result) {
        mail->post(EvictAnswer{self, target, answer_of<EvictReply>(result, reply_of_evict)});
      });
}

void MembershipDriver::Private::carry_out(const AskWithdraw& ask) {
  members.withdraw_vote(
      ask.self, ask.target,
      [mail = mail, self = ask.self, target = ask.target](const Result<Done>& result) {
        mail->post(
            WithdrawAnswer{self, target, answer_of<bool>(result, [](Done) { return true; })});
      });
}

void MembershipDriver::Private::carry_out(const AskReap& ask) {
  members.reap(ask.target, [mail = mail, target = ask.target](const Result<Reaped>& result) {
    mail->post(ReapAnswer{target, answer_of<ReapReply>(result, reply_of_reap)});
  });
}

void MembershipDriver::Private::carry_out(const AskView&) {
  members.read_view([mail = mail](const Result<MembershipView>& result) {
    mail->post(ViewAnswer{
        answer_of<MembershipView>(result, [](const MembershipView& view) { return view; })});
  });
}

void MembershipDriver::Private::carry_out(const AskSessions& ask) {
  members.sessions(ask.nodes,
                   [mail = mail, nodes = ask.nodes](const Result<std::vector<bool>>& result) {
                     mail->post(SessionsAnswer{
                         nodes, answer_of<std::vector<bool>>(
                                    result, [](const std::vector<bool>& there) { return there; })});
                   });
}

// ---- the node ----

void MembershipDriver::Private::carry_out(const ViewAdopted& adopted) {
  standing.view_version.store(adopted.view->version.value, std::memory_order_relaxed);
  for (const auto& [member, how] : adopted.endings)
    if (listener.on_ended) listener.on_ended(member, how == Ending::expired);
  if (listener.on_view) listener.on_view(adopted.view, adopted.self);
  if (!adopted.rolled_back) return;
  if (listener.on_rollback) listener.on_rollback(adopted.before, adopted.view->version);
}

void MembershipDriver::Private::carry_out(const ReadingRight& right) {
  standing.reading_until_ms.store(right.until, std::memory_order_release);
}

void MembershipDriver::Private::carry_out(const PostCanary&) {
  sources.post([mail = mail] { mail->post(CanaryRan{}); });
}

void MembershipDriver::Private::carry_out(const Impaired& impaired) {
  if (listener.on_impaired) listener.on_impaired(impaired.nodes);
}

// No event: each node tells one when it moves itself. This may be what others say, before we move.
void MembershipDriver::Private::carry_out(const NewPrimary& primary) {
  write(Severity::warn, "",
        "the Redis primary changed: what it had not replicated is lost; shards are checked",
        {{"run_id_old", primary.before}, {"run_id_new", primary.after}});
  if (listener.on_primary_changed) listener.on_primary_changed();
}

void MembershipDriver::Private::carry_out(const Note& note) {
  if (note.what == Note::What::suspected && sources.suspected)
    sources.suspected(note.text == "quiet");
  if (sources.log == nullptr) return;
  const std::string peer = name_of(note.about), time = std::to_string(note.ms) + " ms";
  const LogField id{"catga.peer.id", peer},
      incarnation{"catga.peer.incarnation", text_of(note.about)}, silence{"silence_ms", note.ms};
  switch (note.what) {
    case Note::What::suspected: {
      const bool quiet = note.text == "quiet";
      const bool pair = node.view && node.view->members.size() <= 2;
      return write(Severity::warn, "catga.node.suspected",
                   "node " + peer + (quiet ? " is silent" : " does not listen any more") +
                       ", for " + time + " now: this node votes to evict it",
                   {id,
                    incarnation,
                    {"cause", std::string(quiet ? "heartbeat" : "no_responders")},
                    {"votes", static_cast<std::int64_t>(note.votes)},
                    {"needed", std::int64_t{pair ? 1 : 2}},
                    silence});
    }
    case Note::What::cleared:
      return write(Severity::info, "catga.node.cleared",
                   "node " + peer + " is heard again after " + time + "; the vote is taken back",
                   {id, incarnation, silence});
    case Note::What::evicted:
      return write(Severity::warn, "",
                   "node " + peer + " is evicted, the last vote was of this node",
                   {id, incarnation});
    case Note::What::braked:
      return write(Severity::warn, "",
                   "node " + peer +
                       " is not evicted in spite of the votes, because of the brake '" + note.text +
                       "': so many silent nodes are rather a broken network. If it has ended, " +
                       "its session shows it within seconds",
                   {id, incarnation, {"brake", note.text}, silence});
    case Note::What::name_taken:
      return write(Severity::warn, "",
                   "the name " + config.node.id + " is in use by incarnation " +
                       text_of(note.about) + ": waiting for it to end",
                   {incarnation});
    case Note::What::shadowing:
      return write(Severity::info, "",
                   "the name " + config.node.id + " is in use by incarnation " +
                       text_of(note.about) + ": this node joins as its shadow",
                   {incarnation});
    case Note::What::strikes:
      return write(Severity::warn, "",
                   "node " + config.node.id + " was evicted " + note.text +
                       " times in the last 10 minutes; it takes shards after " + time,
                   {{"strikes", note.text}, {"warm_ms", note.ms}});
    case Note::What::sick:
      return write(Severity::warn, "",
                   "the workers have not run a small task for " + time +
                       ": handlers that wait or compute for long keep them all busy",
                   {{"waited_ms", note.ms}});
    case Note::What::well:
      return write(Severity::info, "", "the workers run again, after " + time,
                   {{"waited_ms", note.ms}});
    case Note::What::split:
      return write(Severity::error, "",
                   "this node writes to Redis primary " + node.primary + ", others to " +
                       note.text +
                       ": Redis has two primaries. Being with the fewer, this node is suspended " +
                       "until they agree; make one of the two a replica, then restart this node " +
                       "if it does not find the other",
                   {{"run_id", node.primary}, {"run_id_others", note.text}});
    case Note::What::agreed:
      return write(Severity::info, "", "the nodes agree on the Redis primary again",
                   {{"run_id", node.primary}});
  }
}

void MembershipDriver::Private::carry_out(const Session& session) {
  standing.live_as(session.self);
  standing.session_deadline_ms.store(session.in_force ? session.deadline : 0,
                                     std::memory_order_release);
  const std::pair<bool, Incarnation> news{session.in_force, session.self};
  if (session_told == news) return;
  session_told = news;
  if (listener.on_session) listener.on_session(session.in_force, session.self);
}

void MembershipDriver::Private::carry_out(const Reborn& reborn) {
  // If NATS is away just now, the subscriptions are made when it is back: nats.c sends them again.
  (void)listen(nats);
  if (renew_incarnation) renew_incarnation(reborn.next);
}

void MembershipDriver::Private::carry_out(const Links& links) {
  if (listener.on_links) listener.on_links(links.nats, links.redis);
}

void MembershipDriver::Private::carry_out(const Refused& refused) {
  if (listener.on_refused) listener.on_refused(refused.why, refused.exit_code);
}

void MembershipDriver::Private::carry_out(const Left&) {
  for (const auto& farewell : std::exchange(farewells, {}))
    if (farewell) farewell();
}

// ---- the driver as others see it ----

MembershipDriver::MembershipDriver(const Config& config, MemberStore& members,
                                   NodeStanding& standing, MembershipListener listener,
                                   MembershipSources sources)
    : private_(std::make_unique<Private>(config, members, standing, std::move(listener),
                                         std::move(sources))) {}

MembershipDriver::~MembershipDriver() { stop(); }

void MembershipDriver::start(Incarnation incarnation,
                             std::function<void(Incarnation next)> renew_incarnation) {
  Private& own = *private_;
  assert(!own.thread.joinable());
  own.renew_incarnation = std::move(renew_incarnation);
  own.node.times = times_of(own.config);
  own.node.self = incarnation;
  own.node.spare = random_incarnation();
  own.node.seed = random_incarnation().low;
  own.node.rings = own.config.membership.watchers;
  own.node.name = own.config.node.id;
  own.node.shadow = own.config.node.shadow;
  own.node.canary = own.sources.post != nullptr;
  own.thread = named_thread("catga.members", [driver = private_.get()] { driver->run(); });
}

void MembershipDriver::leave() { private_->mail->post(Leave{}); }
void MembershipDriver::gone(std::function<void()> done) {
  private_->mail->farewell(std::move(done));
}
void MembershipDriver::sign_of_life(Incarnation from, ViewVersion seen) {
  private_->mail->alive(from, seen);
}
void MembershipDriver::no_responders(Incarnation node) { private_->mail->nobody(node); }
void MembershipDriver::primary_changed(std::string run_id_old, std::string run_id_new) {
  run_id_old.resize(std::min(run_id_old.size(), primary_max));
  run_id_new.resize(std::min(run_id_new.size(), primary_max));
  private_->mail->post(PrimaryChanged{std::move(run_id_old), std::move(run_id_new)});
}

void MembershipDriver::stop() {
  if (!private_->thread.joinable()) return;
  assert(private_->thread.get_id() != std::this_thread::get_id());
  private_->mail->stop();
  private_->thread.join();
  private_->standing.reading_until_ms.store(0, std::memory_order_release);
  private_->standing.session_deadline_ms.store(0, std::memory_order_relaxed);
  private_->own = {};
  private_->echoes = {};
  private_->views = {};
  private_->nats = {};
}

}  // namespace catga
