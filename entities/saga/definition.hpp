// What a saga is: its steps in stages, with the types rubbed out. builder.hpp makes one.
//
// A stage is what runs side by side: one step, or all between parallel() and join(). Stages run one
// after the other. Everything about a step that is compared between versions of a program is data
// here (and in the fingerprint); the functions are code and never compared.
#pragma once
#include "catga/sharding/ids.hpp"
#include "catga/sharding/result.hpp"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace catga {

/// How often to try again, and how long to wait before. The n-th wait is first x factor^(n-1), at
/// most cap, then shortened or lengthened by up to `jitter` of itself.
struct Retries {
  std::chrono::milliseconds first{100};
  double factor = 2;
  std::chrono::milliseconds cap{30'000};
  std::uint32_t attempts = 10;
  double jitter = 0.2;
};

/// The wait after the attempt with this number (from 1). `chance` is drawn from [0, 1).
std::chrono::milliseconds retry_delay(const Retries& retries, std::uint32_t attempt, double chance);

/// The state of one saga, its type rubbed out.
class SagaState {
 public:
  virtual ~SagaState() = default;
  virtual std::unique_ptr<SagaState> copy() const = 0;
  virtual std::string bytes() const = 0;
};

/// What a step or undo sends. For a child: kind and key are its type and id, the payload its input.
struct StepCall {
  EntityId entity;
  std::string message;
  std::string payload;
  friend bool operator==(const StepCall&, const StepCall&) = default;
};

/// An event that a saga publishes, encoded.
struct SagaEvent {
  std::string name;
  std::string payload;
  friend bool operator==(const SagaEvent&, const SagaEvent&) = default;
};

/// Part of the fingerprint: numbers never change.
enum class StepSort : std::uint8_t { call = 0, each = 1, sleep = 2, signal = 3, child = 4 };
std::string_view name_of(StepSort sort);

/// One named step. The functions may throw what user code throws.
struct StepDefinition {
  std::string name;
  StepSort sort = StepSort::call;
  bool pivot = false;
  std::chrono::milliseconds timeout{10'000};  ///< of one attempt; of a sleep or signal: how long
  Retries retries;

  std::string target;       ///< kind of the entity, type of the child; empty: sleep, signal
  std::string message;      ///< wire name
  std::string undo_target;  ///< empty: no undo
  std::string undo_message;

  std::function<bool(const SagaState&)> when;          ///< absent: always
  std::function<std::size_t(const SagaState&)> count;  ///< of an each: how many
  std::function<StepCall(const SagaState&, std::size_t)> call;
  std::function<StepCall(const SagaState&, std::size_t)> undo;
  /// on_reply: puts an encoded reply into the state. Errors: malformed, the bytes are not a reply.
  std::function<Status(SagaState&, std::size_t, std::string_view)> fold;
  /// Published with the commit that says the step is done. Not part of the fingerprint.
  std::vector<std::function<SagaEvent(const SagaState&, std::size_t)>> events;

  bool has_choice() const { return static_cast<bool>(when) || sort == StepSort::each; }
  bool waits_only() const { return sort == StepSort::sleep || sort == StepSort::signal; }
};

using SagaStage = std::vector<StepDefinition>;

/// All of it. Immutable once built; shared by every saga of the type and read by many threads.
struct SagaDefinition {
  std::string type;
  std::uint32_t version = 0;
  std::vector<std::uint32_t> accepts;  ///< older versions whose sagas this one may take over
  std::vector<SagaStage> stages;
  std::optional<std::chrono::milliseconds> deadline;
  /// Published with the commit of the end; the text says why it went back.
  std::vector<std::function<SagaEvent(const SagaState&, const std::string&)>> completed_events;
  std::vector<std::function<SagaEvent(const SagaState&, const std::string&)>> compensated_events;
  std::function<Result<std::unique_ptr<SagaState>>(std::string_view)> decode_state;
  std::vector<std::string> mistakes;  ///< of the builder's use: a join without parallel
};

/// Where a step stands.
struct StepPlace {
  std::size_t stage = 0;
  std::size_t position = 0;
  friend bool operator==(const StepPlace&, const StepPlace&) = default;
};
/// Finds a step by the name it was declared with; "line#3" is found as "line".
std::optional<StepPlace> find_step(const SagaDefinition& definition, std::string_view name);

/// Everything wrong with a definition, in words, checked when a node hosts it. Errors: malformed.
Status check(const SagaDefinition& definition);
/// Types of sagas and kinds of entities share one space of names. Errors: malformed.
Status check_names(std::span<const SagaDefinition* const> sagas,
                   std::span<const std::string> kinds);

/// XXH3-64 over the steps in order: name, sort, target kind, message, undo message, pivot, stage.
/// Never over code: time-outs, retries and lambdas may change without a new version.
std::uint64_t fingerprint(const SagaDefinition& definition);

/// The longest a step can be tried before it is given up: time-outs and waits added up. The memory of
/// operations must be more than twice as long.
std::chrono::milliseconds window_of(const StepDefinition& step);
std::chrono::milliseconds longest_window(const SagaDefinition& definition);

/// An `each` beyond this parks as poison.
inline constexpr std::size_t each_max = 1000;

}  // namespace catga
