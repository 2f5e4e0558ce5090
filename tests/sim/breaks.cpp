#include "breaks.hpp"

namespace catga::sim {

const std::vector<BreakInfo>& all_breaks() {
  static const std::vector<BreakInfo> all{
      {Break::no_fence, "no-fence", "commits are written whatever the owner token says"},
      {Break::no_version_check, "no-version-check", "commits are written on any version"},
      {Break::no_nonce, "no-nonce", "versions are bare counters"},
      {Break::no_dedup, "no-dedup", "operations are remembered in memory only"},
      {Break::rejections_not_recorded, "rejections-not-recorded", "only replies are recorded"},
      {Break::bare_epochs, "bare-epochs",
       "the token is a counter, without node and time: two histories share epochs (and failovers "
       "go unnoticed)"},
      {Break::failover_unnoticed, "failover-unnoticed",
       "nobody looks whether Redis is another one"},
      {Break::no_compare, "no-compare", "owner records are set, not compared and set"},
      {Break::no_rv_check, "no-rv-check",
       "a claimer does not see which view the record's writer had"},
      {Break::revived_session, "revived-session",
       "RENEW makes an ended session anew, and its member with it"},
      {Break::no_audit, "no-audit", "owner records are not read again by the clock"},
      {Break::no_drain, "no-drain", "a shard is transferred while commits are under way"},
      {Break::deadline_ignored, "deadline-ignored", "handlers run whatever the session's deadline"},
      {Break::unfenced_trim, "unfenced-trim", "the outbox is trimmed whatever the token says"},
      {Break::reply_before_commit, "reply-before-commit",
       "a commit is called done when it is sent"},
      {Break::answer_before_replica, "answer-before-replica",
       "answers do not wait for the replicas they should wait for"},
      {Break::unknown_as_refused, "unknown-as-refused",
       "a commit without an answer is reported as not made"},
      {Break::outbox_forgotten, "outbox-forgotten", "a commit loses the tells of its turns"},
      {Break::timer_kept, "timer-kept", "a timer stays in the table after its turn"},
      {Break::forwarded_queue_dropped, "forwarded-queue-dropped",
       "the queue of a shard that moves is not handed over"},
      {Break::no_reading_right, "no-reading-right",
       "queries are answered from memory until the session's deadline"},
      {Break::timer_unchecked, "timer-unchecked",
       "a timer's turn is committed although the timer has fired before"},
      {Break::quiet_assumed, "quiet-assumed",
       "a new owner is told that outbox and timers are empty, whatever they hold"},
      {Break::primary_unsaid, "primary-unsaid",
       "nodes do not say which Redis primary they write to, so nobody sees that there are two"},
      {Break::ids_uncounted, "ids-uncounted",
       "nobody counts the operation ids in the store, so nobody sees that Redis dropped some "
       "(D37)"},
      {Break::trimmed_beyond, "trimmed-beyond", "the outbox is trimmed past what was delivered"},
  };
  return all;
}

std::optional<Break> break_of(std::string_view name) {
  for (const BreakInfo& info : all_breaks()) {
    if (info.name == name) return info.what;
  }
  return std::nullopt;
}

}  // namespace catga::sim
