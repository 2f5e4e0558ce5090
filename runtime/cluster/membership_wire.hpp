// What membership drivers send each other: subjects and bytes. One fixed layout of 64 bytes, a row,
// and behind it what was added later: pieces with a mark and a length, of which a reader skips those
// that it does not know. Messages of an unknown type are an error, and so are dropped.
#pragma once
#include "catga/sharding/membership.hpp"

#include <optional>
#include <string>
#include <string_view>

namespace catga::membership {

/// All numbers big-endian:
///   0 "CM"   2 version (1)   3 type   4 from   20 view   28 number   36 score   37 flags (1 redis,
///   2 ping back) 38 about   54 before   62 length of the row   64 row   then, only if not empty,
///   pieces of mark (1), length (2), bytes: mark 1 load (4), mark 2 primary
std::string encode(const Frame& frame);

/// Errors: malformed, for anything encode() does not make. Bytes are hostile until decoded.
Result<Frame> decode(std::string_view bytes);

/// A node's own subject: everything for its driver but VIEW.
std::string heartbeat_subject(const std::string& cluster, Incarnation node);
/// VIEW, heard by all.
std::string view_subject(const std::string& cluster);
/// Reply subject of what `self` sends to `target`; "no responders" arrives there and so names the
/// target.
std::string echo_subject(const std::string& cluster, Incarnation self, Incarnation target);
/// What to subscribe to hear of all targets.
std::string echo_subjects(const std::string& cluster, Incarnation self);
/// The target in an echo subject; none if it is not one.
std::optional<Incarnation> target_of_echo(std::string_view subject);

}  // namespace catga::membership
