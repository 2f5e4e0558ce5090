// The ceiling of everything between two nodes: nats.c, natural batching, and nothing else.
//
//   catga-bench-nats-ceiling URL echo    answers; says that it is ready, ends with standard input
//   catga-bench-nats-ceiling URL ask     is driven:
//     look W N      N asks, W in flight: all that wait ride in one message     {per_second}
//     latency N     one at a time, natsConnection_Request                      {p50_us, p99_us}
//
// Records have the size that a query and its reply have on the wire of Catga. Both sides send at
// once (SendAsap): batching makes its price small, and without it one ask in flight takes 1 ms.
#include "conversation.hpp"
#include <nats/nats.h>

#include <algorithm>
#include <condition_variable>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace bench {
namespace {

constexpr std::size_t ask_bytes = 100;
constexpr std::size_t answer_bytes = 60;
constexpr const char* asks_subject = "ceiling.asks";
constexpr const char* answers_subject = "ceiling.answers";
constexpr const char* single_subject = "ceiling.single";

void must(natsStatus status) {
  if (status != NATS_OK)
    throw std::runtime_error(std::string("nats.c: ") + natsStatus_GetText(status));
}

struct CloseConnection {
  void operator()(natsConnection* connection) const { natsConnection_Destroy(connection); }
};
struct EndSubscription {
  void operator()(natsSubscription* subscription) const { natsSubscription_Destroy(subscription); }
};
using Connection = std::unique_ptr<natsConnection, CloseConnection>;
using Subscription = std::unique_ptr<natsSubscription, EndSubscription>;

Connection connect(const std::string& url) {
  natsOptions* options = nullptr;
  must(natsOptions_Create(&options));
  const std::unique_ptr<natsOptions, decltype(&natsOptions_Destroy)> owner(options,
                                                                           &natsOptions_Destroy);
  must(natsOptions_SetURL(options, url.c_str()));
  must(natsOptions_SetSendAsap(options, true));
  natsConnection* connection = nullptr;
  must(natsConnection_Connect(&connection, options));
  return Connection(connection);
}

Subscription subscribe(natsConnection& nats, const char* subject, natsMsgHandler handler,
                       void* closure) {
  natsSubscription* subscription = nullptr;
  must(natsConnection_Subscribe(&subscription, &nats, subject, handler, closure));
  Subscription owner(subscription);
  must(natsSubscription_SetPendingLimits(subscription, -1, -1));
  must(natsConnection_FlushTimeout(&nats, 2000));
  return owner;
}

/// What waits for one subject leaves as one message, the moment the previous publish returned.
class Lane {
 public:
  Lane(natsConnection& nats, const char* subject)
      : nats_(nats), subject_(subject), thread_([this] { send_all(); }) {}
  ~Lane() {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    wake_.notify_one();
    thread_.join();
  }
  Lane(const Lane&) = delete;
  Lane& operator=(const Lane&) = delete;

  /// All records that one message gave rise to, at once.
  void push(std::string_view records) {
    bool wake = false;
    {
      const std::lock_guard lock(mutex_);
      wake = waiting_.empty();
      waiting_.append(records);
    }
    if (wake) wake_.notify_one();
  }

 private:
  void send_all() {
    std::string batch;
    std::unique_lock lock(mutex_);
    for (;;) {
      wake_.wait(lock, [this] { return stopping_ || !waiting_.empty(); });
      if (stopping_) return;
      batch.clear();
      batch.swap(waiting_);
      lock.unlock();
      natsConnection_Publish(&nats_, subject_, batch.data(), static_cast<int>(batch.size()));
      lock.lock();
    }
  }

  natsConnection& nats_;
  const char* const subject_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::string waiting_;
  bool stopping_ = false;
  std::thread thread_;
};

using Message = std::unique_ptr<natsMsg, decltype(&natsMsg_Destroy)>;

std::string_view body_of(const natsMsg& message) {
  return {natsMsg_GetData(&message), static_cast<std::size_t>(natsMsg_GetDataLength(&message))};
}

void append_record(std::string& out, std::uint64_t number, std::size_t size) {
  const std::size_t at = out.size();
  out.resize(at + size, '.');
  std::memcpy(out.data() + at, &number, sizeof number);
}

std::uint64_t number_in(std::string_view record) {
  std::uint64_t number = 0;
  std::memcpy(&number, record.data(), sizeof number);
  return number;
}

// ---- the side that answers ----------------------------------------------------------------------

void answer_batch(natsConnection*, natsSubscription*, natsMsg* raw, void* closure) {
  const Message message(raw, &natsMsg_Destroy);
  const std::string_view asks = body_of(*message);
  std::string answers;
  answers.reserve(asks.size());
  for (std::size_t at = 0; at + ask_bytes <= asks.size(); at += ask_bytes)
    append_record(answers, number_in(asks.substr(at)), answer_bytes);
  static_cast<Lane*>(closure)->push(answers);
}

void answer_single(natsConnection* nats, natsSubscription*, natsMsg* raw, void*) {
  const Message message(raw, &natsMsg_Destroy);
  std::string answer;
  append_record(answer, number_in(body_of(*message)), answer_bytes);
  natsConnection_Publish(nats, natsMsg_GetReply(message.get()), answer.data(),
                         static_cast<int>(answer.size()));
}

int echo(const std::string& url) {
  const Connection nats = connect(url);
  Lane answers(*nats, answers_subject);
  const Subscription batches = subscribe(*nats, asks_subject, answer_batch, &answers);
  const Subscription singles = subscribe(*nats, single_subject, answer_single, nullptr);
  return converse({});
}

// ---- the side that asks -------------------------------------------------------------------------

class Asker {
 public:
  explicit Asker(const std::string& url)
      : nats_(connect(url)),
        asks_(*nats_, asks_subject),
        answers_(subscribe(*nats_, answers_subject, on_answers, this)) {}

  Figures look(const Numbers& request) {
    const std::uint64_t width = std::min(request.at(0), request.at(1));
    const auto began = Clock::now();
    std::string first;
    {
      const std::lock_guard lock(mutex_);
      total_ = request.at(1);
      sent_ = width;
      answered_ = 0;
      for (std::uint64_t i = 0; i < width; ++i) append_record(first, i, ask_bytes);
    }
    asks_.push(first);
    std::unique_lock lock(mutex_);
    if (!over_.wait_for(lock, std::chrono::minutes(2), [this] { return answered_ == total_; }))
      throw std::runtime_error("answers are missing");
    const double took = seconds_since(began);
    return {{"per_second", static_cast<double>(total_) / took}, {"seconds", took}};
  }

  Figures latency(const Numbers& request) {
    std::vector<double> took_us;
    std::string ask;
    append_record(ask, 1, ask_bytes);
    for (std::uint64_t i = 0; i < request.at(0); ++i) {
      const auto began = Clock::now();
      natsMsg* raw = nullptr;
      must(natsConnection_Request(&raw, nats_.get(), single_subject, ask.data(),
                                  static_cast<int>(ask.size()), 2000));
      took_us.push_back(seconds_since(began) * 1e6);
      natsMsg_Destroy(raw);
    }
    std::ranges::sort(took_us);
    return {{"p50_us", took_us[took_us.size() / 2]},
            {"p99_us", took_us[took_us.size() * 99 / 100]}};
  }

 private:
  static void on_answers(natsConnection*, natsSubscription*, natsMsg* raw, void* closure) {
    const Message message(raw, &natsMsg_Destroy);
    static_cast<Asker*>(closure)->answered(body_of(*message));
  }
  /// Each answer makes room for the next ask.
  void answered(std::string_view answers) {
    const std::uint64_t count = answers.size() / answer_bytes;
    std::string next;
    bool over = false;
    {
      const std::lock_guard lock(mutex_);
      answered_ += count;
      for (std::uint64_t i = 0; i < count && sent_ < total_; ++i)
        append_record(next, sent_++, ask_bytes);
      over = answered_ == total_;
    }
    if (!next.empty()) asks_.push(next);
    if (over) over_.notify_one();
  }

  const Connection nats_;
  std::mutex mutex_;
  std::condition_variable over_;
  std::uint64_t total_ = 0, sent_ = 0, answered_ = 0;  // guarded by mutex_
  Lane asks_;
  const Subscription answers_;
};

int ask(const std::string& url) {
  Asker asker(url);
  const Verbs verbs{
      {"look", [&](const Numbers& numbers) { return asker.look(numbers); }},
      {"latency", [&](const Numbers& numbers) { return asker.latency(numbers); }},
  };
  return converse(verbs);
}

}  // namespace
}  // namespace bench

int main(int argc, char** argv) {
  const std::string_view role = argc == 3 ? argv[2] : "";
  if (role != "echo" && role != "ask") {
    std::fprintf(stderr, "usage: catga-bench-nats-ceiling URL echo|ask\n");
    return 2;
  }
  try {
    return role == "echo" ? bench::echo(argv[1]) : bench::ask(argv[1]);
  } catch (const std::exception& trouble) {
    std::fprintf(stderr, "catga-bench-nats-ceiling: %s\n", trouble.what());
    return 1;
  }
}
