#include "catga/entities/saga/journal.hpp"

#include "catga/entities/codec.hpp"

#include <array>
#include <utility>

namespace catga {
namespace {

constexpr std::array<std::string_view, last_entry_kind + 1> kind_names{
    "input",        "choice", "done",   "rejected", "gave_up", "absent",   "undone",
    "undo_skipped", "signal", "cancel", "parked",   "resumed", "upgraded", "end"};

constexpr std::array<std::string_view, 7> cause_names{
    "compensation_stuck", "forward_stuck", "definition_drift", "no_definition",
    "crash_loop",         "poison",        "journal_full"};

constexpr std::size_t elements_of_entry = 5;  // a newer program may add some

bool read_kind(const detail::Value& value, EntryKind& out, detail::Decoding& decoding) {
  std::uint64_t number = 0;
  if (!detail::read_unsigned(value, std::numeric_limits<std::uint64_t>::max(), number, decoding)) {
    return false;
  }
  if (number > last_entry_kind) {
    return decoding.trouble("kind " + std::to_string(number) +
                            " is not known here: written by a newer Catga; let a node of that "
                            "version own the shard");
  }
  out = static_cast<EntryKind>(number);
  return true;
}

bool read_entry(const detail::Value& root, JournalEntry& out, detail::Decoding& decoding) {
  if (detail::shape_of(root) != detail::Shape::array) return decoding.expected("a list", root);
  if (detail::count_in(root) < elements_of_entry) {
    return decoding.trouble("expected kind, step, at, data, by; found " +
                            std::to_string(detail::count_in(root)) + " elements");
  }
  const auto element = [&root](std::size_t index) -> const detail::Value& {
    return detail::element_in(root, index);
  };
  return (read_kind(element(0), out.kind, decoding) || decoding.within("kind")) &&
         (detail::read(element(1), out.step, decoding) || decoding.within("step")) &&
         (detail::read(element(2), out.at_ms, decoding) || decoding.within("at")) &&
         (detail::read(element(3), out.data, decoding) || decoding.within("data")) &&
         (detail::read(element(4), out.by, decoding) || decoding.within("by"));
}

}  // namespace

std::string_view name_of(EntryKind kind) { return kind_names[static_cast<std::size_t>(kind)]; }

std::string_view name_of(ParkCause cause) { return cause_names[static_cast<std::size_t>(cause)]; }

Result<ParkCause> parse_park_cause(std::string_view name) {
  for (std::size_t i = 0; i < cause_names.size(); ++i) {
    if (cause_names[i] == name) return static_cast<ParkCause>(i);
  }
  return Error{Code::malformed,
               "'" + std::string(name.substr(0, 100)) + "' is not a cause for which a saga parks"};
}

JournalRoom journal_room(std::size_t entries, std::size_t bytes) {
  if (entries >= journal_entries_max || bytes >= journal_bytes_max) return JournalRoom::full;
  const bool half = entries >= journal_entries_max / 2 || bytes >= journal_bytes_max / 2;
  return half ? JournalRoom::half_full : JournalRoom::enough;
}

std::size_t size_of(const JournalEntry& entry) {
  // Array, kind, three lengths of up to five bytes, and the time.
  return 32 + entry.step.size() + entry.data.size() + entry.by.size();
}

Result<JournalEntry> input_entry(std::string state, std::string by, std::int64_t now_ms) {
  if (state.size() > entry_bytes_max) {
    return Error{Code::malformed, "the input of a saga has " + std::to_string(state.size()) +
                                      " bytes and may have " + std::to_string(entry_bytes_max) +
                                      "; keep what is large in an entity"};
  }
  return JournalEntry{EntryKind::input, "", now_ms, std::move(state), std::move(by)};
}

JournalEntry park_entry(ParkCause cause, std::string step, ParkNote note, std::int64_t now_ms) {
  note.cause = name_of(cause);
  if (note.text.size() > 4096) note.text.resize(4096);  // user code may throw a megabyte
  return {EntryKind::parked, std::move(step), now_ms, encode(note), "saga"};
}

std::string encode_entry(const JournalEntry& entry) {
  std::string bytes;
  detail::Writer out(bytes);
  out.array(elements_of_entry);
  out.whole(static_cast<std::uint64_t>(entry.kind));
  out.text(entry.step);
  out.integer(entry.at_ms);
  out.text(entry.data);
  out.text(entry.by);
  return bytes;
}

Result<JournalEntry> decode_entry(std::string_view bytes) {
  if (bytes.size() > entry_bytes_max + 1024) {  // bounds are checked on data when it is written
    return Error{Code::malformed, "journal entry: " + std::to_string(bytes.size()) +
                                      " bytes, more than an entry may have"};
  }
  JournalEntry entry;
  detail::Decoding decoding(UnknownField::skip);
  const Status parsed = detail::parse(
      bytes, "journal entry", decoding,
      [&entry, &decoding](const detail::Value& root) { return read_entry(root, entry, decoding); });
  if (!parsed) return parsed.error();
  return entry;
}

Result<std::vector<JournalEntry>> decode_journal(std::span<const std::string> entries) {
  std::vector<JournalEntry> journal;
  journal.reserve(entries.size());
  for (const std::string& bytes : entries) {
    Result<JournalEntry> entry = decode_entry(bytes);
    if (!entry) {
      entry.error().text.insert(0, "entry " + std::to_string(journal.size()) + ": ");
      return std::move(entry).error();
    }
    journal.push_back(std::move(entry).value());
  }
  return journal;
}

}  // namespace catga
