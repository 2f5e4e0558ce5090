// The operators' desk of a node: takes their questions from NATS, has the Api answer them, and asks other nodes' desks.
//
//   catga.<cluster>.admin            any one node answers (a queue group): what concerns the whole cluster
//   catga.<cluster>.admin.<node id>  that node answers; the id is percent-encoded like the key of a call
//
// A question is a request with the body {"method":"GET","path":"/api/v1/...","query":{...},"body":"...","by":"..."},
// its answer {"status":200,"body":...}, with the body as JSON, not as text.
//
// NATS's threads only put questions into one of two queues. What is answered from memory has a thread of its own, for
// the desks of others wait for it while they answer; the rest shares a few threads. Full queues answer `overloaded`.
#pragma once
#include "catga/runtime/admin/api.hpp"
#include "catga/runtime/messaging/nats.hpp"

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace catga::admin {

/// As it travels. Errors: malformed.
Result<Request> read_request(std::string_view body);
std::string write_request(const Request& request);
Result<Answer> read_answer(std::string_view body);
std::string write_answer(const Answer& answer);
/// `prefix`: `catga.<cluster>.`. `node` empty: any.
std::string admin_subject(const std::string& prefix, const std::string& node);

/// Thread-safe.
class Desk {
 public:
  /// `process`: text that no other process has. `nats` outlives the desk.
  Desk(NatsConnection& nats, std::string prefix, std::string node, std::string process);
  ~Desk();

  /// Begins to answer with `api`, which outlives the desk or close().
  Status open(Api& api);
  /// Returns when nothing is being answered any more.
  void close();

  /// Api's way to the others. Before open() too.
  std::vector<Told> ask(const std::vector<std::string>& nodes, const Request& request);

 private:
  struct Letter {
    std::string to;  ///< the reply subject
    Request request;
  };
  struct Queue {
    std::deque<Letter> letters;
    std::condition_variable came;
  };
  struct Waiting {
    std::vector<Told> told;
    std::size_t open = 0;
    std::condition_variable changed;
  };

  void asked(const NatsMessage& message);
  void answered(const NatsMessage& message);
  void work(Queue& queue);
  void answer(const std::string& to, const Answer& answer);

  NatsConnection& nats_;
  const std::string prefix_, node_, replies_;
  Api* api_ = nullptr;
  std::mutex lock_;
  bool closing_ = false;
  Queue quick_, slow_;
  std::uint64_t next_ = 0;
  std::map<std::uint64_t, std::shared_ptr<Waiting>> waiting_;
  std::vector<std::thread> threads_;
  std::vector<NatsSubscription> subscriptions_;
  NatsSubscription answers_;
};

}  // namespace catga::admin
