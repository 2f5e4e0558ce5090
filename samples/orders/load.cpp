// catga-orders-load: customers of the order system, for the demo. Places orders over HTTP as fast as they are answered,
// or at a rate, and writes down what became of each.
//
// Between a caller and the instances of OrderApi it does what a balancer does: requests go round, and one that an
// instance does not take (connection refused, cut before an answer, not ready) goes to the next at once. What is then
// without an answer, or answered 5xx, is a failed request, and the caller says it again with the same Idempotency-Key.
// Every twentieth order is said once more after it was decided, which must change nothing, and looked at.
//
// The history has one JSON object per line. Times are microseconds of the monotonic clock.
//   {"request": "201", "begin": …, "end": …, "switches": 1}     the status, or none, timeout
//   {"order": id, "customer": …, "lines": [["tea", 2]], "status": "confirmed", "begin": …, "end": …, "caller": 3}
//   {"wrong": "what contradicts a promise"}
#include <httplib.h>
#include <nlohmann/json.hpp>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <charconv>
#include <chrono>
#include <cstdint>
#include <fstream>
#include <iostream>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;
using Json = nlohmann::json;

constexpr auto connect_patience = 1s;
constexpr auto answer_patience = 16s;  // longer than OrderApi ever takes
constexpr auto order_patience = 60s;   // for one order with all its repeats
constexpr auto pause_after_failure = 100ms;
constexpr int repeat_every = 20;

struct Options {
  std::vector<std::string> apis;
  std::string history, run = "run";
  int callers = 8, skus = 20, customers = 40, poor = 4;
  std::int64_t orders = 0;
  double rate = 0;  ///< orders per second; 0: as fast as they are answered
  bool until_told = false;
  std::uint64_t seed = 1;
};

std::int64_t us(Clock::time_point time) {
  return std::chrono::duration_cast<std::chrono::microseconds>(time.time_since_epoch()).count();
}

/// Thread-safe.
class History {
 public:
  explicit History(const std::string& file) : lines_(file, std::ios::app) {}
  void add(const Json& line) {
    const std::string text = line.dump() + '\n';
    const std::lock_guard guard(lock_);
    lines_ << text << std::flush;
  }

 private:
  std::mutex lock_;
  std::ofstream lines_;
};

struct Answer {
  int status = 0;  ///< 0: none
  Json body;
};

/// One caller's way to the instances. Not thread-safe.
class Balancer {
 public:
  Balancer(const std::vector<std::string>& apis, std::size_t first, History& history)
      : history_(history), turn_(first) {
    for (const std::string& api : apis) {
      instances_.push_back(std::make_unique<httplib::Client>("http://" + api));
      instances_.back()->set_keep_alive(true);
      instances_.back()->set_tcp_nodelay(true);
      instances_.back()->set_connection_timeout(connect_patience);
      instances_.back()->set_read_timeout(answer_patience);
    }
  }

  /// One request: what comes of it, wherever.
  template <class Send>
  Answer request(Send send) {
    const auto begin = Clock::now();
    std::string result = "none";
    Answer answer;
    std::size_t switches = 0;
    for (; switches < 2 * instances_.size(); ++switches) {
      httplib::Client& instance = *instances_[++turn_ % instances_.size()];
      const auto asked = Clock::now();
      const httplib::Result got = send(instance);
      if (!got) {
        if (Clock::now() - asked < answer_patience) continue;  // refused or cut: the next one
        result = "timeout";
        break;
      }
      answer = {got->status, Json::parse(got->body, nullptr, false)};
      if (not_ready(answer)) continue;
      result = std::to_string(got->status);
      break;
    }
    if (result == "none") answer = {};
    history_.add({{"request", result},
                  {"begin", us(begin)},
                  {"end", us(Clock::now())},
                  {"switches", switches}});
    return answer;
  }

 private:
  static bool not_ready(const Answer& answer) {
    return answer.status == 503 && answer.body.is_object() && answer.body.contains("error") &&
           answer.body["error"].value("code", "") == "not_ready";
  }

  std::vector<std::unique_ptr<httplib::Client>> instances_;
  History& history_;
  std::size_t turn_;
};

struct Order {
  std::string key, customer;
  Json lines = Json::array();  ///< [["tea", 2], …]

  std::string body() const {
    Json list = Json::array();
    for (const Json& line : lines) list.push_back({{"sku", line[0]}, {"quantity", line[1]}});
    return Json{{"customer", customer}, {"lines", list}}.dump();
  }
};

/// Thought up by chance: mostly small orders; some that lack goods, some that lack money, some that are too large and
/// refused last, after goods and money were taken.
Order think_up(std::mt19937_64& chance, const Options& options, std::string key) {
  const auto any = [&chance](int count) {
    return static_cast<int>(chance() % static_cast<std::uint64_t>(count));
  };
  Order order;
  order.key = std::move(key);
  order.customer = any(100) < 5 ? "poor-" + std::to_string(any(options.poor))
                                : "customer-" + std::to_string(any(options.customers));
  const int sort = any(100), count = 1 + any(3), first = any(options.skus);
  for (int i = 0; i < count; ++i) {
    const int quantity = sort < 3 ? 1000 : 1 + any(3);
    order.lines.push_back({"sku-" + std::to_string((first + i) % options.skus), quantity});
  }
  if (sort >= 3 && sort < 8) order.lines.push_back({"rare", 1});
  return order;
}

class Caller {
 public:
  Caller(int number, const Options& options, History& history, std::atomic<std::int64_t>& placed,
         std::atomic<bool>& told)
      : number_(number),
        options_(options),
        history_(history),
        placed_(placed),
        told_(told),
        balancer_(options.apis, static_cast<std::size_t>(number), history),
        chance_(options.seed * 1000 + static_cast<std::uint64_t>(number)) {}

  void run() {
    // Callers begin one after another, so that a rate is one.
    auto next = Clock::now() + pace() * number_ / options_.callers;
    while (goes_on()) {
      if (pace() > 0us) {
        std::this_thread::sleep_until(next);
        next = std::max(next + pace(), Clock::now() - 1s);  // at most a second is made up for
      }
      place(think_up(chance_, options_,
                     options_.run + '-' + std::to_string(number_) + '-' + std::to_string(++made_)));
    }
  }

 private:
  std::chrono::microseconds pace() const {
    if (options_.rate <= 0 || told_) return 0us;  // told to come to an end: what is left at once
    return std::chrono::microseconds(
        static_cast<std::int64_t>(1e6 * options_.callers / options_.rate));
  }
  bool goes_on() {
    if (options_.until_told && !told_) {
      placed_ += 1;
      return true;
    }
    if (!options_.until_told && told_) return false;
    return placed_.fetch_add(1) < options_.orders;
  }

  Answer post(const Order& order) {
    return balancer_.request([&order, body = order.body()](httplib::Client& instance) {
      return instance.Post("/api/orders", {{"Idempotency-Key", order.key}}, body,
                           "application/json");
    });
  }
  Answer get(const std::string& id) {
    return balancer_.request(
        [&id](httplib::Client& instance) { return instance.Get("/api/orders/" + id); });
  }

  /// confirmed or refused, or nothing yet.
  static std::string decision_in(const Answer& answer) {
    if (!answer.body.is_object()) return "";
    const std::string status = answer.body.value("status", "");
    return status == "confirmed" || status == "refused" ? status : "";
  }

  void place(const Order& order) {
    const auto begin = Clock::now();
    std::string id, status;
    while (status.empty() && Clock::now() - begin < order_patience) {
      const Answer answer = id.empty() ? post(order) : get(id);
      if (answer.status == 400 || answer.status == 422 || answer.status == 404)
        return wrong("an order was answered " + std::to_string(answer.status) + ": " +
                     answer.body.dump());
      status = decision_in(answer);
      if (answer.status == 202) id = answer.body.value("id", "");
      if (!status.empty()) id = answer.body.value("id", "");
      if (status.empty()) std::this_thread::sleep_for(pause_after_failure);
    }
    history_.add({{"order", id},
                  {"key", order.key},
                  {"customer", order.customer},
                  {"lines", order.lines},
                  {"status", status.empty() ? "undecided" : status},
                  {"begin", us(begin)},
                  {"end", us(Clock::now())},
                  {"caller", number_}});
    if (!status.empty() && made_ % repeat_every == 0) say_again(order, id, status);
  }

  void say_again(const Order& order, const std::string& id, const std::string& status) {
    const Answer again = post(order);
    if (const std::string now = decision_in(again); !now.empty())
      if (now != status || again.body.value("id", "") != id)
        wrong("order " + id + " was " + status + "; said again: " + again.body.dump());
    const Answer seen = get(id);
    if (seen.status == 200 && decision_in(seen) != status)
      wrong("order " + id + " was " + status + "; looked at: " + seen.body.dump());
    if (seen.status == 404) wrong("order " + id + " was " + status + "; looked at, it is unknown");
  }

  void wrong(const std::string& what) { history_.add({{"wrong", what}}); }

  const int number_;
  const Options& options_;
  History& history_;
  std::atomic<std::int64_t>& placed_;
  std::atomic<bool>& told_;
  Balancer balancer_;
  std::mt19937_64 chance_;
  std::int64_t made_ = 0;
};

template <class Number>
bool read(const std::string& text, Number& number) {
  const auto read = std::from_chars(text.data(), text.data() + text.size(), number);
  return read.ec == std::errc{} && read.ptr == text.data() + text.size();
}

std::optional<Options> options_in(const std::vector<std::string>& words) {
  Options options;
  bool good = true;
  for (std::size_t i = 0; i < words.size() && good; ++i) {
    const std::string& flag = words[i];
    if (flag == "--until-told") {
      options.until_told = true;
      continue;
    }
    if (++i == words.size()) return std::nullopt;
    const std::string& value = words[i];
    if (flag == "--apis") {
      std::istringstream list(value);
      for (std::string api; std::getline(list, api, ',');) options.apis.push_back(api);
    } else if (flag == "--history") {
      options.history = value;
    } else if (flag == "--run") {
      options.run = value;
    } else if (flag == "--rate") {
      good = read(value, options.rate);
    } else if (flag == "--orders") {
      good = read(value, options.orders);
    } else if (flag == "--seed") {
      good = read(value, options.seed);
    } else {
      static const std::map<std::string, int Options::*> numbers{
          {"--callers", &Options::callers},
          {"--skus", &Options::skus},
          {"--customers", &Options::customers},
          {"--poor", &Options::poor}};
      const auto number = numbers.find(flag);
      good = number != numbers.end() && read(value, options.*number->second);
    }
  }
  good = good && !options.apis.empty() && !options.history.empty() && options.callers > 0 &&
         options.skus > 3 && options.customers > 0 && options.poor > 0;
  return good ? std::optional(options) : std::nullopt;
}

}  // namespace

int main(int argc, char** argv) {
  const auto options = options_in({argv + 1, argv + argc});
  if (!options) {
    std::cerr << "usage: catga-orders-load --apis HOST:PORT[,…] --history FILE --orders N "
                 "[--until-told] [--rate PER_SECOND] [--callers N] [--run NAME] [--seed N] "
                 "[--skus N] [--customers N] [--poor N]\n";
    return 2;
  }
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  ::signal(SIGPIPE, SIG_IGN);
  History history(options->history);
  std::atomic<std::int64_t> placed{0};
  std::atomic<bool> told{false};
  // It ends with the process: nothing it uses goes before.
  std::thread([&told, signals] {
    int signal = 0;
    sigwait(&signals, &signal);
    told = true;
  }).detach();
  std::vector<std::thread> threads;
  for (int number = 0; number < options->callers; ++number)
    threads.emplace_back([&, number] { Caller(number, *options, history, placed, told).run(); });
  for (std::thread& thread : threads) thread.join();
  std::_Exit(0);
}
