// Sorts a history by account and time, and looks for what cannot be.
#include "history.hpp"

#include <algorithm>
#include <charconv>
#include <limits>
#include <map>
#include <span>
#include <unordered_map>
#include <utility>

namespace catga::testing {
namespace {

constexpr std::uint64_t examples_each = 5;
constexpr std::int64_t never = std::numeric_limits<std::int64_t>::max();

using Positions = std::unordered_map<std::uint64_t, std::vector<std::uint64_t>>;

/// Something that happened at one point of the order, seen from real time.
struct Seen {
  std::int64_t start = 0;
  std::int64_t end = 0;
  std::uint64_t place = 0;
  bool bounds_later = true;  ///< what begins after its end may not have a smaller place
  bool is_bound = true;      ///< may not have a smaller place than what ended before it
  std::string name;
};

class Account {
 public:
  Account(std::string_view name, Tail tail, Verdict& verdict)
      : name_(name), tail_(tail), verdict_(verdict) {}

  void judge(std::span<const Call* const> calls, const FinalLog* log) {
    read(log);
    for (const Call* call : calls) judge(*call);
    look_for_strangers(calls);
    if (log != nullptr)
      seen_.push_back({log->start, log->end, 2 * length_ + 1, false, true, "the final read"});
    look_at_times();
  }

 private:
  void read(const FinalLog* log) {
    if (log == nullptr) return;
    read_back_ = true;
    length_ = log->calls.size();
    for (std::uint64_t i = 0; i < length_; ++i) {
      auto& places = positions_[log->calls[i]];
      places.push_back(i + 1);
      if (places.size() > 1)
        defect(verdict_.applied_twice,
               "call " + std::to_string(log->calls[i]) + " is in the log at position " +
                   std::to_string(places.front()) + " and again at " + std::to_string(i + 1));
    }
  }

  void judge(const Call& call) {
    ++verdict_.calls;
    if (call.outcome == Call::Outcome::ok) ++verdict_.acknowledged;
    if (call.outcome == Call::Outcome::rejected) ++verdict_.rejected;
    if (call.outcome == Call::Outcome::refused) ++verdict_.refused;
    if (call.outcome == Call::Outcome::unknown) ++verdict_.unknown;
    if (call.kind == Call::Kind::read)
      judge_read(call);
    else
      judge_append(call);
  }

  void judge_read(const Call& call) {
    if (call.outcome == Call::Outcome::ok) see(call, 2 * call.position + 1, call.end);
  }

  void judge_append(const Call& call) {
    const auto found = positions_.find(call.number);
    const auto* places = found == positions_.end() ? nullptr : &found->second;
    switch (call.outcome) {
      case Call::Outcome::ok:
        judge_acknowledged(call, places);
        break;
      case Call::Outcome::unknown:
        if (places != nullptr) see(call, 2 * places->front(), never);
        break;
      case Call::Outcome::rejected:
        judge_rejected(call);
        [[fallthrough]];
      case Call::Outcome::refused:
        if (places != nullptr)
          defect(verdict_.applied_though_refused,
                 text_of(call) + " is in the log at position " + std::to_string(places->front()));
        break;
    }
  }

  void judge_acknowledged(const Call& call, const std::vector<std::uint64_t>* places) {
    if (places == nullptr)
      return defect(verdict_.lost, text_of(call) + (read_back_ ? " is not in the log"
                                                               : ": the log was never read back"));
    if (call.position == 0) return see(call, 2 * places->front(), never);
    if (std::ranges::find(*places, call.position) == places->end())
      return defect(verdict_.lost, text_of(call) + " is in the log at position " +
                                       std::to_string(places->front()) + " instead");
    if (call.limit != 0 && call.position > call.limit)
      defect(verdict_.nonlinearizable,
             text_of(call) + " is beyond its limit " + std::to_string(call.limit));
    see(call, 2 * call.position, call.end);
  }

  // The log was at least so long, which bounds what begins later and nothing else: the place of the
  // rejection itself may be as late as those before it demand.
  void judge_rejected(const Call& call) {
    if (tail_ == Tail::may_be_lost) return;
    if (call.limit == 0 || length_ < call.limit)
      return defect(verdict_.nonlinearizable,
                    text_of(call) + ", but the log was never as long as its limit: " +
                        std::to_string(length_) + " of " + std::to_string(call.limit));
    seen_.push_back({call.start, call.end, 2 * call.limit + 1, true, false, text_of(call)});
  }

  // A read may have seen a tail that is lost now, so it says nothing of what comes later.
  void see(const Call& call, std::uint64_t place, std::int64_t end) {
    const bool bounds_later = tail_ == Tail::kept || call.kind == Call::Kind::append;
    seen_.push_back({call.start, end, place, bounds_later, true, text_of(call)});
  }

  void look_for_strangers(std::span<const Call* const> calls) {
    std::unordered_map<std::uint64_t, int> made;
    for (const Call* call : calls)
      if (call->kind == Call::Kind::append) made.emplace(call->number, 0);
    for (const auto& [number, places] : positions_)
      if (!made.contains(number))
        defect(verdict_.unexplained, "call " + std::to_string(number) + " at position " +
                                         std::to_string(places.front()) + " was never made here");
  }

  void look_at_times() {
    std::vector<const Seen*> by_start, by_end;
    for (const Seen& seen : seen_) {
      if (seen.is_bound) by_start.push_back(&seen);
      if (seen.bounds_later && seen.end != never) by_end.push_back(&seen);
    }
    std::ranges::sort(by_start, {}, &Seen::start);
    std::ranges::sort(by_end, {}, &Seen::end);
    const Seen* last = nullptr;  // of those that ended before: the one with the latest place
    auto ended = by_end.begin();
    for (const Seen* now : by_start) {
      for (; ended != by_end.end() && (*ended)->end < now->start; ++ended)
        if (last == nullptr || (*ended)->place > last->place) last = *ended;
      if (last != nullptr && last->place > now->place)
        defect(verdict_.nonlinearizable,
               now->name + " began after the end of what must come later: " + last->name);
    }
  }

  static std::string text_of(const Call& call) {
    std::string text = call.kind == Call::Kind::append ? "append " : "read ";
    text += std::to_string(call.number);
    switch (call.outcome) {
      case Call::Outcome::ok:
        text += call.kind == Call::Kind::append ? ", told position " : ", told length ";
        text += std::to_string(call.position);
        break;
      case Call::Outcome::rejected:
        text += ", rejected";
        break;
      case Call::Outcome::refused:
        text += ", refused as not applied";
        break;
      case Call::Outcome::unknown:
        text += ", outcome unknown";
        break;
    }
    text += " (" + std::to_string(call.start) + " to ";
    return text + (call.outcome == Call::Outcome::unknown ? "?" : std::to_string(call.end)) + ')';
  }

  void defect(std::uint64_t& counter, const std::string& text) {
    if (counter++ < examples_each) verdict_.examples.push_back(std::string(name_) + ": " + text);
  }

  std::string_view name_;
  Tail tail_;
  Verdict& verdict_;
  bool read_back_ = false;
  std::uint64_t length_ = 0;
  Positions positions_;
  std::vector<Seen> seen_;
};

void look_for_doubles(const History& history, Verdict& verdict) {
  std::vector<std::uint64_t> numbers;
  numbers.reserve(history.calls.size());
  for (const Call& call : history.calls) numbers.push_back(call.number);
  std::ranges::sort(numbers);
  for (std::size_t i = 1; i < numbers.size(); ++i) {
    if (numbers[i] != numbers[i - 1]) continue;
    if (verdict.unexplained++ < examples_each)
      verdict.examples.push_back("call " + std::to_string(numbers[i]) + " was recorded twice");
  }
}

std::map<std::string_view, const FinalLog*> logs_by_account(const History& history,
                                                            Verdict& verdict) {
  std::map<std::string_view, const FinalLog*> logs;
  for (const FinalLog& log : history.logs) {
    if (logs.emplace(log.account, &log).second) continue;
    if (verdict.unexplained++ < examples_each)
      verdict.examples.push_back(log.account + ": two final logs");
  }
  return logs;
}

// ---- lines ----

constexpr std::string_view kinds[] = {"append", "read"};
constexpr std::string_view outcomes[] = {"ok", "rejected", "refused", "unknown"};

/// Takes words off the front of a line; after the first that is not there or wrong ok() is false.
class Words {
 public:
  explicit Words(std::string_view line) : rest_(line) {}
  bool ok() const { return ok_; }
  bool more() {
    rest_.remove_prefix(std::min(rest_.find_first_not_of(" \r\n"), rest_.size()));
    return !rest_.empty();
  }
  std::string_view word() {
    if (!more()) ok_ = false;
    const auto end = std::min(rest_.find_first_of(" \r\n"), rest_.size());
    const auto found = rest_.substr(0, end);
    rest_.remove_prefix(end);
    return found;
  }
  template <class Number>
  Number number() {
    const auto text = word();
    Number value{};
    const auto [end, trouble] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (trouble != std::errc{} || end != text.data() + text.size()) ok_ = false;
    return value;
  }
  template <class Enum, std::size_t count>
  Enum one_of(const std::string_view (&names)[count]) {
    const auto* const found = std::ranges::find(names, word());
    if (found == std::end(names)) ok_ = false;
    return static_cast<Enum>(found == std::end(names) ? 0 : found - std::begin(names));
  }

 private:
  std::string_view rest_;
  bool ok_ = true;
};

}  // namespace

Verdict judge(const History& history, Tail tail) {
  Verdict verdict;
  look_for_doubles(history, verdict);
  const auto logs = logs_by_account(history, verdict);
  std::vector<const Call*> calls;
  calls.reserve(history.calls.size());
  for (const Call& call : history.calls) calls.push_back(&call);
  std::ranges::stable_sort(calls, {}, &Call::account);

  std::map<std::string_view, bool> judged;
  for (auto begin = calls.begin(); begin != calls.end();) {
    const std::string_view name = (*begin)->account;
    const auto end = std::find_if(begin, calls.end(),
                                  [name](const Call* call) { return call->account != name; });
    const auto log = logs.find(name);
    Account(name, tail, verdict).judge({begin, end}, log == logs.end() ? nullptr : log->second);
    judged[name] = true;
    begin = end;
  }
  for (const auto& [name, log] : logs)
    if (!judged.contains(name)) Account(name, tail, verdict).judge({}, log);
  return verdict;
}

std::string line_of(const Call& call) {
  std::string line = "call " + std::to_string(call.start) + ' ' + std::to_string(call.end) + ' ';
  line += call.account + ' ' + std::to_string(call.number) + ' ';
  line += kinds[static_cast<std::size_t>(call.kind)];
  line += ' ';
  line += outcomes[static_cast<std::size_t>(call.outcome)];
  return line + ' ' + std::to_string(call.position) + ' ' + std::to_string(call.limit);
}

std::string line_of(const FinalLog& log) {
  std::string line = "log " + std::to_string(log.start) + ' ' + std::to_string(log.end) + ' ';
  line += log.account;
  for (const std::uint64_t number : log.calls) line += ' ' + std::to_string(number);
  return line;
}

Status read_line(std::string_view line, History& into) {
  Words words(line);
  const auto type = words.word();
  if (type == "call") {
    Call call;
    call.start = words.number<std::int64_t>();
    call.end = words.number<std::int64_t>();
    call.account = words.word();
    call.number = words.number<std::uint64_t>();
    call.kind = words.one_of<Call::Kind>(kinds);
    call.outcome = words.one_of<Call::Outcome>(outcomes);
    call.position = words.number<std::uint64_t>();
    call.limit = words.number<std::uint64_t>();
    if (words.ok()) into.calls.push_back(std::move(call));
  } else if (type == "log") {
    FinalLog log;
    log.start = words.number<std::int64_t>();
    log.end = words.number<std::int64_t>();
    log.account = words.word();
    while (words.ok() && words.more()) log.calls.push_back(words.number<std::uint64_t>());
    if (words.ok()) into.logs.push_back(std::move(log));
  }
  if (words.ok() && (type == "call" || type == "log")) return Done{};
  return Error{Code::malformed, "not a line of a history: " + std::string(line.substr(0, 200))};
}

}  // namespace catga::testing
