// catga bench: asks entities as fast as they answer, and says how fast that was, from outside.
#include "catga/runtime/messaging/gateway_request.hpp"
#include "catga/runtime/tool/context.hpp"

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <condition_variable>
#include <memory>
#include <mutex>

namespace catga::tool {

namespace {

using Clock = std::chrono::steady_clock;

struct Wanted {
  std::string kind, message, body;
  std::uint32_t keys = 1000, in_flight = 64;
  double seconds = 5;
};

/// So many asks are always on their way: each answer sends the next.
class Load {
 public:
  Load(Context& context, const Wanted& wanted)
      : nats_(context.nats()),
        wanted_(wanted),
        calls_(context.prefix() + "call." + wanted.kind + '.'),
        inbox_(fmt::format("_INBOX.catga-bench-{}.", Clock::now().time_since_epoch().count())),
        body_(json_argument(wanted.body)),
        sent_at_(wanted.in_flight) {}

  json run(std::chrono::milliseconds patience) {
    Result<NatsSubscription> answers = nats_.subscribe(
        inbox_ + '*', "", [this](const NatsMessage& message) { answered(*message); });
    if (!answers.ok()) throw Ended{unreachable, answers.error().text};
    (void)nats_.flush(patience);
    const Clock::time_point began = Clock::now();
    until_ = began + std::chrono::duration_cast<Clock::duration>(
                         std::chrono::duration<double>(wanted_.seconds));
    {
      const std::lock_guard guard(lock_);
      open_ = wanted_.in_flight;
    }
    for (std::uint32_t slot = 0; slot < wanted_.in_flight; ++slot) send(slot);
    std::unique_lock guard(lock_);
    over_.wait_until(guard, until_ + patience, [this] { return open_ == 0; });
    const std::chrono::duration<double> took = Clock::now() - began;
    answers = NatsSubscription{};
    return report(took.count());
  }

 private:
  void send(std::uint32_t slot) {
    const std::string key = fmt::format("bench-{}", next_.fetch_add(1) % wanted_.keys);
    sent_at_[slot] = Clock::now();
    (void)nats_.publish(calls_ + key + '.' + wanted_.message, inbox_ + std::to_string(slot), body_);
  }

  void answered(const natsMsg& message) {
    const auto slot = parse_number(subject_of(message).substr(inbox_.size()));
    if (!slot.ok() || *slot >= sent_at_.size()) return;
    const Clock::time_point now = Clock::now();
    const std::string_view body = body_of(message);
    const bool refused = is_no_responders(message) || body.starts_with(R"({"error":)");
    {
      const std::lock_guard guard(lock_);
      latencies_.push_back(
          std::chrono::duration<double, std::milli>(now - sent_at_[*slot]).count());
      if (refused && errors_++ == 0)
        first_error_ = is_no_responders(message) ? "nobody takes calls in this cluster"
                                                 : std::string(body.substr(0, 300));
      if (now >= until_ || is_no_responders(message)) {
        open_ -= 1;
        over_.notify_all();
        return;
      }
    }
    send(static_cast<std::uint32_t>(*slot));
  }

  json report(double seconds) {
    std::ranges::sort(latencies_);
    const auto at = [this](double share) {
      if (latencies_.empty()) return 0.0;
      return latencies_[std::min(
          latencies_.size() - 1,
          static_cast<std::size_t>(share * static_cast<double>(latencies_.size())))];
    };
    return {{"asks", latencies_.size()},
            {"errors", errors_},
            {"first_error", first_error_},
            {"unanswered", open_},
            {"seconds", seconds},
            {"asks_per_s", static_cast<double>(latencies_.size()) / seconds},
            {"p50_ms", at(0.5)},
            {"p99_ms", at(0.99)},
            {"max_ms", at(1)}};
  }

  NatsConnection& nats_;
  const Wanted wanted_;
  const std::string calls_, inbox_, body_;
  std::vector<Clock::time_point> sent_at_;
  std::atomic<std::uint64_t> next_{0};
  Clock::time_point until_;
  std::mutex lock_;
  std::condition_variable over_;
  std::vector<double> latencies_;
  std::uint32_t open_ = 0;
  std::uint64_t errors_ = 0;
  std::string first_error_;
};

void show(const json& result) {
  fmt::print("{} asks in {:.1f} s: {:.0f} a second\n", word(result, "asks"),
             result["seconds"].get<double>(), result["asks_per_s"].get<double>());
  fmt::print("latency    p50 {:.2f} ms, p99 {:.2f} ms, worst {:.2f} ms\n",
             result["p50_ms"].get<double>(), result["p99_ms"].get<double>(),
             result["max_ms"].get<double>());
  if (result["errors"].get<std::uint64_t>() > 0)
    fmt::print("errors     {}, the first: {}\n", word(result, "errors"),
               word(result, "first_error"));
  if (result["unanswered"].get<std::uint32_t>() > 0)
    fmt::print("unanswered {}\n", word(result, "unanswered"));
}

}  // namespace

void add_bench(CLI::App& app, Context& context) {
  CLI::App* const command =
      app.add_subcommand("bench", "asks as fast as it is answered; throughput and latency");
  const auto wanted = std::make_shared<Wanted>();
  command->add_option("KIND", wanted->kind, "of the entities; their keys are bench-0, bench-1, ...")
      ->required();
  command->add_option("MESSAGE", wanted->message, "its name; a command changes these entities")
      ->required();
  command->add_option("JSON", wanted->body, "its fields");
  command->add_option("--keys", wanted->keys, "so many entities [1000]")
      ->check(CLI::Range(1, 100'000'000));
  command->add_option("--in-flight", wanted->in_flight, "so many asks at once [64]")
      ->check(CLI::Range(1, 10'000));
  command->add_option("--seconds", wanted->seconds, "for so long [5]")
      ->check(CLI::Range(0.1, 86'400.0));
  command->callback([&context, wanted] {
    const std::string deed = fmt::format("send {} to {} entities of kind {}", wanted->message,
                                         wanted->keys, wanted->kind);
    if (context.options.dry_run) return (void)context.may(deed);
    const json result = Load(context, *wanted).run(context.patience());
    const bool nothing =
        result["errors"].get<std::uint64_t>() >= result["asks"].get<std::uint64_t>();
    context.code = nothing || result["unanswered"].get<std::uint32_t>() > 0 ? failed : done;
    context.print(result, show);
  });
}

}  // namespace catga::tool
