#include "catga/runtime/cluster/membership_answers.hpp"

#include "catga/runtime/cluster/fingerprint.hpp"

#include <string>

namespace catga::membership {

JoinReply reply_of_join(const Joined& joined, const Config& config) {
  const std::string where = "cluster " + config.cluster.name + " in Redis ";
  JoinReply reply;
  switch (joined.outcome) {
    case Joined::Outcome::ok:
      reply.view = joined.view;
      reply.cluster_id = joined.cluster_id;
      reply.strikes = joined.strikes;
      return reply;
    case Joined::Outcome::name:
      reply.outcome = JoinReply::Outcome::name;
      reply.holder = joined.holder;
      return reply;
    case Joined::Outcome::spent:
      reply.outcome = JoinReply::Outcome::spent;
      return reply;
    case Joined::Outcome::empty:
      reply.why = where +
                  "is empty: it was never created here, or its data is gone. Restore the data or "
                  "check redis.url; only if "
                  "a new, empty cluster is wanted, start with cluster.create";
      break;
    case Joined::Outcome::other:
      reply.why = where + "is another one now (id " + joined.cluster_id +
                  "): check redis.url and cluster.name";
      break;
    case Joined::Outcome::config:
      reply.why = fingerprint_refusal(config, joined.detail);
      break;
  }
  reply.outcome = JoinReply::Outcome::refused;
  return reply;
}

JoinReply reply_of_no(const Error& error, const Config& config) {
  JoinReply reply;
  reply.outcome = JoinReply::Outcome::refused;
  reply.why = "cluster " + config.cluster.name + " cannot be joined: " + error.text +
              ". If other programs use this Redis, choose another cluster.name or redis.url; if " +
              "rights are missing, grant them";
  return reply;
}

StateReply reply_of_state(const StateChanged& changed) {
  switch (changed.outcome) {
    case StateChanged::Outcome::ok:
      return {StateReply::Outcome::ok, {}};
    case StateChanged::Outcome::no_session:
      return {StateReply::Outcome::no_session, {}};
    case StateChanged::Outcome::name:
      return {StateReply::Outcome::name, changed.holder};
    case StateChanged::Outcome::bad:
      break;
  }
  return {StateReply::Outcome::bad, {}};
}

EvictReply reply_of_evict(const Evicted& evicted) {
  switch (evicted.outcome) {
    case Evicted::Outcome::evicted:
      return {EvictReply::Outcome::evicted, 0};
    case Evicted::Outcome::voted:
      return {EvictReply::Outcome::voted, 0, {}, evicted.votes, evicted.need};
    case Evicted::Outcome::wait:
      return {EvictReply::Outcome::wait, evicted.wait.count()};
    case Evicted::Outcome::brake:
      return {EvictReply::Outcome::brake, 0, evicted.brake};
    case Evicted::Outcome::gone:
      return {EvictReply::Outcome::gone, 0};
    case Evicted::Outcome::no_session:
      break;
  }
  return {EvictReply::Outcome::no_session, 0};
}

ReapReply reply_of_reap(const Reaped& reaped) {
  switch (reaped.outcome) {
    case Reaped::Outcome::reaped:
      return ReapReply::reaped;
    case Reaped::Outcome::gone:
      return ReapReply::gone;
    case Reaped::Outcome::alive:
      break;
  }
  return ReapReply::alive;
}

catga::NextState state_of(membership::NextState wanted) {
  switch (wanted) {
    case membership::NextState::up:
      return catga::NextState::up;
    case membership::NextState::leaving:
      return catga::NextState::leaving;
    case membership::NextState::gone:
      break;
  }
  return catga::NextState::gone;
}

}  // namespace catga::membership
