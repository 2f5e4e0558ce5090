// catga-chaos-client: constant load on a cluster, and a record of every call.
//
//   load --history FILE --client N [--callers N] [--rate N] [settings]   until SIGTERM
//   read --history FILE --accounts FILE [settings]                       reads logs back, and ends
//
// `load`. There is one lane per shard, and in each the same few callers, each with at most one call
// under way, so that the silence of a lane is the silence of its shard. A log that has its limit of
// entries rejects further ones; then the lane goes on with the next account of the same shard, which
// all clients name alike. Callers differ in patience: some ask once; some ask shortly and repeat
// under the same operation id; some repeat until they know. What a caller knows after that is one
// line of the history (tests/support/history.hpp), followed by the shard, the number of asks and
// the code of the last error. Every fourth append also tells another log, and what must become of
// that is a second line, without those words. Times are microseconds of the monotonic clock, which all processes of
// a machine share.
//
// On standard output: "ready" when every lane has had an answer. A caller whose ask is never
// answered, not even with a time-out, breaks a promise: at the end its call is written as unknown,
// named on standard output as "stuck", and the exit code is 3.
#include <catga/catga.hpp>
#include <catga/sharding/hash.hpp>

#include "../support/history.hpp"
#include "log_entity.hpp"
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace catga::testing {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;
using Milliseconds = std::chrono::milliseconds;

constexpr std::uint64_t entries_per_log = 256;
constexpr std::uint64_t told_bit = std::uint64_t{1} << 63;  // of the number of what is told
constexpr Milliseconds one_ask{5000};  // as ask.timeout: what a plain caller waits

std::int64_t now_us() {
  const auto now = Clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::microseconds>(now).count();
}

/// The file of lines. Thread-safe; each line is written as a whole.
class Record {
 public:
  explicit Record(const std::string& name) : file_(std::fopen(name.c_str(), "a"), &std::fclose) {}
  bool open() const { return file_ != nullptr; }
  void line(const std::string& text) {
    const std::lock_guard lock(mutex_);
    std::fprintf(file_.get(), "%s\n", text.c_str());
    std::fflush(file_.get());
  }

 private:
  std::unique_ptr<std::FILE, int (*)(std::FILE*)> file_;
  std::mutex mutex_;
};

/// Whether this call tells another log.
bool tells(const Call& call) { return call.kind == Call::Kind::append && call.number % 4 == 0; }
/// The log it tells: one for each account, so that it ends with it; of another shard, mostly.
std::string told_by(const std::string& account) { return "told-by-" + account; }

/// One shard, and the account that is being filled there.
struct Lane {
  std::atomic<std::uint32_t> generation{0};
  std::atomic<bool> answered{false};
};

/// The account of a shard and generation: the same name in every process.
std::string account_of(std::uint32_t shard, std::uint32_t generation, std::uint32_t shards) {
  const std::string stem = std::to_string(shard) + '-' + std::to_string(generation) + '-';
  for (std::uint32_t salt = 0;; ++salt) {
    std::string name = stem + std::to_string(salt);
    if (shard_of(Log::kind, name, shards).value == shard) return name;
  }
}

enum class Manner : std::uint8_t {
  plain,       ///< one ask, and takes what it hears
  impatient,   ///< short asks with one operation id, as long as a plain one waits
  persistent,  ///< repeats with one operation id until it knows, or the load ends
};

struct Options {
  std::string history, accounts;
  std::uint32_t client = 0;
  std::uint32_t callers = 2;  ///< per lane
  double rate = 500;          ///< calls per second, all lanes
};

class Load {
 public:
  Load(Client& client, const Options& options, Record& record)
      : client_(client),
        options_(options),
        record_(record),
        lanes_(client.shards()),
        open_(lanes_.size() * options.callers) {}

  void start() {
    callers_left_ = open_.size();
    for (std::size_t i = 0; i < open_.size(); ++i) threads_.emplace_back([this, i] { call_on(i); });
  }
  /// No more calls; those under way get the time they have. False if some never end.
  bool stop();

 private:
  struct Open {
    std::mutex mutex;
    std::optional<Call> call;
  };
  struct Heard {
    Call::Outcome outcome = Call::Outcome::refused;
    std::uint64_t position = 0;
    int asks = 0;
    std::string last_error = "-";
  };

  void call_on(std::size_t caller);
  void one_call(std::size_t caller, std::mt19937_64& random);
  Heard settle(const Call& call, Manner manner);
  Result<std::uint64_t> ask(const Call& call, const AskOptions& options);
  void write(const Call& call, std::uint32_t shard, const Heard& heard);
  void first_answer(Lane& lane);
  void pause(std::mt19937_64& random);

  Client& client_;
  const Options& options_;
  Record& record_;
  std::vector<Lane> lanes_;
  std::vector<Open> open_;
  std::vector<std::thread> threads_;
  std::atomic<std::uint64_t> next_number_{1};
  std::atomic<std::size_t> lanes_answered_{0}, callers_left_{0};
  std::mutex mutex_;
  std::condition_variable changed_;
  bool stopping_ = false;
};

void Load::call_on(std::size_t caller) {
  std::mt19937_64 random(options_.client * 1'000'000 + caller);
  for (pause(random);; pause(random)) {
    {
      const std::lock_guard lock(mutex_);
      if (stopping_) break;
    }
    one_call(caller, random);
  }
  --callers_left_;
  changed_.notify_all();
}

void Load::one_call(std::size_t caller, std::mt19937_64& random) {
  const auto shard = static_cast<std::uint32_t>(caller % lanes_.size());
  Lane& lane = lanes_[shard];
  const std::uint32_t generation = lane.generation.load();
  Call call;
  call.account = account_of(shard, generation, client_.shards());
  call.number = (std::uint64_t{options_.client} << 48) + next_number_++;
  call.kind = random() % 4 == 0 ? Call::Kind::read : Call::Kind::append;
  call.limit = call.kind == Call::Kind::append ? entries_per_log : 0;
  call.start = now_us();
  {
    const std::lock_guard lock(open_[caller].mutex);
    open_[caller].call = call;
  }
  static constexpr std::array manners{Manner::plain,     Manner::plain,      Manner::plain,
                                      Manner::impatient, Manner::persistent, Manner::plain};
  const Heard heard = settle(call, manners[random() % manners.size()]);
  call.outcome = heard.outcome;
  call.position = heard.position;
  call.end = now_us();
  if (call.outcome == Call::Outcome::rejected) {
    std::uint32_t expected = generation;
    lane.generation.compare_exchange_strong(expected, generation + 1);
  }
  if (call.outcome == Call::Outcome::ok) first_answer(lane);
  const std::lock_guard lock(open_[caller].mutex);
  if (!open_[caller].call) return;  // it took too long: stop() has written it already
  open_[caller].call.reset();
  write(call, shard, heard);
}

/// Whether the code promises that nothing was changed.
bool is_not_applied(Code code) {
  return code == Code::unavailable || code == Code::overloaded || code == Code::failed ||
         code == Code::malformed || code == Code::not_found;
}

Load::Heard Load::settle(const Call& call, Manner manner) {
  AskOptions options;
  options.timeout = manner == Manner::impatient ? Milliseconds(300) : one_ask;
  if (manner != Manner::plain) {
    options.operation = new_operation_id();
    options.operation_time = std::chrono::system_clock::now();
  }
  const auto begin = Clock::now();
  Heard heard;
  for (;;) {
    const Result<std::uint64_t> answer = ask(call, options);
    heard.asks += 1;
    if (answer) {
      heard.outcome = Call::Outcome::ok;
      heard.position = *answer;
      return heard;
    }
    const Code code = answer.error().code;
    heard.last_error = name_of(code);
    if (code == Code::rejected) {
      heard.outcome = Call::Outcome::rejected;
      return heard;
    }
    if (!is_not_applied(code)) heard.outcome = Call::Outcome::unknown;
    if (manner == Manner::plain || code == Code::expired) return heard;
    if (manner == Manner::impatient && Clock::now() - begin >= one_ask) return heard;
    std::unique_lock lock(mutex_);
    if (changed_.wait_for(lock, 20ms, [this] { return stopping_; })) return heard;
  }
}

Result<std::uint64_t> Load::ask(const Call& call, const AskOptions& options) {
  const auto log = client_.ref<Log>(call.account);
  if (tells(call))
    return log.ask(Append{call.number, call.limit, told_by(call.account), call.number | told_bit},
                   options);
  if (call.kind == Call::Kind::append)
    return log.ask(Append{call.number, call.limit, {}, 0}, options);
  return log.ask(Length{}, options);
}

void Load::write(const Call& call, std::uint32_t shard, const Heard& heard) {
  record_.line(line_of(call) + ' ' + std::to_string(shard) + ' ' + std::to_string(heard.asks) +
               ' ' + heard.last_error);
  if (!tells(call)) return;
  Call told = call;
  told.account = told_by(call.account);
  told.number |= told_bit;
  told.position = told.limit = 0;
  if (told.outcome == Call::Outcome::rejected) told.outcome = Call::Outcome::refused;
  record_.line(line_of(told));
}

void Load::first_answer(Lane& lane) {
  if (lane.answered.exchange(true)) return;
  if (++lanes_answered_ == lanes_.size()) std::cout << "ready" << std::endl;
}

/// Between two calls of one caller; random, so that the callers of a lane do not fall into step.
void Load::pause(std::mt19937_64& random) {
  const double mean_ms = 1000.0 * static_cast<double>(open_.size()) / options_.rate;
  const double ms = std::uniform_real_distribution<double>(0.0, 2.0 * mean_ms)(random);
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, std::chrono::duration<double, std::milli>(ms),
                    [this] { return stopping_; });
}

bool Load::stop() {
  {
    std::unique_lock lock(mutex_);
    stopping_ = true;
    changed_.notify_all();
    // The answer to an ask may come a little after its timeout, and then this must be scheduled.
    changed_.wait_for(lock, one_ask + 10s, [this] { return callers_left_.load() == 0; });
  }
  bool all = true;
  for (std::size_t i = 0; i < open_.size(); ++i) {
    const std::lock_guard lock(open_[i].mutex);
    if (!open_[i].call) continue;
    const Call call = *std::exchange(open_[i].call, std::nullopt);
    Heard stuck;
    stuck.last_error = "stuck";
    write(call, static_cast<std::uint32_t>(i % lanes_.size()), stuck);
    std::cout << "stuck: " << line_of(call) << std::endl;
    all = false;
  }
  if (all)
    for (std::thread& thread : threads_) thread.join();
  return all;
}

int load(Client& client, const Options& options, Record& record, const sigset_t& end) {
  Load load(client, options, record);
  load.start();
  int received = 0;
  ::sigwait(&end, &received);
  if (load.stop()) return 0;
  std::_Exit(3);  // threads wait for answers that do not come
}

/// Reads every account named in a file, repeating until it is there.
int read_back(Client& client, const Options& options, Record& record) {
  std::vector<std::string> accounts;
  std::ifstream file(options.accounts);
  for (std::string name; std::getline(file, name);) accounts.push_back(name);
  std::atomic<std::size_t> next{0}, failed{0};
  std::mutex mutex;
  std::vector<std::thread> readers;
  for (int i = 0; i < 16; ++i)
    readers.emplace_back([&client, &record, &accounts, &next, &failed, &mutex] {
      for (std::size_t at = next++; at < accounts.size(); at = next++) {
        const auto log = client.ref<Log>(accounts[at]);
        const std::int64_t start = now_us();
        Result<Entries> entries = log.ask(Everything{}, one_ask);
        for (int repeat = 0; repeat < 5 && !entries; ++repeat)
          entries = log.ask(Everything{}, one_ask);
        if (entries) {
          record.line(line_of(FinalLog{accounts[at], start, now_us(), entries->calls}));
          continue;
        }
        ++failed;
        const std::lock_guard lock(mutex);
        std::cout << accounts[at] << " cannot be read: " << entries.error().text << std::endl;
      }
    });
  for (std::thread& reader : readers) reader.join();
  return failed == 0 ? 0 : 1;
}

std::optional<Options> options_in(const std::vector<std::string>& words) {
  Options options;
  if (words.size() % 2 == 0) return std::nullopt;
  for (std::size_t i = 1; i < words.size(); i += 2) {
    const std::string &flag = words[i], &value = words[i + 1];
    if (flag == "--history")
      options.history = value;
    else if (flag == "--accounts")
      options.accounts = value;
    else if (flag == "--client")
      options.client = static_cast<std::uint32_t>(std::atoi(value.c_str()));
    else if (flag == "--callers")
      options.callers = static_cast<std::uint32_t>(std::atoi(value.c_str()));
    else if (flag == "--rate")
      options.rate = std::atof(value.c_str());
    else
      return std::nullopt;
  }
  if (options.history.empty() || options.callers == 0 || options.rate <= 0) return std::nullopt;
  return options;
}

int run(const std::vector<std::string>& arguments) {
  sigset_t end;
  sigemptyset(&end);
  sigaddset(&end, SIGTERM);
  sigaddset(&end, SIGINT);
  ::pthread_sigmask(SIG_BLOCK, &end, nullptr);  // before any thread, so that all inherit it

  std::vector<std::string> words;
  const auto config = Config::parse(arguments, &words);
  const auto options = options_in(words);
  if (!config || !options || (words[0] != "load" && words[0] != "read")) {
    std::cerr << (config ? "usage: see the top of client.cpp" : config.error().text) << '\n';
    return 2;
  }
  Record record(options->history);
  if (!record.open()) {
    std::cerr << options->history << " cannot be written\n";
    return 2;
  }
  Client client{*config};
  if (const auto connected = client.connect(); !connected) {
    std::cerr << connected.error().text << '\n';
    return 69;
  }
  return words[0] == "load" ? load(client, *options, record, end)
                            : read_back(client, *options, record);
}

}  // namespace
}  // namespace catga::testing

int main(int argc, char** argv) { return catga::testing::run({argv + 1, argv + argc}); }
