#include "catga/runtime/sagas.hpp"

#include "catga/entities/codec.hpp"
#include "catga/sharding/hash.hpp"

#include <algorithm>
#include <condition_variable>
#include <functional>
#include <mutex>

namespace catga {

namespace {

constexpr std::size_t shards_at_once = 32;
constexpr std::chrono::milliseconds page_timeout{10'000};
constexpr std::string_view any_saga = "$sagas";  // no kind is named so

/// For each shard a key that lies there: a list is asked of the shard, not of a saga.
std::vector<std::string> key_per_shard(std::uint32_t shards) {
  std::vector<std::string> keys(shards);
  std::uint32_t missing = shards;
  for (std::uint64_t number = 0; missing > 0; ++number) {
    std::string key = std::to_string(number);
    std::string& place = keys[shard_of(any_saga, key, shards).value];
    if (!place.empty()) continue;
    place = std::move(key);
    --missing;
  }
  return keys;
}

/// Reads one list of every shard, page by page, some shards at once.
class Gathering {
 public:
  Gathering(Messenger* messenger, std::string place, std::string type,
            std::function<void(SagaListed)> found)
      : messenger_(messenger),
        place_(std::move(place)),
        type_(std::move(type)),
        found_(std::move(found)) {}

  Status run(std::uint32_t shards) {
    for (std::string& key : key_per_shard(shards)) open_.emplace_back(std::move(key), "");
    std::unique_lock guard(lock_);
    while (true) {
      changed_.wait(guard, [this] {
        return under_way_ == 0 || (!failed_ && !open_.empty() && under_way_ < shards_at_once);
      });
      if (failed_ && under_way_ == 0) return *failed_;
      if (open_.empty() && under_way_ == 0) return Done{};
      const auto [key, after] = std::move(open_.back());
      open_.pop_back();
      under_way_ += 1;
      guard.unlock();
      ask(key, after);
      guard.lock();
    }
  }

 private:
  void ask(const std::string& key, const std::string& after) {
    Ask ask;
    ask.entity = EntityId{std::string(any_saga), key};
    ask.message = saga_call::list;
    ask.payload = encode(ListSagas{place_, type_, after, 500});
    ask.query = true;
    ask.timeout = page_timeout;
    messenger_->ask(std::move(ask), [this, key](Result<std::string> answer) {
      const std::lock_guard guard(lock_);
      Result<SagaList> list =
          answer ? decode<SagaList>(*answer) : Result<SagaList>(std::move(answer).error());
      under_way_ -= 1;
      if (!list) {
        if (!failed_) failed_ = list.error();
      } else {
        for (SagaListed& saga : list->sagas) found_(std::move(saga));
        if (!list->next.empty()) open_.emplace_back(key, list->next);
      }
      changed_.notify_all();
    });
  }

  Messenger* messenger_;
  const std::string place_, type_;
  const std::function<void(SagaListed)> found_;
  std::mutex lock_;
  std::condition_variable changed_;
  std::vector<std::pair<std::string, std::string>> open_;  // key of the shard, page
  std::size_t under_way_ = 0;
  std::optional<Error> failed_;
};

std::optional<SagaStatus> status_named(std::string_view name) {
  for (const SagaStatus status :
       {SagaStatus::running, SagaStatus::compensating, SagaStatus::parked, SagaStatus::completed,
        SagaStatus::compensated, SagaStatus::aborted}) {
    if (name_of(status) == name) return status;
  }
  return std::nullopt;
}

SagaLine line_of(SagaListed listed, SagaStatus status) {
  SagaLine line;
  line.type = std::move(listed.type);
  line.id = std::move(listed.id);
  line.status = status;
  line.cause = std::move(listed.cause);
  line.version = listed.version;
  line.created =
      std::chrono::system_clock::time_point(std::chrono::milliseconds(listed.created_ms));
  return line;
}

}  // namespace

Result<SagaLines> Sagas::list(const SagaFilter& filter) const {
  std::string place = "active";
  if (filter.status && has_ended(*filter.status)) place = "ended";
  if (filter.status == SagaStatus::parked) place = "parked";
  const auto newest = std::chrono::system_clock::now() - filter.older_than;
  SagaLines lines;
  Gathering gathering(messenger_, place, filter.type, [&](SagaListed listed) {
    const std::optional<SagaStatus> status = status_named(listed.status);
    if (!status || (filter.status && *status != *filter.status)) return;
    SagaLine line = line_of(std::move(listed), *status);
    // The cluster's clock made `created`, and may be ahead of ours: no age asked for, none compared.
    if (filter.older_than.count() == 0 || line.created <= newest)
      lines.sagas.push_back(std::move(line));
  });
  CATGA_TRY(gathering.run(shards_));
  std::ranges::sort(lines.sagas, {}, [](const SagaLine& line) {
    return std::tie(line.created, line.type, line.id);
  });
  // A saga that changed between two pages comes twice.
  const auto same =
      std::ranges::unique(lines.sagas, [](const SagaLine& one, const SagaLine& other) {
        return one.type == other.type && one.id == other.id;
      });
  lines.sagas.erase(same.begin(), same.end());
  lines.more = lines.sagas.size() > filter.limit;
  if (lines.more) lines.sagas.resize(filter.limit);
  return lines;
}

Result<SagaCounts> Sagas::count(const std::string& type) const {
  std::map<std::pair<std::string, std::string>, std::pair<std::uint32_t, SagaStatus>> seen;
  Gathering gathering(messenger_, "active", type, [&seen](SagaListed listed) {
    const std::optional<SagaStatus> status = status_named(listed.status);
    if (!status || has_ended(*status)) return;
    seen[{std::move(listed.type), std::move(listed.id)}] = {listed.version, *status};
  });
  CATGA_TRY(gathering.run(shards_));
  SagaCounts counts;
  for (const auto& [name, standing] : seen) {
    counts.by_version[{name.first, standing.first}][standing.second] += 1;
  }
  return counts;
}

Result<SagaStory> Sagas::show(const std::string& type, const std::string& id) const {
  const Result<SagaLook> look =
      detail::look_at_saga(messenger_, EntityId{type, id}, LookAtSaga{.journal = true});
  SagaStory story;
  story.report = CATGA_TRY(detail::report_of(look));
  if (Result<std::vector<JournalEntry>> journal = decode_journal(look->journal)) {
    story.journal = std::move(*journal);
  }
  return story;
}

Status Sagas::operate(const std::string& type, const std::string& id,
                      const OperatorRequest& request) const {
  const OperateSaga said{std::string(name_of(request.verb)), request.reason, request.by,
                         request.step, request.payload};
  return detail::call_saga(messenger_, EntityId{type, id}, saga_call::operate, encode(said));
}

}  // namespace catga
