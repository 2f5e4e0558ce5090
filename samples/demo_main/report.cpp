// Figures, verdict, table and JSON.
#include "report.hpp"

#include "timeline.hpp"
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <fstream>

namespace demo {
namespace {

double seconds(Clock::duration time) { return std::chrono::duration<double>(time).count(); }

/// Speed while nothing was done to the cluster. The windows do not overlap: one fault at a time.
double speed_outside(const Run& run, const std::vector<Outcome>& outcomes) {
  const std::array windows{run.join, run.leave, run.kill};
  const auto outside = [&windows](const Outcome& outcome) {
    return std::ranges::none_of(windows, [&](const Window& w) { return w.covers(outcome.ended); });
  };
  double time = seconds(run.ended - run.began);
  for (const auto& window : windows)
    time -= std::max(0.0, seconds(std::min(window.to, run.ended) - window.from));
  const auto lines = static_cast<double>(std::ranges::count_if(outcomes, outside));
  return time > 0 ? lines / time : 0;
}

std::uint64_t failed_in(const Window& window, const std::vector<Outcome>& outcomes) {
  return static_cast<std::uint64_t>(std::ranges::count_if(
      outcomes, [&window](const Outcome& o) { return o.end == End::failed && window.meets(o); }));
}

void row(const char* name, const std::string& value, const char* note) {
  fmt::print("  {:<26}{:>14}   {}\n", name, value, note);
}

}  // namespace

Report report_of(const Run& run, const std::vector<Outcome>& outcomes, const Audit& audit) {
  Report report;
  report.run = run;
  report.audit = audit;
  report.commands = outcomes.size();
  for (const auto& outcome : outcomes) {
    report.acknowledged += outcome.end == End::acknowledged ? 1 : 0;
    report.refused += outcome.end == End::refused ? 1 : 0;
    report.failed += outcome.end == End::failed ? 1 : 0;
    report.retried += outcome.asks > 1 ? outcome.asks - 1 : 0;
  }
  report.join_failed = failed_in(run.join, outcomes);
  report.leave_failed = failed_in(run.leave, outcomes);
  report.gap_p50 = percentile(run.planned_gaps_ms, 50);
  report.gap_p99 = percentile(run.planned_gaps_ms, 99);
  report.commands_per_second = speed_outside(run, outcomes);
  return report;
}

std::vector<std::string> faults_of(const Report& report) {
  std::vector<std::string> faults;
  const auto must_be_zero = [&faults](std::uint64_t figure, const char* what) {
    if (figure != 0) faults.push_back(fmt::format("{} {}", figure, what));
  };
  const auto& audit = report.audit;
  must_be_zero(report.failed, "lines got no final answer within 5 s");
  must_be_zero(audit.lost, "acknowledged changes were lost");
  must_be_zero(audit.applied_twice, "changes were made that no acknowledged line accounts for");
  must_be_zero(audit.balance_mismatches, "balances are not what the ledger adds up to");
  must_be_zero(audit.broken_replies, "replies do not follow from the one before");
  must_be_zero(audit.negative, "balances were negative");
  if (audit.money_expected != audit.money_found)
    faults.push_back(fmt::format("money was made or lost: {} cents instead of {}",
                                 audit.money_found, audit.money_expected));
  if (report.acknowledged + report.refused + report.failed != report.commands)
    faults.emplace_back("some lines were never asked");
  if (report.refused == 0) faults.emplace_back("no line was refused, though some must be");
  if (report.run.shards_moved == 0) faults.emplace_back("no shard was seen to move");
  return faults;
}

void print_table(const Report& report) {
  const auto& audit = report.audit;
  const auto number = [](std::uint64_t value) { return with_commas(value); };
  const auto ms = [](double value) { return fmt::format("{:.1f} ms", value); };
  fmt::print("\n");
  row("commands", number(report.commands), "lines of the ledger");
  row("acknowledged", number(report.acknowledged), "");
  row("refused", number(report.refused), "by the account: not enough money");
  row("failed", number(report.failed), "no final answer within 5 s; must be 0");
  row("retried", number(report.retried), "asked again by the caller, with the same operation id");
  row("lost", number(audit.lost), "acknowledged and not there; must be 0");
  row("applied twice", number(audit.applied_twice), "must be 0");
  row("balance mismatches", number(audit.balance_mismatches), "must be 0");
  row("money",
      with_commas(static_cast<std::uint64_t>(std::max<std::int64_t>(audit.money_found, 0))),
      audit.money_found == audit.money_expected ? "cents, exactly what the ledger adds up to"
                                                : "cents, NOT what the ledger adds up to");
  row("shards moved", number(report.run.shards_moved), "planned and taken over");
  row("hand-off gap, median", ms(report.gap_p50), "a planned move: shard not served");
  row("hand-off gap, p99", ms(report.gap_p99), "");
  row("failed during the join", number(report.join_failed), "must be 0");
  row("failed during the leave", number(report.leave_failed), "must be 0");
  row("kill -9 noticed after", ms(report.run.kill_detect_ms), "first log line that says so");
  row("kill -9 healed after", ms(report.run.kill_recovered_ms), "the last shard answers again");
  row("commands per second", number(static_cast<std::uint64_t>(report.commands_per_second)),
      "durable, outside the three faults");
  fmt::print("\n");
}

bool write_json(const Report& report, const std::string& path) {
  const auto& audit = report.audit;
  const nlohmann::ordered_json json{
      {"commands", report.commands},
      {"acknowledged", report.acknowledged},
      {"refused", report.refused},
      {"failed", report.failed},
      {"retried", report.retried},
      {"lost", audit.lost},
      {"applied_twice", audit.applied_twice},
      {"balance_mismatches", audit.balance_mismatches},
      {"shards_moved", report.run.shards_moved},
      {"handoff_gap_ms_p50", report.gap_p50},
      {"handoff_gap_ms_p99", report.gap_p99},
      {"join_failed_requests", report.join_failed},
      {"leave_failed_requests", report.leave_failed},
      {"kill_detect_ms", report.run.kill_detect_ms},
      {"kill_recovered_ms", report.run.kill_recovered_ms},
      {"commands_per_second", report.commands_per_second},
  };
  std::ofstream out(path);
  out << json.dump(2) << '\n';
  return static_cast<bool>(out.flush());
}

}  // namespace demo
