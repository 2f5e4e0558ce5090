#include "catga/persistence/memory/saga_shelf.hpp"

#include <algorithm>
#include <cassert>

namespace catga {
namespace {

constexpr std::size_t most_in_page = 500, most_forgotten = 16;  // as in the scripts

bool has_ended(const std::string& status) {
  return status == "completed" || status == "compensated" || status == "aborted";
}

EntityId saga_of(const std::string& member) {
  const auto slash = member.find('/');
  return {member.substr(0, slash), slash == member.npos ? "" : member.substr(slash + 1)};
}

}  // namespace

// ---- lists --------------------------------------------------------------------------------------

void SagaShelf::Index::set(const std::string& member, std::int64_t score) {
  erase(member);
  scores_[member] = score;
  order_.emplace(score, member);
}

void SagaShelf::Index::set_if_new(const std::string& member, std::int64_t score) {
  if (!scores_.contains(member)) set(member, score);
}

void SagaShelf::Index::erase(const std::string& member) {
  const auto known = scores_.find(member);
  if (known == scores_.end()) return;
  order_.erase({known->second, member});
  scores_.erase(known);
}

void SagaShelf::Index::erase_up_to(std::int64_t score, std::size_t most) {
  for (; most > 0 && !order_.empty() && order_.begin()->first <= score; --most) {
    erase(std::string(order_.begin()->second));
  }
}

SagaShelf::Index& SagaShelf::list_of(SagaPlace place) {
  switch (place) {
    case SagaPlace::active:
      return active_;
    case SagaPlace::parked:
      return parked_;
    case SagaPlace::ended:
      break;
  }
  return ended_;
}

// ---- sagas --------------------------------------------------------------------------------------

/// Redis still shows a key in the millisecond its time is over.
SagaShelf::Saga* SagaShelf::find(const EntityId& saga, std::int64_t clock_ms) {
  const auto known = sagas_.find(saga);
  if (known == sagas_.end()) return nullptr;
  Saga& found = known->second;
  if (found.journal_until_ms && clock_ms > *found.journal_until_ms) {
    found.journal.clear();
    found.journal_until_ms.reset();
  }
  if (found.fields_until_ms && clock_ms > *found.fields_until_ms) {
    found.fields.clear();
    found.fields_until_ms.reset();
  }
  if (!found.fields.empty()) return &found;
  if (found.journal.empty()) sagas_.erase(known);
  return nullptr;
}

SagaCreated SagaShelf::create(const SagaCreate& create, std::int64_t clock_ms) {
  using Outcome = SagaCreated::Outcome;
  SagaCreated created;
  if (Saga* known = find(create.saga, clock_ms)) {
    const bool same = known->fields[std::string(saga_field::input_hash)] == create.input_hash;
    created.outcome = same ? Outcome::exists : Outcome::conflict;
    created.status = known->fields[std::string(saga_field::status)];
    return created;
  }
  Saga saga;
  saga.fields[std::string(saga_field::status)] = "running";
  saga.fields[std::string(saga_field::input_hash)] = create.input_hash;
  saga.fields[std::string(saga_field::recoveries)] = "0";
  for (const auto& [name, value] : create.fields) saga.fields[name] = value;
  saga.journal = {create.input};
  sagas_[create.saga] = std::move(saga);
  active_.set(text_of(create.saga), create.now_ms);
  return created;
}

SagaLoaded SagaShelf::load(const SagaLoad& load, std::int64_t clock_ms) {
  SagaLoaded loaded;
  Saga* const saga = find(load.saga, clock_ms);
  if (saga == nullptr) {
    loaded.outcome = SagaLoaded::Outcome::none;
    return loaded;
  }
  if (load.after_crash) {
    std::string& recoveries = saga->fields[std::string(saga_field::recoveries)];
    const auto counted = parse_number(recoveries);
    recoveries = std::to_string(counted ? *counted + 1 : 1);
  }
  loaded.fields.assign(saga->fields.begin(), saga->fields.end());
  loaded.length = saga->journal.size();
  if (load.journal) loaded.journal = saga->journal;
  return loaded;
}

SagaCommitted SagaShelf::commit(const SagaCommit& commit, std::int64_t clock_ms) {
  using Outcome = SagaCommitted::Outcome;
  SagaCommitted committed;
  Saga* const saga = find(commit.saga, clock_ms);
  if (saga == nullptr) {
    committed.outcome = Outcome::none;
    return committed;
  }
  auto& journal = saga->journal;
  if (commit.expected && journal.size() != *commit.expected) {
    const bool same = journal.size() == *commit.expected + commit.entries.size() &&
                      journal.back() == commit.entries.back();
    committed.outcome = same ? Outcome::already : Outcome::conflict;
    committed.length = journal.size();
    return committed;
  }
  if (const std::string& status = saga->fields[std::string(saga_field::status)];
      has_ended(status)) {
    committed.outcome = Outcome::ended;
    committed.status = status;
    return committed;
  }
  journal.insert(journal.end(), commit.entries.begin(), commit.entries.end());
  committed.length = journal.size();
  saga->fields[std::string(saga_field::updated)] = std::to_string(commit.now_ms);
  for (const auto& [name, value] : commit.fields) saga->fields[name] = value;
  const std::string member = text_of(commit.saga);
  if (commit.place == SagaPlace::ended) {
    active_.erase(member);
    parked_.erase(member);
    ended_.set(member, commit.now_ms);
    saga->journal_until_ms = clock_ms + commit.journal_ttl.count();
    saga->fields_until_ms = clock_ms + commit.header_ttl.count();
    ended_.erase_up_to(commit.now_ms - commit.journal_ttl.count(), most_forgotten);
    return committed;
  }
  active_.set(member, commit.now_ms);
  if (commit.place == SagaPlace::parked) {
    parked_.set_if_new(member, commit.now_ms);
  } else {
    parked_.erase(member);
  }
  return committed;
}

SagaPage SagaShelf::list(const SagaQuery& query, std::int64_t clock_ms) {
  SagaPage page;
  const auto& order = list_of(query.place).in_order();
  auto next = order.begin();
  if (!query.after.empty()) {
    const auto after = parse_number(query.after);
    if (!after) return page;
    next = order.lower_bound({static_cast<std::int64_t>(*after) + 1, ""});
  }
  const std::size_t limit = std::clamp<std::size_t>(query.limit, 1, most_in_page);
  std::size_t seen = 0;
  std::int64_t last = 0;
  for (; next != order.end() && (seen < limit || next->first == last); ++next, ++seen) {
    last = next->first;
    EntityId saga = saga_of(next->second);
    if (!query.type.empty() && saga.kind != query.type) continue;
    SagaRow row{std::move(saga), next->first, {}};
    const Saga* const known = find(row.saga, clock_ms);
    for (const std::string& name : query.fields) {
      if (known == nullptr) break;
      const auto field = known->fields.find(name);
      if (field != known->fields.end()) row.fields.emplace_back(name, field->second);
    }
    page.rows.push_back(std::move(row));
  }
  if (seen >= limit) page.next = std::to_string(last);
  return page;
}

void SagaShelf::count(SagaOverview& overview) const {
  overview.active = active_.size();
  overview.parked = parked_.size();
  overview.ended = ended_.size();
}

void SagaShelf::tidy(const SagaTidy& tidy) {
  switch (tidy.what) {
    case SagaTidy::What::timer:
      assert(false && "a timer is no business of the lists");
      return;
    case SagaTidy::What::active:
      return active_.erase(tidy.member);
    case SagaTidy::What::parked:
      return parked_.erase(tidy.member);
    case SagaTidy::What::ended:
      break;
  }
  const auto until = parse_number(tidy.member);
  if (until) ended_.erase_up_to(static_cast<std::int64_t>(*until), ended_.size());
}

}  // namespace catga
