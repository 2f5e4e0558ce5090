// simulate: runs seeds, prints what fails.
#include "cluster.hpp"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace {

using namespace catga::sim;

constexpr const char* usage =
    "usage: simulate [--seeds N] [--first K] [--mode safety|converge|both] [--break NAME] [--like "
    "NAME]\n"
    "                [--trace] [--list] [--check-breaks] [--same] [--loose] [--log LEVEL]\n"
    "                [--jobs N] [--stats]\n"
    "  --seeds N        how many seeds to run (default 100)\n"
    "  --first K        the first of them (default 1)\n"
    "  --mode M         safety: faults never stop; converge: they stop, all must come to rest;\n"
    "                   both: even seeds in one mode, odd ones in the other (default)\n"
    "  --break NAME     plants a bug; exits with 0 if a seed finds it\n"
    "  --like NAME      plants nothing, but chooses what may happen as for this bug\n"
    "  --list           names the bugs that can be planted\n"
    "  --check-breaks   plants each in turn; each must be found within --seeds (default 2000)\n"
    "  --trace          prints what happened, of failed seeds too\n"
    "  --same           runs each seed twice: both runs must be the same\n"
    "  --loose    does not check that queries are linearizable\n"
    "  --keep-going     does not stop after 10 failures\n"
    "  --stats          also says what an average run was made of\n"
    "  --jobs N         how many seeds run at a time (default: one per core)\n"
    "  --log LEVEL      also prints the log of the nodes, of one seed at a time\n";

struct Options {
  std::uint64_t seeds = 100, first = 1;
  bool seeds_given = false;
  int mode = 2;
  Break planted = Break::none, like = Break::none;
  bool trace = false, list = false, check_breaks = false, same = false, loose = false;
  bool keep_going = false, quiet = false, stats = false;
  unsigned jobs = std::max(1U, std::thread::hardware_concurrency());
  std::string log = "off";
};

Mode mode_of(const Options& options, std::uint64_t seed) {
  if (options.mode == 0) return Mode::safety;
  if (options.mode == 1) return Mode::converge;
  return seed % 2 == 0 ? Mode::safety : Mode::converge;
}

void print(const RunReport& report, Mode mode, bool trace) {
  std::printf("\nseed %llu (%s): %s\n  %s\n", static_cast<unsigned long long>(report.seed),
              mode == Mode::safety ? "safety" : "converge", report.failure.c_str(),
              report.plan.c_str());
  std::fflush(stdout);
  if (!trace) return;
  for (const std::string& line : report.trace) std::printf("%s\n", line.c_str());
  std::fflush(stdout);
}

/// Where two traces part, for people.
std::string first_difference(const std::vector<std::string>& one,
                             const std::vector<std::string>& other) {
  for (std::size_t i = 0; i < one.size() && i < other.size(); ++i) {
    if (one[i] == other[i]) continue;
    std::string text = ":";
    for (std::size_t k = i < 12 ? 0 : i - 12; k < i; ++k) text += "\n  " + one[k];
    return text + "\n1 " + one[i] + "\n2 " + other[i];
  }
  return "";
}

struct Sum {
  double cluster_seconds = 0;
  std::uint64_t runs = 0, failures = 0, commits = 0, answers = 0, good = 0, happenings = 0;
  std::uint64_t failovers = 0;
  std::uint64_t handlers = 0;
  Tally tally;
  std::string first;  ///< of the failures

  void add(const RunReport& report) {
    ++runs;
    cluster_seconds += report.cluster_seconds;
    commits += report.commits;
    answers += report.answers;
    good += report.good_answers;
    happenings += report.happenings;
    failovers += report.failovers;
    handlers += report.handlers;
    tally.asks += report.tally.asks;
    tally.faults += report.tally.faults;
    tally.moves += report.tally.moves;
    tally.claims += report.tally.claims;
    tally.starts += report.tally.starts;
    tally.sessions += report.tally.sessions;
    tally.evictions += report.tally.evictions;
    tally.views += report.tally.views;
    tally.held += report.tally.held;
  }
};

void print_averages(const Sum& sum) {
  const double runs = static_cast<double>(std::max<std::uint64_t>(1, sum.runs));
  const auto line = [runs](const char* what, double all) {
    std::printf("  %-22s %10.1f\n", what, all / runs);
  };
  const auto count = [&line](const char* what, std::uint64_t all) {
    line(what, static_cast<double>(all));
  };
  std::printf("an average run:\n");
  line("cluster-seconds", sum.cluster_seconds);
  count("happenings", sum.happenings);
  count("asks", sum.tally.asks);
  count("answers", sum.answers);
  count("good answers", sum.good);
  count("handlers", sum.handlers);
  count("commits", sum.commits);
  count("faults", sum.tally.faults);
  count("failovers of Redis", sum.failovers);
  count("shards moved", sum.tally.moves);
  count("shards claimed", sum.tally.claims);
  count("processes started", sum.tally.starts);
  count("sessions lost", sum.tally.sessions);
  count("nodes evicted", sum.tally.evictions);
  count("views adopted", sum.tally.views);
  count("workers held", sum.tally.held);
}

struct Outcome {
  RunReport report;
  bool fails_without = false;  ///< the planted bug: it is not what this seed found
};

Outcome outcome_of(const Options& options, Break planted, std::uint64_t seed, SharedLog& log) {
  RunOptions run_options;
  run_options.seed = seed;
  run_options.mode = mode_of(options, seed);
  run_options.planted = planted;
  run_options.circumstances = planted != Break::none ? planted : options.like;
  run_options.trace = options.trace;
  run_options.strict = !options.loose;
  Outcome outcome{run(run_options, log)};
  RunReport& report = outcome.report;
  if (options.same) {
    const RunReport again = run(run_options, log);
    if (again.digest != report.digest || again.happenings != report.happenings ||
        again.trace != report.trace)
      report.failure += " (and the second run of this seed was another one" +
                        first_difference(report.trace, again.trace) + ")";
  }
  if (!report.failure.empty() && planted != Break::none) {
    run_options.planted = Break::none;
    outcome.fails_without = !run(run_options, log).failure.empty();
  }
  return outcome;
}

/// Runs seeds on several threads, a little ahead of who takes their outcomes in order.
class Ahead {
 public:
  using Work = std::function<Outcome(std::uint64_t seed)>;
  Ahead(std::uint64_t first, std::uint64_t end, unsigned jobs, Work work)
      : end_(end), ahead_(4 * jobs), work_(std::move(work)), next_(first), taken_(first) {
    for (unsigned i = 0; i < jobs; ++i) threads_.emplace_back([this] { go(); });
  }
  ~Ahead() {
    {
      const std::lock_guard guard(lock_);
      next_ = end_;
    }
    changed_.notify_all();
    for (std::thread& thread : threads_) thread.join();
  }
  Ahead(const Ahead&) = delete;
  Ahead& operator=(const Ahead&) = delete;

  /// Of the first seed, then of the next.
  Outcome take() {
    std::unique_lock guard(lock_);
    changed_.wait(guard, [this] { return done_.contains(taken_); });
    Outcome outcome = std::move(done_.extract(taken_++).mapped());
    guard.unlock();
    changed_.notify_all();
    return outcome;
  }

 private:
  void go() {
    std::unique_lock guard(lock_);
    for (;;) {
      changed_.wait(guard, [this] { return next_ >= end_ || next_ < taken_ + ahead_; });
      if (next_ >= end_) return;
      const std::uint64_t seed = next_++;
      guard.unlock();
      Outcome outcome = work_(seed);
      guard.lock();
      done_.emplace(seed, std::move(outcome));
      changed_.notify_all();
    }
  }

  const std::uint64_t end_, ahead_;
  const Work work_;
  std::mutex lock_;
  std::condition_variable changed_;
  std::uint64_t next_, taken_;
  std::map<std::uint64_t, Outcome> done_;
  std::vector<std::thread> threads_;
};

/// Runs the seeds; stops at the first failure if `one_is_enough`.
Sum run_all(const Options& options, Break planted, bool one_is_enough, SharedLog& log) {
  Sum sum;
  const std::uint64_t end = options.first + options.seeds;
  Ahead ahead(options.first, end, options.jobs,
              [&](std::uint64_t seed) { return outcome_of(options, planted, seed, log); });
  for (std::uint64_t seed = options.first; seed < end; ++seed) {
    const Outcome outcome = ahead.take();
    const RunReport& report = outcome.report;
    const Mode mode = mode_of(options, seed);
    sum.add(report);
    if (report.failure.empty()) {
      if (options.trace && options.seeds == 1) print(report, mode, true);
      continue;
    }
    if (outcome.fails_without) continue;
    if (sum.failures++ == 0) sum.first = report.failure;
    if (!options.quiet) print(report, mode, options.trace);
    if (one_is_enough || (sum.failures >= 10 && !options.keep_going)) break;
  }
  return sum;
}

int check_breaks(Options options, SharedLog& log) {
  if (!options.seeds_given) options.seeds = 2000;
  options.quiet = true;
  int missed = 0;
  for (const BreakInfo& info : all_breaks()) {
    const auto began = std::chrono::steady_clock::now();
    const Sum sum = run_all(options, info.what, true, log);
    const double took =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
    const bool found = sum.failures != 0;
    missed += found ? 0 : 1;
    std::printf("%-24s %s after %llu seeds, %.1f s  %s\n", std::string(info.name).c_str(),
                found ? "found" : "MISSED", static_cast<unsigned long long>(sum.runs), took,
                sum.first.c_str());
    std::fflush(stdout);
  }
  return missed == 0 ? 0 : 1;
}

bool read(int argc, char** argv, Options& options) {
  for (int i = 1; i < argc; ++i) {
    const std::string_view word = argv[i];
    const auto value = [&]() -> const char* { return i + 1 < argc ? argv[++i] : nullptr; };
    if (word == "--trace")
      options.trace = true;
    else if (word == "--list")
      options.list = true;
    else if (word == "--check-breaks")
      options.check_breaks = true;
    else if (word == "--same")
      options.same = true;
    else if (word == "--stats")
      options.stats = true;
    else if (word == "--loose")
      options.loose = true;
    else if (word == "--keep-going")
      options.keep_going = true;
    else {
      const char* given = value();
      if (given == nullptr) return false;
      if (word == "--seeds")
        options.seeds = std::strtoull(given, nullptr, 10), options.seeds_given = true;
      else if (word == "--first")
        options.first = std::strtoull(given, nullptr, 10);
      else if (word == "--jobs")
        options.jobs = std::max(1U, static_cast<unsigned>(std::strtoul(given, nullptr, 10)));
      else if (word == "--log")
        options.log = given;
      else if (word == "--mode") {
        const std::string_view mode = given;
        options.mode = mode == "safety" ? 0 : mode == "converge" ? 1 : 2;
      } else if (word == "--break" || word == "--like") {
        const auto planted = break_of(given);
        if (!planted) return false;
        (word == "--break" ? options.planted : options.like) = *planted;
      } else {
        return false;
      }
    }
  }
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  if (!read(argc, argv, options)) {
    std::fputs(usage, stderr);
    return 2;
  }
  if (options.list) {
    for (const BreakInfo& info : all_breaks())
      std::printf("%-26s %s\n", std::string(info.name).c_str(), std::string(info.about).c_str());
    return 0;
  }
  if (options.log != "off") options.jobs = 1;
  SharedLog log(options.log);
  if (options.check_breaks) return check_breaks(options, log);
  const auto began = std::chrono::steady_clock::now();
  const Sum sum = run_all(options, options.planted, options.planted != Break::none, log);
  const double took =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
  std::printf(
      "%llu seeds, %llu failed; %.1f seeds/s, %.0f cluster-seconds/s; %llu commits, "
      "%llu answers (%llu good), %llu failovers, %llu happenings\n",
      static_cast<unsigned long long>(sum.runs), static_cast<unsigned long long>(sum.failures),
      static_cast<double>(sum.runs) / took, sum.cluster_seconds / took,
      static_cast<unsigned long long>(sum.commits), static_cast<unsigned long long>(sum.answers),
      static_cast<unsigned long long>(sum.good), static_cast<unsigned long long>(sum.failovers),
      static_cast<unsigned long long>(sum.happenings));
  if (options.stats) print_averages(sum);
  if (options.planted != Break::none) return sum.failures != 0 ? 0 : 1;
  return sum.failures == 0 ? 0 : 1;
}
