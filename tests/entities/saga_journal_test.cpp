// Entries of a journal are kept for ever and read by other versions, and by whoever writes bytes.
#include <catga/entities/codec.hpp>
#include <catga/entities/saga/journal.hpp>
#include <catga/entities/saga/step_operation.hpp>

#include <doctest/doctest.h>

#include <random>

using namespace catga;

namespace {

bool refused_with(std::string_view bytes, std::string_view words) {
  const Result<JournalEntry> entry = decode_entry(bytes);
  if (entry) return false;
  INFO(entry.error().text);
  CHECK(entry.error().code == Code::malformed);
  CHECK(entry.error().text.find(words) != std::string::npos);
  return true;
}

}  // namespace

TEST_CASE("an entry is the array kind, step, at, data, by") {
  const JournalEntry entry{EntryKind::gave_up, "line#3", 1000, "timeout", "saga"};
  const std::string golden = "\x95\x04\xa6line#3\xcd\x03\xe8\xa7timeout\xa4saga";
  CHECK(encode_entry(entry) == golden);
  CHECK(decode_entry(golden).value() == entry);
}

TEST_CASE("every kind of entry survives the journal, whatever bytes its data is") {
  std::vector<std::string> stored;
  std::vector<JournalEntry> entries;
  for (std::uint8_t kind = 0; kind <= last_entry_kind; ++kind) {
    entries.push_back(
        {static_cast<EntryKind>(kind), "step", kind - 5, std::string("\0\xff\x93", 3), "me"});
    stored.push_back(encode_entry(entries.back()));
    CHECK(size_of(entries.back()) >= stored.back().size());
    CHECK(size_of(entries.back()) <= stored.back().size() + 32);
  }
  CHECK(decode_journal(stored).value() == entries);
}

TEST_CASE("numbers and names of kinds never change") {
  const char* names[] = {"input",  "choice",  "done",         "rejected", "gave_up",
                         "absent", "undone",  "undo_skipped", "signal",   "cancel",
                         "parked", "resumed", "upgraded",     "end"};
  for (std::uint8_t kind = 0; kind <= last_entry_kind; ++kind) {
    CHECK(name_of(static_cast<EntryKind>(kind)) == names[kind]);
  }
}

TEST_CASE("what a later version adds to an entry is skipped") {
  const std::string longer = "\x97\x09\xa0\x01\xa3why\xa2me\x81\xa1x\x01\xc0";
  CHECK(decode_entry(longer).value() == JournalEntry{EntryKind::cancel, "", 1, "why", "me"});
  const std::string done =
      "\x83\xa5reply\xa1r\xa3new\x01\xa6"
      "forget\xc3";
  const Result<DoneNote> note = decode<DoneNote>(done);
  REQUIRE(note.ok());
  CHECK(note->reply == "r");
  CHECK(note->forget);
}

TEST_CASE("a kind of a later version is not guessed at") {
  CHECK(refused_with("\x95\x0e\xa0\x01\xa0\xa0", "kind 14 is not known here"));
}

TEST_CASE("malformed entries are refused in words") {
  using namespace std::string_view_literals;
  CHECK(refused_with("", "no bytes"));
  CHECK(refused_with("\x81\xa1x\x01", "expected a list"));
  CHECK(refused_with("\x94\x00\xa0\x01\xa0"sv, "found 4 elements"));
  CHECK(refused_with("\x95\xa1x\xa0\x01\xa0\xa0", "kind: expected an integer"));
  CHECK(refused_with("\x95\x01\x05\x01\xa0\xa0", "step: expected text"));
  CHECK(refused_with("\x95\x01\xa0\xa1x\xa0\xa0", "at: expected an integer"));
  CHECK(refused_with("\x95\x01\xa0\x01\xc0\xa0"sv, "data: expected text"));
  CHECK(refused_with("\x95\x01\xa0\x01\xa0\x01", "by: expected text"));
  CHECK(refused_with("\x95\x01\xa0\x01\xa0", "cut off"));
  CHECK(refused_with("\x95\x01\xa0\x01\xa0\xa0\x01", "more bytes than one value"));
  CHECK(refused_with(std::string(80'000, 'x'), "more than an entry may have"));
  const std::vector<std::string> journal{encode_entry({}), "\x01"};
  CHECK(decode_journal(journal).error().text.starts_with("entry 1: "));
}

TEST_CASE("no bytes make reading an entry fall over") {
  const std::uint64_t seed = std::random_device{}();
  CAPTURE(seed);
  std::mt19937_64 chance(seed);
  const std::string good =
      encode_entry({EntryKind::done, "charge", 1'700'000'000'000, "data", "saga"});
  for (int i = 0; i < 20'000; ++i) {
    std::string bytes = good.substr(0, chance() % (good.size() + 1));
    for (std::uint64_t k = chance() % 4; k-- > 0 && !bytes.empty();) {
      bytes[chance() % bytes.size()] = static_cast<char>(chance());
    }
    const Result<JournalEntry> entry = decode_entry(bytes);
    if (entry) CHECK(decode_entry(encode_entry(*entry)).value() == *entry);
    if (!entry) CHECK_FALSE(entry.error().text.empty());
  }
}

TEST_CASE("a journal warns at half of its bounds and is full at them") {
  CHECK(journal_room(4999, 100) == JournalRoom::enough);
  CHECK(journal_room(5000, 100) == JournalRoom::half_full);
  CHECK(journal_room(10'000, 100) == JournalRoom::full);
  CHECK(journal_room(10, (std::size_t{2} << 20) - 1) == JournalRoom::enough);
  CHECK(journal_room(10, std::size_t{2} << 20) == JournalRoom::half_full);
  CHECK(journal_room(10, std::size_t{4} << 20) == JournalRoom::full);
}

TEST_CASE("causes of parking are stored by name") {
  for (const ParkCause cause :
       {ParkCause::compensation_stuck, ParkCause::forward_stuck, ParkCause::definition_drift,
        ParkCause::no_definition, ParkCause::crash_loop, ParkCause::poison,
        ParkCause::journal_full}) {
    CHECK(parse_park_cause(name_of(cause)).value() == cause);
  }
  CHECK(name_of(ParkCause::compensation_stuck) == "compensation_stuck");
  CHECK_FALSE(parse_park_cause("bored").ok());
}

TEST_CASE("operation ids of steps are golden, and differ by everything that names a step") {
  const SagaName saga{"order", "17", 1'700'000'000'000};
  const OperationId id = step_operation(saga, StepSide::forward, "charge", 0);
  CHECK(text_of(id) == "b5d4b560ecd91ed79ac16fe5c97084f7");
  CHECK(id == step_operation(saga, StepSide::forward, "charge", 0));
  const std::vector<OperationId> others{
      step_operation(saga, StepSide::undo, "charge", 0),
      step_operation(saga, StepSide::forward, "charge", 1),
      step_operation(saga, StepSide::forward, "line#1", 0),
      step_operation(saga, StepSide::forward, "line#11", 0),
      step_operation({"order", "18", 1'700'000'000'000}, StepSide::forward, "charge", 0),
      step_operation({"order1", "7", 1'700'000'000'000}, StepSide::forward, "charge", 0),
      step_operation({"order", "17", 1'700'000'000'001}, StepSide::forward, "charge", 0),
  };
  for (std::size_t i = 0; i < others.size(); ++i) {
    CHECK(others[i] != id);
    for (std::size_t k = i + 1; k < others.size(); ++k) CHECK(others[i] != others[k]);
  }
}
