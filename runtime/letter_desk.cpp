#include "catga/runtime/letter_desk.hpp"

#include "catga/runtime/messaging/gateway_request.hpp"
#include "catga/sharding/hash.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <iterator>
#include <utility>

namespace catga {

namespace {

using nlohmann::json;
constexpr std::chrono::milliseconds patience{10'000};  // a retry may have many letters to handle
constexpr std::chrono::milliseconds list_patience{3'000};
constexpr std::uint64_t show_most = 100;

std::string text_in_json(const json& value) {
  return value.dump(-1, ' ', false, json::error_handler_t::replace);
}

std::string source_text(const EntityId& source) {
  return source.kind + '/' + encode_token(source.key);
}

Result<EntityId> source_of(std::string_view text) {
  const auto slash = text.find('/');
  if (slash == text.npos)
    return Error{Code::malformed, "a source is <kind>/<key>: " + std::string(text)};
  std::string key = CATGA_TRY(decode_token(text.substr(slash + 1)));
  return EntityId{std::string(text.substr(0, slash)), std::move(key)};
}

std::chrono::system_clock::time_point time_of(std::int64_t ms) {
  return std::chrono::system_clock::time_point(std::chrono::milliseconds(ms));
}

json letter_json(const DeadLetter& letter) {
  json all{{"event", letter.event.name},    {"id", text_of(letter.event.id)},
           {"number", letter.event.number}, {"sequence", letter.sequence},
           {"at", letter.event.at_ms},      {"parked", letter.parked_ms},
           {"attempts", letter.attempts},   {"why", letter.why}};
  if (!letter.target.kind.empty()) all["target"] = source_text(letter.target);
  return all;
}

std::string letters_json(const Result<std::vector<DeadLetter>>& letters) {
  if (!letters.ok()) return error_json(letters.error());
  json all = json::array();
  for (const DeadLetter& letter : *letters) all.push_back(letter_json(letter));
  return text_in_json({{"letters", std::move(all)}});
}

std::string lines_json(const Result<std::vector<LetterLine>>& lines) {
  if (!lines.ok()) return error_json(lines.error());
  json all = json::array();
  for (const LetterLine& line : *lines) {
    const auto since =
        std::chrono::duration_cast<std::chrono::milliseconds>(line.parked.since.time_since_epoch());
    all.push_back({{"subscription", line.subscription},
                   {"source", source_text(line.parked.source)},
                   {"length", line.parked.length},
                   {"since", since.count()}});
  }
  return text_in_json({{"parked", std::move(all)}});
}

Result<std::vector<LetterLine>> lines_in(const json& answer) {
  std::vector<LetterLine> lines;
  for (const json& one : answer.value("parked", json::array())) {
    EntityId source = CATGA_TRY(source_of(one.value("source", "")));
    lines.push_back({one.value("subscription", ""),
                     {std::move(source), one.value("length", std::uint64_t{0}),
                      time_of(one.value("since", std::int64_t{0}))}});
  }
  return lines;
}

std::function<void(Result<std::uint64_t>)> count_answer(const char* name,
                                                        std::function<void(std::string)> answer) {
  return [name, answer = std::move(answer)](const Result<std::uint64_t>& count) {
    answer(count.ok() ? text_in_json({{name, *count}}) : error_json(count.error()));
  };
}

/// The object, or the error that it carries.
Result<json> answer_in(std::string_view text) {
  json answer = json::parse(text, nullptr, false);
  if (!answer.is_object())
    return Error{Code::failed, "an answer about dead letters cannot be read"};
  const auto error = answer.find("error");
  if (error == answer.end()) return answer;
  const std::string name = error->is_object() ? error->value("code", "failed") : "failed";
  Code code = Code::failed;
  for (const Code one : {Code::unavailable, Code::overloaded, Code::timeout, Code::expired,
                         Code::unknown, Code::malformed, Code::not_found})
    if (name == name_of(one)) code = one;
  return Error{code, error->is_object() ? error->value("text", "") : ""};
}

Result<json> ask_for(NatsConnection& nats, const std::string& subject, const json& body,
                     std::chrono::milliseconds longest) {
  const Result<std::string> answer = request(nats, subject, text_in_json(body), longest);
  if (!answer.ok()) {
    if (answer.error().code != Code::unavailable) return answer.error();
    return Error{Code::unavailable,
                 "nobody who could say listens now (" + subject + "): " + answer.error().text};
  }
  return answer_in(*answer);
}

}  // namespace

std::string letter_subject(const std::string& prefix, const std::string& subscription,
                           std::uint32_t part) {
  return prefix + "dl." + subscription + '.' + std::to_string(part);
}

std::string node_letter_subject(const std::string& prefix, const std::string& node) {
  return prefix + "dl-node." + encode_token(node);
}

void serve_letters(LetterKeeper& keeper, std::string_view request,
                   std::function<void(std::string)> answer, bool lists) {
  const json asked = json::parse(request, nullptr, false);
  if (!asked.is_object() || !asked.contains("verb") || !asked["verb"].is_string())
    return answer(error_json(Error{Code::malformed, R"(write {"verb":"list"})"}));
  const std::string verb = asked["verb"];
  if (verb == "list") {
    if (!lists) return answer(lines_json(std::vector<LetterLine>{}));
    return keeper.list_letters(
        [answer = std::move(answer)](const Result<std::vector<LetterLine>>& lines) {
          answer(lines_json(lines));
        });
  }
  Result<EntityId> source =
      asked.contains("source") && asked["source"].is_string()
          ? source_of(asked["source"].get_ref<const std::string&>())
          : Result<EntityId>(Error{Code::malformed, "name a source, <kind>/<key>"});
  if (!source.ok()) return answer(error_json(source.error()));
  const auto renew = asked.find("renew");
  const bool renewed = renew != asked.end() && renew->is_boolean() && renew->get<bool>();
  if (verb == "retry")
    return keeper.retry_letters({std::move(*source), renewed},
                                count_answer("done", std::move(answer)));
  if (verb == "discard")
    return keeper.discard_letter(*source, count_answer("left", std::move(answer)));
  if (verb != "show")
    return answer(
        error_json(Error{Code::malformed, "verbs are list, show, retry and discard, not " + verb}));
  keeper.show_letters(*source, show_most,
                      [answer = std::move(answer)](const Result<std::vector<DeadLetter>>& letters) {
                        answer(letters_json(letters));
                      });
}

std::uint32_t LetterDesk::part_of_source(const EntityId& source) const {
  const std::string events = prefix_ + "ev.";
  if (source.kind == "?" &&
      source.key.starts_with(events)) {  // what cannot be read has its subject for a key
    const std::string_view rest = std::string_view(source.key).substr(events.size());
    const Result<std::uint64_t> part = parse_number(rest.substr(0, rest.find('.')));
    if (part.ok() && *part < event_parts) return static_cast<std::uint32_t>(*part);
  }
  return part_of(shard_of(source.kind, source.key, shards_));
}

Result<std::vector<ParkedEvents>> LetterDesk::list(const std::string& subscription) {
  std::vector<ParkedEvents> all;
  for (std::uint32_t part = 0; part < event_parts; ++part) {
    const json answer = CATGA_TRY(
        ask_for(nats_, letter_subject(prefix_, subscription, part), {{"verb", "list"}}, patience));
    for (LetterLine& line : CATGA_TRY(lines_in(answer))) all.push_back(std::move(line.parked));
  }
  return all;
}

LetterDesk::All LetterDesk::everything(const std::vector<std::string>& nodes) {
  All all;
  const auto add = [&all](Result<std::vector<LetterLine>> lines) {
    if (lines.ok()) std::ranges::move(*lines, std::back_inserter(all.lines));
    return lines.ok();
  };
  for (const std::string& node : nodes) {
    const Result<json> answer =
        ask_for(nats_, node_letter_subject(prefix_, node), {{"verb", "list"}}, list_patience);
    if (!answer.ok() || !add(lines_in(*answer))) all.missing.push_back(node);
  }
  // Without JetStream there are no groups and no broadcasts.
  if (!add(stream_.list(""))) all.missing.emplace_back("JetStream");
  return all;
}

Result<std::string> LetterDesk::ask(const LetterAddress& of, const std::string& verb, bool renew) {
  const bool tells = of.subscription == tells_box;
  const std::string subject =
      tells ? node_letter_subject(prefix_, of.node)
            : letter_subject(prefix_, of.subscription, part_of_source(of.source));
  json wanted{{"verb", verb}, {"source", source_text(of.source)}};
  if (renew) wanted["renew"] = true;
  const Result<json> answer = ask_for(nats_, subject, wanted, patience);
  if (answer.ok()) return text_in_json(*answer);
  if (tells || verb == "retry" || answer.error().code != Code::unavailable) return answer.error();
  const auto kept = stream_.read(of.subscription, of.source, verb == "show" ? show_most : 1);
  if (!kept.ok() || kept->empty()) return answer.error();  // not of a reader that is gone
  if (verb == "discard") {
    CATGA_TRY(stream_.remove(kept->front().place));
    return text_in_json({{"left", CATGA_TRY(stream_.length(of.subscription, of.source))}});
  }
  std::vector<DeadLetter> letters;
  for (const LetterStream::Kept& one : *kept) letters.push_back(one.letter);
  return letters_json(letters);
}

Result<std::vector<DeadEvent>> LetterDesk::show(const std::string& subscription,
                                                const EntityId& source) {
  const json answer =
      CATGA_TRY(ask_for(nats_, letter_subject(prefix_, subscription, part_of_source(source)),
                        {{"verb", "show"}, {"source", source_text(source)}}, patience));
  std::vector<DeadEvent> all;
  for (const json& one : answer.value("letters", json::array())) {
    DeadEvent event;
    event.event = one.value("event", "");
    event.number = one.value("number", std::uint64_t{0});
    event.sequence = one.value("sequence", std::uint64_t{0});
    event.time = time_of(one.value("at", std::int64_t{0}));
    event.attempts = one.value("attempts", std::uint32_t{0});
    event.why = one.value("why", "");
    all.push_back(std::move(event));
  }
  return all;
}

Result<std::uint64_t> LetterDesk::retry(const std::string& subscription, const EntityId& source) {
  const json answer =
      CATGA_TRY(ask_for(nats_, letter_subject(prefix_, subscription, part_of_source(source)),
                        {{"verb", "retry"}, {"source", source_text(source)}}, patience));
  return answer.value("done", std::uint64_t{0});
}

Result<std::uint64_t> LetterDesk::discard(const std::string& subscription, const EntityId& source) {
  const json answer =
      CATGA_TRY(ask_for(nats_, letter_subject(prefix_, subscription, part_of_source(source)),
                        {{"verb", "discard"}, {"source", source_text(source)}}, patience));
  return answer.value("left", std::uint64_t{0});
}

}  // namespace catga
