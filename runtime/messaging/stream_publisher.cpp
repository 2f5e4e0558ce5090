#include "catga/runtime/messaging/stream_publisher.hpp"

#include "catga/persistence/named_thread.hpp"
#include "catga/runtime/messaging/event_message.hpp"
#include "catga/runtime/standing.hpp"

#include <utility>

namespace catga {

namespace {
constexpr std::int64_t unanswered_ms =
    3000;                                    // then the event is published again, under the same id
constexpr std::int64_t look_again_ms = 500;  // for a stream that is not there
constexpr std::int64_t say_again_ms = 10'000;
constexpr std::size_t waiting_max = 10'000;  // for the first look at the stream
constexpr std::chrono::milliseconds patience{2000}, turn{100};
}  // namespace

StreamPublisher::StreamPublisher(NatsConnection& nats, Log& log, StreamOptions stream,
                                 std::string prefix, const std::string& acks)
    : nats_(nats),
      log_(log),
      stream_(std::move(stream)),
      prefix_(std::move(prefix)),
      acks_(prefix_ + "pa." + acks + '.'),
      thread_(named_thread("catga.stream", [this] { work(); })) {}

StreamPublisher::~StreamPublisher() { close(); }

void StreamPublisher::close() {
  {
    const std::lock_guard guard(lock_);
    if (std::exchange(stopping_, true)) return;
    ready_ = false;
  }
  changed_.notify_all();
  thread_.join();
  subscription_ = {};
  const std::unique_lock nobody_sends(sending_);
  std::vector<Waiting> waiting;
  std::unordered_map<std::uint64_t, Open> open;
  {
    const std::lock_guard guard(lock_);
    waiting = std::exchange(waiting_, {});
    open = std::exchange(open_, {});
  }
  const Error over{Code::unavailable, "the node closes"};
  for (Waiting& one : waiting) one.then(over);
  for (auto& [number, one] : open) one.then(over);
}

void StreamPublisher::publish(ShardId shard, RelayEntry event, Then then) {
  EventMessage message = event_message(prefix_, shard, std::move(event));
  bool ready = false;
  {
    const std::lock_guard guard(lock_);
    ready = ready_;
    if (!ready && !stopping_ && boot_ms() >= look_at_ms_ && waiting_.size() < waiting_max) {
      waiting_.push_back({std::move(message), std::move(then)});
      changed_.notify_all();
      return;
    }
  }
  if (!ready) return then(Error{Code::unavailable, "there is no stream for events now"});
  send(std::move(message), std::move(then));
}

void StreamPublisher::send(EventMessage message, Then then) {
  const std::shared_lock sending(sending_);
  std::uint64_t number = 0;
  bool over = false;
  {
    const std::lock_guard guard(lock_);
    over = stopping_;
    number = next_++;
    if (!over) open_.emplace(number, Open{std::move(then), boot_ms() + unanswered_ms});
  }
  if (over) return then(Error{Code::unavailable, "the node closes"});
  const Status sent = nats_.publish_with_headers(message.subject, acks_ + std::to_string(number),
                                                 message.headers, message.body);
  if (sent.ok()) return;
  Then unsent;
  {
    const std::lock_guard guard(lock_);
    const auto open = open_.find(number);
    if (open == open_.end()) return;
    unsent = std::move(open->second.then);
    open_.erase(open);
  }
  if (sent.error().code == Code::malformed) {  // it stays in the outbox until it fits
    log_.write(Severity::error, "events", "",
               "an event cannot be published: " + sent.error().text +
                   "; raise max_payload of the NATS server",
               {{"subject", message.subject}});
  }
  unsent(sent);
}

void StreamPublisher::acknowledged(const natsMsg& message) {
  const std::string_view subject = subject_of(message);
  const Result<std::uint64_t> number =
      parse_number(subject.substr(std::min(acks_.size(), subject.size())));
  if (!number.ok()) return;
  const bool nobody = is_no_responders(message);  // the stream was removed, or JetStream is away
  const Result<PublishAck> ack = nobody ? Error{Code::unavailable, "no stream takes events now"}
                                        : read_publish_ack(body_of(message));
  Then then;
  {
    const std::lock_guard guard(lock_);
    if (nobody) ready_ = false;
    const auto open = open_.find(*number);
    if (open == open_.end()) return;
    then = std::move(open->second.then);
    open_.erase(open);
  }
  if (ack.ok())
    then(Done{});
  else
    then(ack.error());
}

void StreamPublisher::work() {
  std::unique_lock guard(lock_);
  while (!stopping_) {
    changed_.wait_for(guard, turn, [this] { return stopping_ || (!waiting_.empty() && !ready_); });
    if (stopping_) return;
    const bool look = !waiting_.empty() && !ready_;
    guard.unlock();
    if (look) make_stream();
    expire();
    guard.lock();
  }
}

void StreamPublisher::make_stream() {
  Status there = Done{};
  if (!listening_) {
    Result<NatsSubscription> heard = nats_.subscribe(
        acks_ + '*', "", [this](const NatsMessage& message) { acknowledged(*message); });
    if (heard.ok()) {
      subscription_ = std::move(*heard);
      there = nats_.flush(patience);
      listening_ = true;
    } else {
      there = heard.error();
    }
  }
  if (there.ok()) there = ensure_stream(nats_, stream_, patience);
  std::vector<Waiting> waiting;
  bool say = false;
  {
    const std::lock_guard guard(lock_);
    ready_ = there.ok();
    waiting = std::exchange(waiting_, {});
    const std::int64_t now = boot_ms();
    if (!there.ok()) {
      look_at_ms_ = now + look_again_ms;
      say = said_at_ms_ == 0 || now - said_at_ms_ >= say_again_ms;
      if (say) said_at_ms_ = now;
    }
  }
  if (say) {
    log_.write(Severity::error, "events", "", "events wait in the outbox: " + there.error().text,
               {{"stream", stream_.name}});
  }
  for (Waiting& one : waiting) {
    if (there.ok())
      send(std::move(one.message), std::move(one.then));
    else
      one.then(there);
  }
}

void StreamPublisher::expire() {
  std::vector<Then> late;
  {
    const std::lock_guard guard(lock_);
    const std::int64_t now = boot_ms();
    for (auto open = open_.begin(); open != open_.end();) {
      if (open->second.until_ms > now) {
        ++open;
        continue;
      }
      late.push_back(std::move(open->second.then));
      open = open_.erase(open);
    }
  }
  for (Then& then : late)
    then(Error{Code::timeout, "JetStream did not acknowledge an event in time"});
}

}  // namespace catga
