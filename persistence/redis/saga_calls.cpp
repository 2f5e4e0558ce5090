#include "catga/persistence/redis/saga_calls.hpp"

#include "catga/persistence/keys.hpp"
#include "catga/persistence/redis/reading.hpp"

#include <algorithm>
#include <cassert>
#include <iterator>

namespace catga {
namespace {

/// Lua's unpack takes fewer than 8000 values; a script must not end half-way.
constexpr std::size_t most_entries = 3000, most_fields = 1000;
constexpr std::size_t most_in_page = 500;

bool fenced(Reply reply) { return reply[0].text() == "FENCED"; }

Error too_many(const EntityId& saga, const char* what, std::size_t count, std::size_t most) {
  return Error{Code::failed, "a commit of saga " + text_of(saga) + " has " + std::to_string(count) +
                                 ' ' + what + "; at most " + std::to_string(most) +
                                 " fit in one script"};
}

SagaFields fields_of(Reply table) {
  SagaFields fields;
  for (std::size_t i = 0; i + 1 < table.size(); i += 2) {
    fields.emplace_back(table[i].text(), table[i + 1].text());
  }
  return fields;
}

Result<SagaCreated> created_of(Reply reply) {
  using Outcome = SagaCreated::Outcome;
  const std::string_view says = reply[0].text();
  SagaCreated created;
  if (says == "FENCED") {
    created.outcome = Outcome::fenced;
    created.token = token_in(reply[1].text());
  } else if (says == "EXISTS" || says == "CONFLICT") {
    created.outcome = says == "EXISTS" ? Outcome::exists : Outcome::conflict;
    created.status = reply[1].text();
  } else if (says != "OK") {
    return unreadable(Script::saga_create, "the answer");
  }
  return created;
}

Result<SagaLoaded> loaded_of(Reply reply) {
  using Outcome = SagaLoaded::Outcome;
  const std::string_view says = reply[0].text();
  SagaLoaded loaded;
  if (says == "FENCED") {
    loaded.outcome = Outcome::fenced;
    loaded.token = token_in(reply[1].text());
  } else if (says == "NONE") {
    loaded.outcome = Outcome::none;
  } else if (says == "OK") {
    loaded.fields = fields_of(reply[1]);
    const Reply journal = reply[2];
    for (std::size_t i = 0; i < journal.size(); ++i) loaded.journal.emplace_back(journal[i].text());
    loaded.length = static_cast<std::size_t>(positive(reply[3]));
  } else {
    return unreadable(Script::saga_load, "the answer");
  }
  return loaded;
}

Result<SagaCommitted> saga_committed_of(Reply reply) {
  using Outcome = SagaCommitted::Outcome;
  const std::string_view says = reply[0].text();
  SagaCommitted committed;
  if (says == "FENCED") {
    committed.outcome = Outcome::fenced;
    committed.token = token_in(reply[1].text());
  } else if (says == "NONE") {
    committed.outcome = Outcome::none;
  } else if (says == "ENDED") {
    committed.outcome = Outcome::ended;
    committed.status = reply[1].text();
  } else if (says == "OK" || says == "ALREADY" || says == "CONFLICT") {
    committed.outcome = says == "OK"        ? Outcome::ok
                        : says == "ALREADY" ? Outcome::already
                                            : Outcome::conflict;
    committed.length = static_cast<std::size_t>(positive(reply[1]));
    for (std::size_t i = 2; i < reply.size(); ++i) committed.outbox.emplace_back(reply[i].text());
  } else {
    return unreadable(Script::saga_commit, "the answer");
  }
  return committed;
}

Result<SagaPage> page_of(Reply reply) {
  SagaPage page;
  page.fenced = fenced(reply);
  if (page.fenced) return page;
  const Reply rows = reply[1];
  for (std::size_t i = 0; i + 1 < rows.size(); i += 2) {
    const std::string_view member = rows[i].text();
    const auto slash = member.find('/');
    const auto score = parse_number(rows[i + 1].text());
    if (slash == member.npos || !score) return unreadable(Script::saga_list, "a list of sagas");
    page.rows.push_back(
        {{std::string(member.substr(0, slash)), std::string(member.substr(slash + 1))},
         static_cast<std::int64_t>(*score),
         {}});
  }
  page.next = reply[2].text();
  return page;
}

std::vector<std::string> words_of(const SagaCommit& commit) {
  std::vector<std::string> words{text_of(commit.token), std::to_string(commit.fields.size())};
  for (const auto& [name, value] : commit.fields) {
    words.push_back(name);
    words.push_back(value);
  }
  words.push_back(std::to_string(commit.entries.size()));
  std::copy(commit.entries.begin(), commit.entries.end(), std::back_inserter(words));
  words.push_back(std::to_string(commit.timers.size()));
  for (const SagaTimerWrite& timer : commit.timers) {
    words.push_back(timer.member);
    words.push_back(timer.due_ms ? std::to_string(*timer.due_ms) : std::string());
  }
  words.push_back(std::to_string(commit.outbox.size()));
  std::copy(commit.outbox.begin(), commit.outbox.end(), std::back_inserter(words));
  words.push_back(text_of(commit.saga));
  words.push_back(commit.expected ? std::to_string(*commit.expected) : std::string());
  words.emplace_back(commit.place == SagaPlace::ended    ? "ended"
                     : commit.place == SagaPlace::parked ? "parked"
                                                         : "active");
  words.push_back(std::to_string(commit.now_ms));
  words.push_back(std::to_string(commit.journal_ttl.count()));
  words.push_back(std::to_string(commit.header_ttl.count()));
  return words;
}

std::string key_of(const ShardKeys& keys, SagaPlace place) {
  switch (place) {
    case SagaPlace::active:
      return keys.active_sagas();
    case SagaPlace::parked:
      return keys.parked_sagas();
    case SagaPlace::ended:
      break;
  }
  return keys.ended_sagas();
}

}  // namespace

void RedisSagaStore::create(SagaCreate create, Then<SagaCreated> then) {
  if (create.fields.size() > most_fields) {
    return then(too_many(create.saga, "fields", create.fields.size(), most_fields));
  }
  const ShardKeys keys(cluster_, create.shard);
  std::vector<std::string> arguments{
      text_of(create.token),
      text_of(create.saga),
      std::to_string(create.now_ms),
      std::move(create.input_hash),
      create.deadline_ms ? std::to_string(*create.deadline_ms) : std::string(),
      std::move(create.input)};
  for (auto& [name, value] : create.fields) {
    arguments.push_back(std::move(name));
    arguments.push_back(std::move(value));
  }
  of(create.shard)
      .submit(Pipeline::Call{
          .script = Script::saga_create,
          .keys = {keys.owner(), keys.saga_header(create.saga), keys.saga_journal(create.saga),
                   keys.active_sagas(), keys.timers()},
          .arguments = std::move(arguments),
          .writes = true,
          .then = answer_by<SagaCreated>(created_of, std::move(then))});
}

void RedisSagaStore::load(const SagaLoad& load, Then<SagaLoaded> then) {
  const ShardKeys keys(cluster_, load.shard);
  of(load.shard)
      .submit(Pipeline::Call{
          .script = Script::saga_load,
          .keys = {keys.owner(), keys.saga_header(load.saga), keys.saga_journal(load.saga)},
          .arguments = {text_of(load.token), load.after_crash ? "1" : "0",
                        load.journal ? "1" : "0"},
          .writes = load.after_crash,
          .then = answer_by<SagaLoaded>(loaded_of, std::move(then))});
}

void RedisSagaStore::commit(SagaCommit commit, Then<SagaCommitted> then) {
  assert(!commit.entries.empty());
  if (commit.entries.size() > most_entries) {
    return then(too_many(commit.saga, "entries", commit.entries.size(), most_entries));
  }
  if (commit.fields.size() > most_fields) {
    return then(too_many(commit.saga, "fields", commit.fields.size(), most_fields));
  }
  const ShardKeys keys(cluster_, commit.shard);
  of(commit.shard)
      .submit(Pipeline::Call{
          .script = Script::saga_commit,
          .keys = {keys.owner(), keys.saga_header(commit.saga), keys.saga_journal(commit.saga),
                   keys.active_sagas(), keys.parked_sagas(), keys.ended_sagas(), keys.timers(),
                   keys.outbox()},
          .arguments = words_of(commit),
          .writes = true,
          .then = answer_by<SagaCommitted>(saga_committed_of, std::move(then))});
}

/// Two calls: which headers to read is known after the first.
void RedisSagaStore::list(const SagaQuery& query, Then<SagaPage> then) {
  const ShardKeys keys(cluster_, query.shard);
  const std::size_t limit = std::clamp<std::size_t>(query.limit, 1, most_in_page);
  auto next = [this, query, then = std::move(then)](Result<SagaPage> page) {
    if (!page || page->fenced || page->rows.empty() || query.fields.empty()) {
      return then(std::move(page));
    }
    read_headers(query, std::move(*page), then);
  };
  of(query.shard)
      .submit(Pipeline::Call{
          .script = Script::saga_list,
          .keys = {keys.owner(), key_of(keys, query.place)},
          .arguments = {text_of(query.token), query.after.empty() ? "-inf" : '(' + query.after,
                        std::to_string(limit),
                        query.type.empty() ? std::string() : query.type + '/'},
          .then = answer_by<SagaPage>(page_of, std::move(next))});
}

void RedisSagaStore::read_headers(SagaQuery query, SagaPage found, Then<SagaPage> then) {
  const ShardKeys keys(cluster_, query.shard);
  std::vector<std::string> words{keys.owner()};
  for (const SagaRow& row : found.rows) words.push_back(keys.saga_header(row.saga));
  std::vector<std::string> arguments{text_of(query.token)};
  arguments.insert(arguments.end(), query.fields.begin(), query.fields.end());
  Pipeline& pipeline = of(query.shard);
  const auto read = [names = std::move(query.fields),
                     found = std::move(found)](Reply reply) -> Result<SagaPage> {
    if (fenced(reply)) return SagaPage{.fenced = true, .rows = {}, .next = {}};
    SagaPage page = found;
    for (std::size_t row = 0; row < page.rows.size(); ++row) {
      const Reply values = reply[row + 1];
      for (std::size_t i = 0; i < names.size(); ++i) {
        if (values[i].is_text()) page.rows[row].fields.emplace_back(names[i], values[i].text());
      }
    }
    return page;
  };
  pipeline.submit(Pipeline::Call{.script = Script::saga_headers,
                                 .keys = std::move(words),
                                 .arguments = std::move(arguments),
                                 .then = answer_by<SagaPage>(read, std::move(then))});
}

void RedisSagaStore::overview(ShardId shard, const OwnerToken& token, Then<SagaOverview> then) {
  const ShardKeys keys(cluster_, shard);
  const auto read = [](Reply reply) -> Result<SagaOverview> {
    SagaOverview overview;
    overview.fenced = fenced(reply);
    if (overview.fenced) return overview;
    overview.active = static_cast<std::size_t>(positive(reply[1]));
    overview.parked = static_cast<std::size_t>(positive(reply[2]));
    overview.ended = static_cast<std::size_t>(positive(reply[3]));
    const Reply sources = reply[4];
    for (std::size_t i = 0; i + 1 < sources.size(); i += 2) {
      const auto source = parse_number(sources[i].text());
      const auto epoch = parse_number(sources[i + 1].text());
      if (!source || !epoch) return unreadable(Script::saga_overview, "an epoch of a saga shard");
      overview.sources.emplace_back(ShardId{static_cast<decltype(ShardId::value)>(*source)},
                                    Epoch{*epoch});
    }
    std::sort(overview.sources.begin(), overview.sources.end());
    return overview;
  };
  of(shard).submit(Pipeline::Call{.script = Script::saga_overview,
                                  .keys = {keys.owner(), keys.active_sagas(), keys.parked_sagas(),
                                           keys.ended_sagas(), keys.sources()},
                                  .arguments = {text_of(token)},
                                  .then = answer_by<SagaOverview>(read, std::move(then))});
}

void RedisSagaStore::tidy(const SagaTidy& tidy, Then<bool> then) {
  const ShardKeys keys(cluster_, tidy.shard);
  std::string key;
  std::vector<std::string> arguments{text_of(tidy.token)};
  switch (tidy.what) {
    case SagaTidy::What::timer:
      key = keys.timers();
      break;
    case SagaTidy::What::active:
      key = keys.active_sagas();
      break;
    case SagaTidy::What::parked:
      key = keys.parked_sagas();
      break;
    case SagaTidy::What::ended:
      key = keys.ended_sagas();
      break;
  }
  if (tidy.what == SagaTidy::What::ended) {
    arguments.insert(arguments.end(), {"ZREMRANGEBYSCORE", "-inf", tidy.member});
  } else {
    arguments.insert(arguments.end(), {"ZREM", tidy.member});
  }
  const auto read = [](Reply reply) { return Result<bool>(!fenced(reply)); };
  of(tidy.shard)
      .submit(Pipeline::Call{.script = Script::fenced,
                             .keys = {keys.owner(), std::move(key)},
                             .arguments = std::move(arguments),
                             .writes = true,
                             .then = answer_by<bool>(read, std::move(then))});
}

}  // namespace catga
