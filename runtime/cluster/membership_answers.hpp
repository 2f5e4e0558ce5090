// What the member store answers, in the words of the membership machine, and the machine's wishes in the store's. Pure.
#pragma once
#include "catga/persistence/stores.hpp"
#include "catga/runtime/config.hpp"
#include "catga/sharding/membership.hpp"

namespace catga::membership {

/// `unknown` and `unavailable` are the same to the machine: it asks again.
template <class Mine, class Theirs, class Translate>
Answer<Mine> answer_of(const Result<Theirs>& result, Translate translate) {
  Answer<Mine> answer;
  answer.answered = result.ok();
  if (result.ok())
    answer.value = translate(result.value());
  else
    answer.trouble = result.error().text;
  return answer;
}

/// A refusal comes with a sentence for people, made from the settings.
JoinReply reply_of_join(const Joined& joined, const Config& config);
/// The store cannot carry the request out, and no repeat will help.
JoinReply reply_of_no(const Error& error, const Config& config);
StateReply reply_of_state(const StateChanged& changed);
EvictReply reply_of_evict(const Evicted& evicted);
ReapReply reply_of_reap(const Reaped& reaped);
catga::NextState state_of(NextState wanted);

}  // namespace catga::membership
