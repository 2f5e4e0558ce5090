#include "catga/runtime/telemetry/rebalance_spans.hpp"

#include <nlohmann/json.hpp>

#include <charconv>
#include <utility>
#include <vector>

namespace catga {

namespace {

constexpr std::int64_t ms = 1'000'000, quiet_ns = 2000 * ms, forget_ns = 600'000 * ms;
constexpr std::int64_t slow_ns = 1000 * ms;

const LogField* field_of(const LogRecord& record, std::string_view name) {
  for (const LogField& field : record.fields)
    if (field.name == name) return &field;
  return nullptr;
}

std::string text_in(const LogRecord& record, std::string_view name) {
  const LogField* const field = field_of(record, name);
  const auto* text = field == nullptr ? nullptr : std::get_if<std::string>(&field->value);
  return text == nullptr ? std::string{} : *text;
}

std::int64_t number_in(const LogRecord& record, std::string_view name, std::int64_t otherwise) {
  const LogField* const field = field_of(record, name);
  const auto* number = field == nullptr ? nullptr : std::get_if<std::int64_t>(&field->value);
  return number == nullptr ? otherwise : *number;
}

std::uint64_t id_of(const std::string& text) {
  std::uint64_t id = 0;
  std::from_chars(text.data(), text.data() + text.size(), id);
  return id;
}

std::int64_t number_of(const nlohmann::json& json, const char* key) {
  const auto at = json.find(key);
  return at == json.end() || !at->is_number_integer() ? 0 : at->get<std::int64_t>();
}

std::string text_of_key(const nlohmann::json& json, const char* key) {
  const auto at = json.find(key);
  return at == json.end() || !at->is_string() ? std::string{} : at->get<std::string>();
}

}  // namespace

RebalanceSpans::RebalanceSpans(std::string cluster, std::string node, Tracer::Sink sink,
                               std::size_t keep)
    : cluster_(std::move(cluster)), node_(std::move(node)), sink_(std::move(sink)), keep_(keep) {}

void RebalanceSpans::take(const LogRecord& record) {
  if (record.event == "catga.shard.handoff.started") {
    const std::lock_guard guard(lock_);
    open_[number_in(record, "catga.shard.id", -1)] = {record.unix_us * 1000};
  } else if (record.event == "catga.shard.handoff.completed") {
    completed(record);
  } else if (record.event == "catga.shard.handoff.failed") {
    failed(record);
  }
}

/// Slow ones are always kept; the others up to a bound, beyond which they are counted.
bool RebalanceSpans::has_room(std::uint64_t rebalance, std::int64_t lasted_ns) {
  if (counted_for_ != rebalance) {
    counted_for_ = rebalance;
    counted_ = 0;
    omitted_ = 0;
  }
  if (counted_ < keep_ || lasted_ns >= slow_ns) {
    counted_ += 1;
    return true;
  }
  omitted_ += 1;
  return false;
}

void RebalanceSpans::completed(const LogRecord& record) {
  const std::uint64_t rebalance = id_of(text_in(record, "catga.rebalance.id"));
  const std::int64_t shard = number_in(record, "catga.shard.id", -1);
  const std::string from = text_in(record, "catga.node.from"),
                    to = text_in(record, "catga.node.to");
  const std::string mode = text_in(record, "mode");
  const std::int64_t now_ns = record.unix_us * 1000;
  const std::int64_t pause_ns = number_in(record, "unavailable_ms", 0) * ms;
  const bool planned = mode == "planned", gives = planned && from == node_;
  std::int64_t start_ns = now_ns - pause_ns;
  {
    const std::lock_guard guard(lock_);
    const auto open = open_.find(shard);
    if (open != open_.end() && (gives || !planned)) {
      start_ns = open->second.start_ns;
      open_.erase(open);
    }
    if (!has_room(rebalance, now_ns - start_ns)) return;
  }
  const std::string epoch = text_in(record, "catga.shard.epoch");
  const TraceContext root = rebalance_trace::root(cluster_, rebalance);
  Span handoff;
  handoff.context = rebalance_trace::handoff(cluster_, rebalance, shard, to, epoch);
  handoff.parent = root.span;
  handoff.parent_remote = true;
  handoff.name = "catga.shard.handoff";
  handoff.start_ns = start_ns;
  handoff.end_ns = now_ns;
  handoff.attributes = {{"catga.rebalance.id", std::to_string(rebalance)},
                        {"catga.shard.id", shard},
                        {"catga.node.from", from},
                        {"catga.node.to", to},
                        {"catga.shard.epoch", epoch},
                        {"catga.shard.handoff.mode", mode}};
  const auto child = [&](const char* name, std::int64_t begin, std::int64_t end) {
    Span span;
    span.context = Tracer::inside(handoff.context);
    span.parent = handoff.context.span;
    span.parent_remote = planned && !gives;
    span.name = name;
    span.start_ns = begin;
    span.end_ns = end;
    span.attributes = {{"catga.shard.id", shard}, {"catga.shard.epoch", epoch}};
    sink_(std::move(span));
  };
  if (planned && !gives)  // the new owner's side; the old one tells the move itself
    return child("catga.shard.acquire", now_ns - number_in(record, "acquire_ms", 0) * ms, now_ns);
  if (gives) {
    const std::int64_t given_ns =
        (number_in(record, "drain_ms", 0) + number_in(record, "transfer_ms", 0)) * ms;
    child("catga.shard.release", start_ns, now_ns - pause_ns + given_ns);
    handoff.attributes.push_back(
        {"catga.shard.handoff.entities", number_in(record, "entities", 0)});
  } else {
    child("catga.shard.acquire", start_ns, now_ns);
  }
  sink_(std::move(handoff));
}

void RebalanceSpans::failed(const LogRecord& record) {
  const std::uint64_t rebalance = id_of(text_in(record, "catga.rebalance.id"));
  const std::int64_t shard = number_in(record, "catga.shard.id", -1);
  Span span;
  span.start_ns = span.end_ns = record.unix_us * 1000;
  {
    const std::lock_guard guard(lock_);
    const auto open = open_.find(shard);
    if (open != open_.end()) {
      span.start_ns = open->second.start_ns;
      open_.erase(open);
    }
  }
  const TraceContext root = rebalance_trace::root(cluster_, rebalance);
  span.context = Tracer::inside(root);  // nobody else has a part in it
  span.parent = root.span;
  span.parent_remote = true;
  span.name = "catga.shard.handoff";
  span.status = SpanStatus::error;
  span.status_text = record.message;
  span.attributes = {{"catga.rebalance.id", std::to_string(rebalance)},
                     {"catga.shard.id", shard},
                     {"catga.node.from", text_in(record, "catga.node.from")},
                     {"catga.node.to", text_in(record, "catga.node.to")},
                     {"catga.shard.handoff.mode", text_in(record, "mode")},
                     {"error.type", std::string("given_up")}};
  sink_(std::move(span));
}

void RebalanceSpans::heard(const ClusterEvent& event) {
  const bool begins = event.name == "catga.rebalance.planned";
  if (!begins && event.name != "catga.rebalance.completed") return;
  const auto json = nlohmann::json::parse(event.json, nullptr, false);
  if (!json.is_object()) return;
  const std::uint64_t id = id_of(text_of_key(json, "catga.rebalance.id"));
  const std::string node = text_of_key(json, "catga.node.id");
  const std::int64_t now = Tracer::now_ns();
  const std::lock_guard guard(lock_);
  Whole& whole = wholes_[id];
  whole.changed_ns = now;
  if (whole.start_ns == 0) whole.start_ns = now;
  whole.end_ns = now;
  if (begins) {
    whole.planned.insert(node);
    whole.completed.erase(node);
    whole.reason = text_of_key(json, "reason");
    whole.moves_planned += number_of(json, "moves") + number_of(json, "takeovers");
    return;
  }
  whole.completed.insert(node);
  whole.superseded |= text_of_key(json, "outcome") == "superseded";
  whole.moves_completed += number_of(json, "moved") + number_of(json, "taken");
  whole.moves_failed += number_of(json, "failed");
  whole.start_ns = std::min(whole.start_ns, now - number_of(json, "duration_ms") * ms);
}

void RebalanceSpans::look(std::int64_t now_ns) {
  std::vector<Span> ended;
  {
    const std::lock_guard guard(lock_);
    for (auto at = wholes_.begin(); at != wholes_.end();) {
      const auto& [id, whole] = *at;
      const bool over = !whole.planned.empty() && whole.planned == whole.completed &&
                        now_ns - whole.changed_ns >= quiet_ns;
      if (over && *whole.planned.begin() == node_) {
        Span root;
        root.context = rebalance_trace::root(cluster_, id);
        root.name = "catga.rebalance";
        root.start_ns = whole.start_ns;
        root.end_ns = whole.end_ns;
        root.attributes = {
            {"catga.rebalance.id", std::to_string(id)},
            {"catga.rebalance.reason", whole.reason},
            {"catga.rebalance.outcome", std::string(whole.superseded          ? "superseded"
                                                    : whole.moves_failed == 0 ? "ok"
                                                                              : "partial")},
            {"catga.rebalance.moves_planned", whole.moves_planned},
            {"catga.rebalance.moves_completed", whole.moves_completed},
            {"catga.rebalance.moves_failed", whole.moves_failed},
            {"catga.rebalance.spans_omitted", counted_for_ == id ? omitted_ : std::int64_t{0}}};
        ended.push_back(std::move(root));
      }
      const bool given_up = now_ns - whole.changed_ns >= forget_ns;  // a node died in the middle
      at = over || given_up ? wholes_.erase(at) : std::next(at);
    }
  }
  for (Span& span : ended) sink_(std::move(span));
}

}  // namespace catga
