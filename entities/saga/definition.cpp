#include "catga/entities/saga/definition.hpp"

#include "catga/sharding/hash.hpp"

#include <algorithm>
#include <cmath>
#include <set>

namespace catga {
namespace {

constexpr std::uint64_t fingerprint_domain = 49;

std::string quoted(std::string_view name) { return "'" + std::string(name) + "'"; }

/// '#' numbers the steps of an each; '|' and '/' separate names in the keys and timers of sagas.
bool usable_name(std::string_view name) {
  return !name.empty() && name.size() <= 100 && name.find_first_of("#|/") == name.npos;
}

/// Looks through a definition once, in order, and collects what is wrong.
class Inspection {
 public:
  explicit Inspection(const SagaDefinition& definition) : definition_(definition) {}

  std::vector<std::string> run() {
    wrong_ = definition_.mistakes;
    if (!usable_name(definition_.type)) {
      say("the type needs a name of 1 to 100 characters without '#', '|' and '/'");
    }
    if (definition_.version == 0) say("versions start at 1");
    if (std::ranges::any_of(definition_.accepts,
                            [this](std::uint32_t old) { return old >= definition_.version; })) {
      say("accepts() names versions older than its own " + std::to_string(definition_.version));
    }
    if (definition_.stages.empty()) say("it has no steps");
    if (definition_.deadline && definition_.deadline->count() <= 0) {
      say("the deadline must be longer than nothing");
    }
    for (const SagaStage& stage : definition_.stages) look_at(stage);
    return std::move(wrong_);
  }

 private:
  void look_at(const SagaStage& stage) {
    for (const StepDefinition& step : stage) {
      look_at_name(step);
      look_at_pivot(step, stage.size() > 1);
      look_at_times(step);
    }
    const bool pivot_here =
        std::ranges::any_of(stage, [](const StepDefinition& step) { return step.pivot; });
    past_pivot_ = past_pivot_ || pivot_here;
  }

  void look_at_name(const StepDefinition& step) {
    if (!usable_name(step.name)) {
      say("step " + quoted(step.name) +
          " needs a name of 1 to 100 characters without '#', '|' and '/'");
    }
    if (!names_.insert(step.name).second) {
      say("two steps are named " + quoted(step.name) + "; the journal tells steps by their names");
    }
  }

  void look_at_pivot(const StepDefinition& step, bool side_by_side) {
    if (past_pivot_ && step.undo) {
      say("step " + quoted(step.name) +
          " has an undo, but stands behind the pivot, where nothing is undone");
    }
    if (!step.pivot) return;
    if (side_by_side || step.sort == StepSort::each) {
      say("step " + quoted(step.name) +
          " is a pivot in parallel() or of an each(); a pivot is one step alone");
    }
    if (step.when) {
      say("step " + quoted(step.name) +
          " is a pivot with when(); skipped, nothing would say whether there is a way back");
    }
    if (past_pivot_) say("step " + quoted(step.name) + " is a second pivot");
  }

  void look_at_times(const StepDefinition& step) {
    const Retries& retries = step.retries;
    if (step.timeout.count() <= 0) {
      say("step " + quoted(step.name) + " needs a time longer than nothing");
    }
    if (retries.attempts == 0 || retries.first.count() < 0 || retries.cap < retries.first ||
        !(retries.factor >= 1) || !(retries.jitter >= 0 && retries.jitter <= 1)) {
      say("step " + quoted(step.name) +
          " needs retries of at least 1 attempt, a factor of at least 1, a jitter from 0 to 1 and "
          "a "
          "cap not below the first wait");
    }
  }

  void say(std::string words) { wrong_.push_back(std::move(words)); }

  const SagaDefinition& definition_;
  std::vector<std::string> wrong_;
  std::set<std::string_view> names_;
  bool past_pivot_ = false;
};

/// Each text with its length in front, so that no two lists of steps give the same bytes.
void append(std::string& out, std::string_view text) {
  out.append(std::to_string(text.size())).append(1, ':').append(text);
}

}  // namespace

std::string_view name_of(StepSort sort) {
  switch (sort) {
    case StepSort::call:
      return "step";
    case StepSort::each:
      return "each";
    case StepSort::sleep:
      return "sleep";
    case StepSort::signal:
      return "signal";
    case StepSort::child:
      break;
  }
  return "child";
}

std::chrono::milliseconds retry_delay(const Retries& retries, std::uint32_t attempt,
                                      double chance) {
  const double cap = static_cast<double>(retries.cap.count());
  const double grown = static_cast<double>(retries.first.count()) *
                       std::pow(retries.factor, static_cast<double>(attempt) - 1);
  const double wait = std::min(grown, cap);  // an infinite `grown` is fine here
  const double shaken = wait * (1 + retries.jitter * (2 * chance - 1));
  return std::chrono::milliseconds(static_cast<std::int64_t>(shaken));
}

std::optional<StepPlace> find_step(const SagaDefinition& definition, std::string_view name) {
  const std::string_view declared = name.substr(0, name.find('#'));
  for (std::size_t stage = 0; stage < definition.stages.size(); ++stage) {
    for (std::size_t position = 0; position < definition.stages[stage].size(); ++position) {
      if (definition.stages[stage][position].name == declared) return StepPlace{stage, position};
    }
  }
  return std::nullopt;
}

Status check(const SagaDefinition& definition) {
  const std::vector<std::string> wrong = Inspection(definition).run();
  if (wrong.empty()) return Done{};
  std::string words = "saga " + quoted(definition.type) + " cannot be hosted: ";
  for (std::size_t i = 0; i < wrong.size(); ++i) words.append(i == 0 ? "" : "; ").append(wrong[i]);
  return Error{Code::malformed, std::move(words)};
}

Status check_names(std::span<const SagaDefinition* const> sagas,
                   std::span<const std::string> kinds) {
  std::set<std::pair<std::string_view, std::uint32_t>> seen;
  for (const SagaDefinition* saga : sagas) {
    if (!seen.emplace(saga->type, saga->version).second) {
      return Error{Code::malformed, "two sagas are named " + quoted(saga->type) + " with version " +
                                        std::to_string(saga->version) +
                                        ": rename one, or give it a version of its own"};
    }
    if (std::ranges::find(kinds, saga->type) != kinds.end()) {
      return Error{Code::malformed, "a saga and a kind of entities are both named " +
                                        quoted(saga->type) + ": rename one"};
    }
  }
  return Done{};
}

std::uint64_t fingerprint(const SagaDefinition& definition) {
  std::string text;
  for (std::size_t stage = 0; stage < definition.stages.size(); ++stage) {
    for (const StepDefinition& step : definition.stages[stage]) {
      append(text, step.name);
      append(text, std::to_string(static_cast<unsigned>(step.sort)));
      append(text, step.target);
      append(text, step.message);
      append(text, step.undo_message);
      append(text, step.pivot ? "pivot" : "");
      append(text, std::to_string(stage));
    }
  }
  return hash64(fingerprint_domain, text);
}

std::chrono::milliseconds window_of(const StepDefinition& step) {
  if (step.waits_only()) return std::chrono::milliseconds(0);
  // attempts is a number people write, but nothing keeps them from writing a billion.
  const std::uint32_t attempts = std::min(step.retries.attempts, 1'000'000U);
  const std::chrono::milliseconds longest = retry_delay(step.retries, attempts, 1.0);
  std::chrono::milliseconds sum = step.timeout * attempts;
  for (std::uint32_t attempt = 1; attempt < attempts; ++attempt) {
    const std::chrono::milliseconds wait = retry_delay(step.retries, attempt, 1.0);
    if (wait == longest) return sum + wait * (attempts - attempt);  // and so are all that follow
    sum += wait;
  }
  return sum;
}

std::chrono::milliseconds longest_window(const SagaDefinition& definition) {
  std::chrono::milliseconds longest{0};
  for (const SagaStage& stage : definition.stages) {
    for (const StepDefinition& step : stage) longest = std::max(longest, window_of(step));
  }
  return longest;
}

}  // namespace catga
