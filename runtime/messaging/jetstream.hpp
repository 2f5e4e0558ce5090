// The part of JetStream that Catga uses, over a NatsConnection: streams and consumers are made with nats.c's calls, which
// block; what flows (publications and their acknowledgements, pulls, acks of events) are plain NATS messages, which do not.
//
// Why not nats.c's subscriptions: its fetch blocks a thread each, and a batch that does not fill waits for its time to be
// over. A pull is one message, `$JS.API.CONSUMER.MSG.NEXT.<stream>.<consumer>` with a reply subject; what it brings comes to
// an ordinary subscription, one by one.
#pragma once
#include "catga/runtime/messaging/nats.hpp"
#include "catga/sharding/result.hpp"

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace catga {

struct StreamOptions {
  std::string name;
  std::string subjects;  ///< what it keeps, with wildcards
  std::string description;
  std::chrono::milliseconds max_age{0};  ///< 0: for ever
  std::uint64_t max_bytes = 0;           ///< 0: no bound; beyond it the oldest go
  std::uint32_t replicas = 1;
  bool in_memory = false;
  std::chrono::milliseconds duplicates{120'000};  ///< an id seen within this time is kept once
};

/// Makes the stream if it is missing; one that is there is left as it is. Blocks for `patience` at most. Errors:
/// unavailable (not connected, no JetStream, no leader now: try again), malformed (a stream of this name keeps other
/// subjects, limits of the account).
Status ensure_stream(NatsConnection& nats, const StreamOptions& options,
                     std::chrono::milliseconds patience);

struct ConsumerOptions {
  std::string stream;
  std::string name;
  std::string filter;               ///< one subject, with wildcards
  std::uint64_t from_sequence = 0;  ///< 0: new ones only
  bool explicit_acks = true;
  std::chrono::milliseconds ack_wait{30'000};
  std::uint32_t unacknowledged_max = 256;
  std::chrono::milliseconds forgotten_after{0};  ///< without a pull for so long; 0: never
};
/// Makes a durable pull consumer. `anew`: one of this name is removed first, with the place it had. Else one that is there
/// stays, with its place. Returns when it was made, Unix ms. Blocks for `patience` at most. Errors: as ensure_stream;
/// not_found: there is no such stream.
Result<std::int64_t> make_consumer(NatsConnection& nats, const ConsumerOptions& options, bool anew,
                                   std::chrono::milliseconds patience);
Status remove_consumer(NatsConnection& nats, const std::string& stream, const std::string& name,
                       std::chrono::milliseconds patience);
/// The newest sequence of a stream. Errors as above.
Result<std::uint64_t> last_sequence(NatsConnection& nats, const std::string& stream,
                                    std::chrono::milliseconds patience);

/// Where in a stream what was stored at or after a time begins; behind its end if there is none. Looks at a few messages:
/// a consumer's own start time goes wrong in nats.c 3.4 in the first tenth of a second (it drops leading zeros).
Result<std::uint64_t> sequence_at(NatsConnection& nats, const std::string& stream,
                                  std::int64_t time_ms, std::chrono::milliseconds patience);

/// Sends a request and waits for its answer. Errors: unavailable (nobody listens, not connected), timeout.
Result<std::string> request(NatsConnection& nats, const std::string& subject,
                            const std::string& body, std::chrono::milliseconds patience);

/// What JetStream said to a publication.
struct PublishAck {
  std::uint64_t sequence = 0;
  bool duplicate = false;
};
/// Errors: unavailable, in the server's words.
Result<PublishAck> read_publish_ack(std::string_view json);

/// Publishes under a message id and waits for JetStream's word. `code`: JetStream's own number of an error, 0: none.
/// Errors: unavailable (no stream keeps the subject, a bound was reached), timeout.
Result<PublishAck> publish_and_wait(NatsConnection& nats, const std::string& subject,
                                    const std::string& message_id, const std::string& body,
                                    std::chrono::milliseconds patience, int& code);

/// What the reply subject of a delivered message says: `$JS.ACK.…`.
struct Delivery {
  std::uint64_t times = 0;              ///< this delivery counted
  std::uint64_t sequence = 0;           ///< in the stream
  std::uint64_t consumer_sequence = 0;  ///< of this consumer's deliveries, without gaps
  std::uint64_t pending = 0;            ///< that the consumer has not delivered yet
};
std::optional<Delivery> read_delivery(std::string_view reply_subject);

/// The request for up to `batch` messages, held open for `expires`.
std::string pull_subject(const std::string& stream, const std::string& consumer);
std::string pull_body(std::uint32_t batch, std::chrono::milliseconds expires);
/// The status of a message that is none ("404", "408", "409", "503"); empty for an event.
std::string pull_status(natsMsg& message);

}  // namespace catga
