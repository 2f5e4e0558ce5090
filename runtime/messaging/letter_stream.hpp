// Dead letters of readers that have no shard of their own, groups and broadcasts: kept in a stream of JetStream beside that
// of the events, `<stream>-letters`, with the subject `catga.<cluster>.letters.<reader>.<kind>.<key>` for a sequence.
//
// Why there and not in Redis: these readers keep their place in JetStream too, programs that host nothing have them (D68),
// and a letter is then as safe as the event that it was. The stream refuses what is beyond its bounds, `letters_max` of one
// source and 64 MiB in all: nothing that was kept gives way. It is made with the first letter.
//
// All calls block for `patience` at most, each. Errors: unavailable (no JetStream, no leader), timeout, malformed.
#pragma once
#include "catga/runtime/letter_keeper.hpp"
#include "catga/runtime/messaging/jetstream.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace catga {

class LetterStream {
 public:
  /// `nats` outlives it. `events`: the stream of the events, whose replicas and storage it takes over.
  LetterStream(NatsConnection& nats, const StreamOptions& events, std::string prefix,
               std::uint64_t letters_max);

  /// Keeps the letter, once however often it is said within two minutes. False: there is no room.
  Result<bool> park(const std::string& reader, const DeadLetter& letter);
  /// Up to 500 sequences. `reader` empty: of all.
  Result<std::vector<LetterLine>> list(const std::string& reader);
  struct Kept {
    std::uint64_t place = 0;
    DeadLetter letter;
  };
  /// Of one sequence, from its head.
  Result<std::vector<Kept>> read(const std::string& reader, const EntityId& source,
                                 std::uint64_t limit);
  /// Gone already is good too.
  Status remove(std::uint64_t place);
  Result<std::uint64_t> length(const std::string& reader, const EntityId& source);

 private:
  std::string subject(const std::string& reader, const EntityId& source) const;
  Status make();

  NatsConnection& nats_;
  StreamOptions options_;
  std::string root_;  ///< of the subjects
  std::uint64_t letters_max_;
};

}  // namespace catga
