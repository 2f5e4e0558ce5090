// The runs of the exhaustive models, and the program that makes them.
//
// A sound run must find nothing. A broken run leaves one thing out of the protocol and must find
// exactly the violation that protocol.md chapter 17 names for it.
#include "claims.hpp"
#include "model.hpp"
#include "search.hpp"
#include "split.hpp"

#include <chrono>
#include <cstdio>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace catga::model {
namespace {

struct Run {
  std::string name;
  std::string about;
  std::variant<Setting, ClaimSetting, SplitSetting> setting;
  Property expected = Property::none;
};

const char* words(Property property) {
  switch (property) {
    case Property::none:
      return "no violation";
    case Property::record_truth:
      return "I1: a handler runs under a token of another incarnation";
    case Property::written_by_owner:
      return "I2: write by a non-owner";
    case Property::no_theft:
      return "I5: theft from a living owner";
    case Property::applied_once:
      return "I6: applied twice";
    case Property::one_outcome:
      return "I6: caller told two outcomes";
    case Property::not_applied_later:
      return "I6: \"not applied\" reported, then applied";
    case Property::not_applied_before:
      return "I6: applied, then \"not applied\" reported";
    case Property::told_when_stored:
      return "I7: answer reported that is not in the store";
    case Property::kept_in_crash:
      return "I7: acknowledged change lost on crash";
    case Property::kept_in_failover:
      return "I7: acknowledged change lost on failover";
    case Property::no_phantom:
      return "I7: write on phantom state";
    case Property::split_held:
      return "T_hold: a split evicts nodes";
    case Property::progress:
      return "progress: a state from which nothing moves";
  }
  return "";
}

/// Runs with `copies_everywhere` reach further; the others show that messages find their way.
std::vector<Run> sound_runs() {
  return {
      {"lost-lost-eviction-move", "two lost connections, an eviction and a move",
       Setting{.faults = {.lost_connections = 2, .evictions = 1, .moves = 1},
               .copies_everywhere = true}},
      {"two-evictions-move", "two evictions, which may meet, and a move",
       Setting{.faults = {.evictions = 2, .moves = 1}, .copies_everywhere = true}},
      {"eviction-move-routed", "an eviction and a move, every copy counted",
       Setting{.faults = {.evictions = 1, .moves = 1}}},
      {"crash-lost-move", "a crash, a lost connection and a move, every copy counted",
       Setting{.faults = {.lost_connections = 1, .crashes = 1, .moves = 1}}},
      {"crash-eviction-lost-move", "a crash, an eviction, a lost connection and a move",
       Setting{.faults = {.lost_connections = 1, .evictions = 1, .crashes = 1, .moves = 1},
               .copies_everywhere = true}},
      {"failover-wait-move", "a failover with WAIT and a move, every copy counted",
       Setting{.faults = {.failovers = 1, .moves = 1},
               .rules = {.wait_replicas = true},
               .durable = true}},
      {"two-failovers-wait-move", "two failovers with WAIT, and a move",
       Setting{.faults = {.failovers = 2, .moves = 1},
               .rules = {.wait_replicas = true},
               .copies_everywhere = true,
               .durable = true}},
      {"failover-wait-eviction-lost", "a failover with WAIT, an eviction and a lost connection",
       Setting{.faults = {.lost_connections = 1, .evictions = 1, .failovers = 1},
               .rules = {.wait_replicas = true},
               .copies_everywhere = true,
               .durable = true}},
      {"failover-eviction", "a failover that loses writes, and an eviction",
       Setting{.faults = {.evictions = 1, .failovers = 1}, .copies_everywhere = true}},
      {"failover-move-routed", "a failover that loses writes and a move, every copy counted",
       Setting{.faults = {.failovers = 1, .moves = 1}}},
      {"two-failovers-lost-3", "two failovers and a lost connection, with three operations",
       Setting{.operations = 3,
               .faults = {.lost_connections = 1, .failovers = 2},
               .copies_everywhere = true}},
      {"lost-failover-3", "a lost connection and a failover, with three operations",
       Setting{.operations = 3,
               .faults = {.lost_connections = 1, .failovers = 1},
               .copies_everywhere = true}},
      {"rejection-eviction-move",
       "a rejection that depends on the state, an eviction, a move and a lost connection",
       Setting{.faults = {.lost_connections = 1, .evictions = 1, .moves = 1},
               .second_needs_first = true,
               .copies_everywhere = true}},
      {"refusals-eviction", "refused copies, a caller that gives up, and an eviction",
       Setting{.faults = {.evictions = 1}, .refusals = true}},
      {"refusals-crash-lost", "refused copies, a caller that gives up, a crash, a lost connection",
       Setting{.faults = {.lost_connections = 1, .crashes = 1}, .refusals = true}},
      {"forgotten-eviction-lost-3",
       "operation records that are dropped, an eviction and a lost connection, three operations",
       Setting{.operations = 3,
               .faults = {.lost_connections = 1, .evictions = 1, .forgotten = 1},
               .copies_everywhere = true}},
      {"failover-crash-lost", "a failover that loses writes, a crash and a lost connection",
       Setting{.faults = {.lost_connections = 1, .crashes = 1, .failovers = 1},
               .copies_everywhere = true}},
      {"claims", "two claimers with views of any age", ClaimSetting{}},
      {"split", "a NATS split of two and three nodes", SplitSetting{}},
  };
}

std::vector<Run> broken_runs() {
  return {
      {"no-token-check", "commits run whatever their token; an eviction",
       Setting{.faults = {.evictions = 1}, .rules = {.token_check = false}},
       Property::written_by_owner},
      {"no-records-crash", "operations remembered in memory only; a take-over after a crash",
       Setting{.faults = {.crashes = 1}, .rules = {.records_in_store = false}},
       Property::applied_once},
      {"no-records-move", "operations remembered in memory only; a planned move",
       Setting{.faults = {.moves = 1}, .rules = {.records_in_store = false}},
       Property::applied_once},
      {"no-version-check", "commits run on any version; a failover",
       Setting{.faults = {.failovers = 1}, .rules = {.version_check = false}},
       Property::no_phantom},
      {"no-nonce", "versions are bare counters; a failover and a late commit, three operations",
       Setting{.operations = 3,
               .faults = {.lost_connections = 1, .failovers = 1},
               .rules = {.nonce_in_version = false},
               .not_watched = Property::told_when_stored},
       Property::no_phantom},
      {"bare-epochs", "a token is a counter, without incarnation and time; a failover, an eviction",
       Setting{.faults = {.evictions = 1, .failovers = 1},
               .rules = {.incarnation_in_token = false}},
       Property::written_by_owner},
      {"answer-before-commit", "the answer leaves with the commit; a crash",
       Setting{.faults = {.crashes = 1},
               .rules = {.answer_waits_for_commit = false},
               .not_watched = Property::told_when_stored},
       Property::kept_in_crash},
      {"cas-without-wait", "commits wait for replicas, the claim before them does not",
       Setting{.faults = {.evictions = 1, .failovers = 1},
               .rules = {.wait_replicas = true, .claims_wait = false},
               .durable = true},
       Property::kept_in_failover},
      {"no-wait", "the answer does not wait for replicas; a failover",
       Setting{.faults = {.failovers = 1}, .durable = true}, Property::kept_in_failover},
      {"rejections-not-recorded", "only replies are recorded; no fault at all",
       Setting{.rules = {.rejections_recorded = false},
               .second_needs_first = true,
               .not_watched = Property::told_when_stored},
       Property::one_outcome},
      {"unknown-as-not-applied",
       "CL3 left out: a call without an answer is reported as not applied",
       Setting{.rules = {.unknown_is_unknown = false},
               .refusals = true,
               .not_watched = Property::not_applied_before},
       Property::not_applied_later},
      {"no-floor", "operations are forgotten without a trace",
       Setting{.faults = {.forgotten = 1}, .rules = {.floor = false}}, Property::applied_once},
      {"no-audit", "owner records are not read again; a failover and a move",
       Setting{.faults = {.failovers = 1, .moves = 1}, .rules = {.audit = false}},
       Property::progress},
      {"no-look-up", "the caller never looks for another route; a crash",
       Setting{.faults = {.crashes = 1}, .rules = {.look_up = false}}, Property::progress},
      {"sessions-revived", "RENEW makes an ended session anew",
       ClaimSetting{.one_shot_sessions = false}, Property::no_theft},
      {"no-rv", "a claimer does not ask which view the record's writer had",
       ClaimSetting{.rv_check = false}, Property::no_theft},
      {"no-gone", "JOIN does not ask whether the incarnation has ended",
       ClaimSetting{.gone_in_join = false}, Property::no_theft},
      {"no-hold", "a vote counts at once; a split of two and three nodes",
       SplitSetting{.holds = false}, Property::split_held},
      {"no-hold-larger-side", "the same; an eviction from the larger side is looked for",
       SplitSetting{.holds = false, .larger_only = true}, Property::split_held},
  };
}

Found explore(const Run& run) {
  if (const auto* setting = std::get_if<Setting>(&run.setting)) {
    const Shard model(*setting);
    return Search<Shard>(model).run();
  }
  if (const auto* setting = std::get_if<SplitSetting>(&run.setting)) {
    const Split model(*setting);
    return Search<Split>(model).run();
  }
  const Claims model(std::get<ClaimSetting>(run.setting));
  return Search<Claims>(model).run();
}

bool passes(const Run& run, bool traces) {
  const auto start = std::chrono::steady_clock::now();
  const Found found = explore(run);
  const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - start;
  const bool good = found.broken == run.expected;
  std::printf("%-4s %-27s %9zu states %10zu steps %6.2f s  %s\n", good ? "ok" : "FAIL",
              run.name.c_str(), found.states, found.transitions, taken.count(),
              words(found.broken));
  if (!good) std::printf("     %s; expected: %s\n", run.about.c_str(), words(run.expected));
  if (!good || traces) {
    for (std::size_t i = 0; i < found.trace.size(); ++i) {
      std::printf("     %2zu. %s\n", i + 1, found.trace[i].c_str());
    }
  }
  std::fflush(stdout);
  return good;
}

int usage() {
  std::printf(
      "model [--list] [--run NAME] [--trace]\n"
      "Explores every state of the small models. Without --run: all runs.\n"
      "  --list       the runs, and what each must find\n"
      "  --run NAME   this run only\n"
      "  --trace      prints also the way to an expected violation\n");
  return 2;
}

int run_all(const std::vector<std::string_view>& arguments) {
  std::vector<Run> runs = sound_runs();
  for (const Run& run : broken_runs()) runs.push_back(run);
  std::string_view only;
  bool traces = false;
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    if (arguments[i] == "--list") {
      for (const Run& run : runs) {
        std::printf("%-27s %s\n%-27s   must find: %s\n", run.name.c_str(), run.about.c_str(), "",
                    words(run.expected));
      }
      return 0;
    }
    if (arguments[i] == "--trace") {
      traces = true;
    } else if (arguments[i] == "--run" && i + 1 < arguments.size()) {
      only = arguments[++i];
    } else {
      return usage();
    }
  }
  bool good = true;
  bool any = false;
  for (const Run& run : runs) {
    if (!only.empty() && run.name != only) continue;
    any = true;
    good = passes(run, traces) && good;
  }
  if (!any) {
    std::printf("There is no run of this name. --list prints them.\n");
    return 2;
  }
  return good ? 0 : 1;
}

}  // namespace
}  // namespace catga::model

int main(int count, char** values) { return catga::model::run_all({values + 1, values + count}); }
