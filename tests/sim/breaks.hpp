// Bugs that can be planted, one at a time: the simulator must find each of them.
#pragma once
#include <optional>
#include <string_view>
#include <vector>

namespace catga::sim {

enum class Break {
  none,
  no_fence,
  no_version_check,
  no_nonce,
  no_dedup,
  rejections_not_recorded,
  bare_epochs,
  failover_unnoticed,
  no_compare,
  no_rv_check,
  revived_session,
  no_audit,
  no_drain,
  deadline_ignored,
  unfenced_trim,
  reply_before_commit,
  answer_before_replica,
  unknown_as_refused,
  outbox_forgotten,
  timer_kept,
  forwarded_queue_dropped,
  no_reading_right,
  timer_unchecked,
  quiet_assumed,
  primary_unsaid,
  ids_uncounted,
  trimmed_beyond,
};

struct BreakInfo {
  Break what;
  std::string_view name;
  std::string_view about;
};
const std::vector<BreakInfo>& all_breaks();
std::optional<Break> break_of(std::string_view name);

}  // namespace catga::sim
