#include "catga/runtime/messaging/letter_stream.hpp"

#include "catga/runtime/messaging/event_message.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <map>
#include <utility>

namespace catga {

namespace {

using nlohmann::json;
constexpr std::chrono::milliseconds patience{1500};
constexpr std::uint64_t max_bytes = 64 << 20;
constexpr std::size_t sequences_max = 500;
// Of JetStream's error codes, those that are answers.
constexpr int stream_missing = 10059, message_missing = 10037, exists_otherwise = 10058;
constexpr int not_stored = 10077;  // a bound of the stream

std::int64_t unix_ms(std::chrono::system_clock::time_point time) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(time.time_since_epoch()).count();
}

/// Stops at what is none, which is the padding.
std::string from_base64(std::string_view text) {
  static constexpr std::string_view letters =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string bytes;
  std::uint32_t held = 0;
  unsigned bits = 0;
  for (const char letter : text) {
    const auto value = letters.find(letter);
    if (value == letters.npos) break;
    held = (held << 6) | static_cast<std::uint32_t>(value);
    bits += 6;
    if (bits < 8) continue;
    bits -= 8;
    bytes.push_back(static_cast<char>((held >> bits) & 0xff));
  }
  return bytes;
}

/// One call of JetStream's API. Errors that are answers come in `code`, with an empty object.
Result<json> call(NatsConnection& nats, const std::string& what, const json& body, int& code) {
  const std::string text = CATGA_TRY(request(nats, "$JS.API." + what, body.dump(), patience));
  json answer = json::parse(text, nullptr, false);
  if (!answer.is_object()) return Error{Code::unavailable, "JetStream's answer cannot be read"};
  const auto error = answer.find("error");
  if (error == answer.end() || !error->is_object()) return answer;
  code = error->value("err_code", 0);
  if (code == stream_missing || code == message_missing || code == exists_otherwise)
    return json::object();
  return Error{Code::unavailable, "JetStream: " + what + ": " + error->value("description", "")};
}

/// How many messages each subject has.
std::map<std::string, std::uint64_t> counts_in(const json& info) {
  std::map<std::string, std::uint64_t> counts;
  const json state = info.value("state", json::object());
  const json subjects = state.value("subjects", json::object());
  for (const auto& [subject, count] : subjects.items())
    if (count.is_number_unsigned()) counts[subject] = count.get<std::uint64_t>();
  return counts;
}

}  // namespace

LetterStream::LetterStream(NatsConnection& nats, const StreamOptions& events, std::string prefix,
                           std::uint64_t letters_max)
    : nats_(nats),
      options_(events),
      root_(std::move(prefix) + "letters."),
      letters_max_(letters_max) {
  options_.name += "-letters";
  options_.subjects = root_ + ">";
}

std::string LetterStream::subject(const std::string& reader, const EntityId& source) const {
  return root_ + reader + '.' + source_tokens(source);
}

Status LetterStream::make() {
  int code = 0;
  const json config{{"name", options_.name},
                    {"description", "dead letters of groups and broadcasts, see " + root_ + '>'},
                    {"subjects", {options_.subjects}},
                    {"retention", "limits"},
                    {"storage", options_.in_memory ? "memory" : "file"},
                    {"num_replicas", options_.replicas},
                    {"discard", "new"},
                    {"discard_new_per_subject", true},
                    {"max_msgs_per_subject", letters_max_},
                    {"max_bytes", max_bytes},
                    {"max_consumers", -1},
                    {"max_msgs", -1},
                    {"max_msg_size", -1},
                    {"max_age", 0},
                    {"duplicate_window", 120'000'000'000}};
  CATGA_TRY(call(nats_, "STREAM.CREATE." + options_.name, config, code));
  return Done{};  // one that is there with other bounds is as good
}

Result<bool> LetterStream::park(const std::string& reader, const DeadLetter& letter) {
  const std::string id = reader + '/' + std::to_string(letter.sequence);
  const std::string to = subject(reader, letter.event.source), bytes = bytes_of(letter);
  for (const bool made : {false, true}) {
    int code = 0;
    const Result<PublishAck> kept = publish_and_wait(nats_, to, id, bytes, patience, code);
    if (kept.ok()) return true;
    if (code == not_stored) return false;
    // Nobody answers for a subject that no stream keeps.
    if (made || kept.error().code != Code::unavailable) return kept.error();
    CATGA_TRY(make());
  }
  return false;
}

Result<std::vector<LetterLine>> LetterStream::list(const std::string& reader) {
  int code = 0;
  const std::string filter = root_ + (reader.empty() ? "*" : reader) + ".>";
  const json info =
      CATGA_TRY(call(nats_, "STREAM.INFO." + options_.name, {{"subjects_filter", filter}}, code));
  std::vector<LetterLine> lines;
  for (const auto& [of, count] : counts_in(info)) {
    if (lines.size() >= sequences_max) break;
    if (!of.starts_with(root_)) continue;
    const std::string_view rest = std::string_view(of).substr(root_.size());
    // Keys that are too long for a subject are whole in the letter only.
    const json head = CATGA_TRY(
        call(nats_, "STREAM.MSG.GET." + options_.name, {{"seq", 1}, {"next_by_subj", of}}, code));
    if (head.empty()) continue;  // taken meanwhile
    const Result<DeadLetter> letter =
        parse_dead_letter(from_base64(head["message"].value("data", "")));
    if (!letter.ok()) return letter.error();
    const std::chrono::milliseconds since(letter->parked_ms);
    lines.push_back({std::string(rest.substr(0, rest.find('.'))),
                     {letter->event.source, count, std::chrono::system_clock::time_point(since)}});
  }
  std::ranges::sort(lines, {}, [](const LetterLine& line) { return unix_ms(line.parked.since); });
  return lines;
}

Result<std::vector<LetterStream::Kept>> LetterStream::read(const std::string& reader,
                                                           const EntityId& source,
                                                           std::uint64_t limit) {
  std::vector<Kept> all;
  std::uint64_t from = 1;
  while (all.size() < limit) {
    int code = 0;
    const json next =
        CATGA_TRY(call(nats_, "STREAM.MSG.GET." + options_.name,
                       {{"seq", from}, {"next_by_subj", subject(reader, source)}}, code));
    if (next.empty()) break;
    const json message = next.value("message", json::object());
    const auto place = message.value("seq", std::uint64_t{0});
    DeadLetter letter = CATGA_TRY(parse_dead_letter(from_base64(message.value("data", ""))));
    if (place < from) return Error{Code::unavailable, "JetStream gave a letter without its place"};
    all.push_back({place, std::move(letter)});
    from = place + 1;
  }
  return all;
}

Status LetterStream::remove(std::uint64_t place) {
  int code = 0;
  CATGA_TRY(call(nats_, "STREAM.MSG.DELETE." + options_.name, {{"seq", place}}, code));
  return Done{};
}

Result<std::uint64_t> LetterStream::length(const std::string& reader, const EntityId& source) {
  int code = 0;
  const json info = CATGA_TRY(call(nats_, "STREAM.INFO." + options_.name,
                                   {{"subjects_filter", subject(reader, source)}}, code));
  std::uint64_t length = 0;
  for (const auto& [of, count] : counts_in(info)) length += count;
  return length;
}

}  // namespace catga
