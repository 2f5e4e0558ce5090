#include "catga/runtime/admin/api.hpp"

#include "catga/entities/codec.hpp"
#include "catga/entities/operation.hpp"
#include "catga/runtime/admin/answers.hpp"
#include "catga/runtime/letter_desk.hpp"
#include "catga/runtime/messaging/gateway_request.hpp"
#include "catga/runtime/sagas.hpp"
#include "catga/runtime/settings.hpp"
#include "catga/runtime/telemetry/entity_keys.hpp"
#include "catga/sharding/hash.hpp"

#include <algorithm>
#include <charconv>
#include <future>
#include <optional>
#include <utility>

namespace catga::admin {

namespace {

constexpr std::string_view root = "/api/v1/";
constexpr std::uint32_t shards_page = 1024, shards_page_max = 4096;
constexpr std::size_t list_page = 50, list_page_max = 500, hot_most = 20;
constexpr std::chrono::milliseconds record_patience{1000}, ask_longest{60'000};

/// A question on its way: what it asks, and of whom.
struct Question {
  const Surroundings& around;
  const Request& request;
  std::vector<std::string> words;  ///< of the path, behind the root

  std::string parameter(const std::string& name) const {
    const auto found = request.query.find(name);
    return found == request.query.end() ? std::string() : found->second;
  }
  Result<std::uint64_t> number(const std::string& name, std::uint64_t standard,
                               std::uint64_t most) const {
    const std::string text = parameter(name);
    if (text.empty()) return standard;
    const Result<std::uint64_t> value = parse_number(text);
    if (value.ok()) return std::min(*value, most);
    return Error{Code::malformed, "?" + name + "=" + text + " is not a number"};
  }
  Result<EntityId> entity() const {
    EntityId id{parameter("kind"), parameter("key")};
    if (!id.kind.empty() && !id.key.empty()) return id;
    return Error{Code::malformed, "?kind= and ?key= name the entity"};
  }
  std::string self() const { return around.inside.node_id(); }
  std::shared_ptr<const Standing> standing() const { return around.inside.standing(); }
  std::uint32_t shards() const { return around.config.cluster.shards; }
};

using Reply = Result<json>;

int status_of(Code code) {
  switch (code) {
    case Code::unavailable:
      return 503;
    case Code::overloaded:
      return 429;
    case Code::timeout:
    case Code::unknown:
      return 504;
    case Code::expired:
    case Code::rejected:
      return 409;
    case Code::malformed:
      return 400;
    case Code::not_found:
      return 404;
    case Code::failed:
      break;
  }
  return 500;
}

std::string text_in(const json& value) {
  return value.dump(-1, ' ', false, json::error_handler_t::replace);
}

Answer error_answer(int status, std::string_view code, const std::string& message, bool retry) {
  return {status, text_in({{"error", {{"code", code}, {"message", message}, {"retry", retry}}}})};
}

Answer answer_of(const Reply& reply) {
  if (reply.ok()) return {200, text_in(*reply)};
  const Error& error = reply.error();
  const bool retry = error.code == Code::unavailable || error.code == Code::overloaded ||
                     error.code == Code::timeout;
  return error_answer(status_of(error.code), name_of(error.code), error.text, retry);
}

// ---- asking the others ----

struct Gathered {
  Said said;
  json note;  ///< asked, answered, missing
};

Request here(const std::string& path, std::map<std::string, std::string> query = {}) {
  Request request;
  request.path = std::string(root) + "here" + path;
  request.query = std::move(query);
  return request;
}

Reply trace_here(const Question& question) {
  const EntityId id = CATGA_TRY(question.entity());
  const auto seconds = CATGA_TRY(question.number("for_s", 60, 3600));
  if (!question.around.inside.trace(id, std::chrono::seconds(seconds)))
    return Error{Code::unavailable, "node " + question.self() +
                                        " sends no traces: start it with "
                                        "OTEL_EXPORTER_OTLP_ENDPOINT=http://collector:4318"};
  return json{{"node", question.self()}, {"for_s", seconds}};
}

Reply answer_here(const Question& question);

std::vector<std::string> words_of(std::string_view path) {
  std::vector<std::string> words;
  while (!path.empty()) {
    const auto end = std::min(path.find('/'), path.size());
    words.emplace_back(path.substr(0, end));
    path.remove_prefix(std::min(end + 1, path.size()));
  }
  return words;
}

/// Members that answer operators; a shadow has the name of the node it stands behind.
std::vector<std::string> nodes_that_answer(const Question& question) {
  std::vector<std::string> names;
  if (const auto standing = question.standing())
    for (const Member& member : standing->view->members)
      if (member.state == MemberState::up || member.state == MemberState::leaving)
        names.push_back(member.name);
  return names;
}

Gathered gather(const Question& question, const Request& request) {
  Gathered gathered;
  std::vector<std::string> others = nodes_that_answer(question);

  std::erase(others, question.self());

  const Question own{question.around, request, words_of(request.path.substr(root.size()))};
  std::vector<Told> told;
  if (!others.empty() && question.around.others) told = question.around.others(others, request);
  if (const Reply mine = answer_here(own); mine.ok()) gathered.said[question.self()] = *mine;
  for (const Told& one : told) {
    if (one.answer.status != 200) continue;
    json body = json::parse(one.answer.body, nullptr, false);
    if (!body.is_discarded()) gathered.said[one.node] = std::move(body);
  }
  json missing = json::array();
  for (const std::string& name : others)
    if (!gathered.said.contains(name)) missing.push_back(name);
  gathered.note = {{"asked", others.size() + 1},
                   {"answered", others.size() + 1 - missing.size()},
                   {"missing", missing}};

  return gathered;
}

json with(json note, const json& answer) {
  note.update(answer);
  return note;
}

/// The answer of one node, this one or another, as that node gives it.
Answer forward(const Question& question, const std::string& node, const Request& request,
               const std::function<Answer()>& own) {
  if (node == question.self()) return own();
  const auto members = nodes_that_answer(question);
  if (std::ranges::find(members, node) == members.end()) {
    std::string names;
    for (const auto& name : members) names += (names.empty() ? "" : ", ") + name;
    return error_answer(404, "not_found", "no node " + node + " is up; there are: " + names, false);
  }
  if (question.around.others)
    for (const Told& told : question.around.others({node}, request))
      if (told.answer.status != 0) return told.answer;
  return error_answer(504, "timeout", "node " + node + " does not answer", true);
}

// ---- what this node says of itself ----

Reply entity_here(const Question& question) {
  const EntityId id = CATGA_TRY(question.entity());
  const auto look = question.around.inside.entity(id);
  return look ? to_json(*look, question.self()) : json(nullptr);
}

Reply hot_here(const Question& question) {
  json shards = json::array(), entities = json::array();
  for (const ShardLook& shard : question.around.inside.hot_shards(hot_most))
    shards.push_back(to_json(shard));
  for (const EntityLook& entity : question.around.inside.hot_entities(hot_most))
    entities.push_back(to_json(entity, question.self()));
  return json{{"shards", shards}, {"entities", entities}};
}

Reply shards_here(const Question& question) {
  const auto from = CATGA_TRY(question.number("from", 0, question.shards()));
  const auto count = CATGA_TRY(question.number("count", shards_page, shards_page_max));
  json shards = json::array();
  for (const ShardLook& shard : question.around.inside.shards(static_cast<std::uint32_t>(from),
                                                              static_cast<std::uint32_t>(count)))
    shards.push_back(to_json(shard));
  return shards;
}

Reply moves_here(const Question& question) {
  const auto shard = CATGA_TRY(question.number("shard", 0, question.shards()));
  json moves = json::array();
  for (const Move& move :
       question.around.inside.history().moves_of(static_cast<std::uint32_t>(shard)))
    moves.push_back(to_json(move));
  return moves;
}

Reply rebalances_here(const Question& question) {
  json parts = json::array();
  for (const RebalancePart& part : question.around.inside.history().rebalances())
    parts.push_back(to_json(part));
  return parts;
}

Reply entities_here(const Question& question) {
  const auto most = CATGA_TRY(question.number("limit", list_page, list_page_max + 1));
  json entities = json::array();
  for (const EntityLook& entity : question.around.inside.entities(question.parameter("kind"), most))
    entities.push_back(to_json(entity, question.self()));
  return entities;
}

Reply passivate_here(const Question& question) {
  const EntityId id = CATGA_TRY(question.entity());
  return json{{"passivated", question.around.inside.passivate(id)}};
}

Reply answer_here(const Question& question) {
  const std::string what = question.words.size() > 1 ? question.words[1] : "";
  if (what.empty()) {
    const auto standing = question.standing();
    return to_json(question.around.inside.look(),
                   standing ? standing->view->version : ViewVersion{});
  }
  if (what == "shards") return shards_here(question);
  if (what == "moves") return moves_here(question);
  if (what == "rebalances") return rebalances_here(question);
  if (what == "entities") return entities_here(question);
  if (what == "entity") return entity_here(question);
  if (what == "kinds") return json(question.around.inside.entities_by_kind());
  if (what == "hot") return hot_here(question);
  if (what == "passivate" && question.request.method == "POST") return passivate_here(question);
  if (what == "trace" && question.request.method == "POST") return trace_here(question);
  return Error{Code::not_found, "no such question: here/" + what};
}

// ---- nodes, shards, rebalances ----

std::map<std::string, std::uint32_t> wanted_by_name(const Question& question) {
  std::map<std::string, std::uint32_t> wanted;
  const auto standing = question.standing();
  if (!standing) return wanted;
  for (std::uint32_t shard = 0; shard < question.shards(); ++shard)
    if (const Member* member = standing->view->find(standing->placement.target(ShardId{shard})))
      wanted[member->name] += 1;
  return wanted;
}

Result<MembershipView> view_of(const Question& question) {
  const auto standing = question.standing();
  if (standing) return *standing->view;
  return Error{Code::unavailable, "this node has no view of the cluster yet"};
}

Reply cluster(const Question& question) {
  const MembershipView view = CATGA_TRY(view_of(question));
  const Gathered gathered = gather(question, here(""));
  const json nodes = nodes_of(view, wanted_by_name(question), gathered.said);
  json answer = with(gathered.note, sums_of(nodes, question.shards()));
  answer["cluster"] = question.around.config.cluster.name;
  answer["view"] = std::to_string(view.version.value);
  answer["nodes"] = nodes;
  return answer;
}

Reply nodes(const Question& question) {
  const MembershipView view = CATGA_TRY(view_of(question));
  const Gathered gathered = gather(question, here(""));
  return with(gathered.note, {{"view", std::to_string(view.version.value)},
                              {"nodes", nodes_of(view, wanted_by_name(question), gathered.said)}});
}

Reply node(const Question& question) {
  const json all = CATGA_TRY(nodes(question));
  std::string names;
  for (const json& one : all["nodes"]) {
    if (one["id"] == question.words[1])
      return json{{"asked", all["asked"]},
                  {"answered", all["answered"]},
                  {"missing", all["missing"]},
                  {"node", one}};
    names += (names.empty() ? "" : ", ") + one["id"].get<std::string>();
  }
  return Error{Code::not_found,
               "no node " + question.words[1] + " in the view; there are: " + names};
}

/// The UP members, each with its weight before and after nothing has changed.
Result<std::vector<Planned>> planned_now(const Question& question) {
  const MembershipView view = CATGA_TRY(view_of(question));
  std::vector<Planned> nodes;
  for (const Member& member : view.members)
    if (member.state == MemberState::up)
      nodes.push_back({member.name, member.weight, member.weight});
  return nodes;
}

Reply ring(const Question& question) {
  const auto nodes = CATGA_TRY(planned_now(question));
  json answer = ring_of(nodes, question.shards());
  answer["view"] = std::to_string(CATGA_TRY(view_of(question)).version.value);
  return answer;
}

Status change_weight(std::vector<Planned>& nodes, const std::string& change) {
  const auto equals = change.find('=');
  const auto weight = parse_number(change.substr(std::min(equals, change.size() - 1) + 1));
  if (equals == change.npos || !weight.ok() || *weight > 16)
    return Error{Code::malformed, "?weight=" + change + " is not NODE=0 to NODE=16"};
  const std::string name = change.substr(0, equals);
  auto at = std::ranges::find(nodes, name, &Planned::name);
  if (at == nodes.end()) at = nodes.insert(nodes.end(), Planned{name, 0, 0});
  at->after = static_cast<std::uint32_t>(*weight);
  return Done{};
}

Reply plan(const Question& question) {
  auto nodes = CATGA_TRY(planned_now(question));
  if (const std::string without = question.parameter("without"); !without.empty()) {
    const auto at = std::ranges::find(nodes, without, &Planned::name);
    if (at == nodes.end()) return Error{Code::not_found, "no node " + without + " is up"};
    at->after = 0;
  }
  if (const std::string weight = question.parameter("weight"); !weight.empty())
    CATGA_TRY(change_weight(nodes, weight));
  json answer = plan_of(nodes, question.shards());
  answer["view"] = std::to_string(CATGA_TRY(view_of(question)).version.value);
  return answer;
}

std::vector<std::string> targets_of(const Question& question, std::uint32_t first,
                                    std::uint32_t count) {
  std::vector<std::string> targets;
  const auto standing = question.standing();
  for (std::uint32_t shard = first; shard < std::min(first + count, question.shards()); ++shard) {
    const Member* member =
        standing ? standing->view->find(standing->placement.target(ShardId{shard})) : nullptr;
    targets.push_back(member != nullptr ? member->name : "");
  }
  return targets;
}

Reply shards(const Question& question) {
  const auto cursor = CATGA_TRY(question.number("cursor", 0, question.shards()));
  const auto limit = CATGA_TRY(question.number("limit", shards_page, shards_page_max));
  const auto first = static_cast<std::uint32_t>(cursor), count = static_cast<std::uint32_t>(limit);
  const std::string node = question.parameter("node"), state = question.parameter("state");
  const Gathered gathered =
      gather(question,
             here("/shards", {{"from", std::to_string(first)}, {"count", std::to_string(count)}}));
  json list = json::array();
  for (json& shard : shards_of(gathered.said, first, targets_of(question, first, count)))
    if ((node.empty() || shard["node"] == node) && (state.empty() || shard["state"] == state))
      list.push_back(std::move(shard));
  json answer = with(gathered.note, {{"shards", std::move(list)}});
  if (count == 0 || first + count < question.shards())
    answer["next"] = std::to_string(first + count);
  return answer;
}

Reply shard(const Question& question) {
  const Result<std::uint64_t> id = parse_number(question.words[1]);
  if (!id.ok() || *id >= question.shards()) {
    return Error{Code::not_found, "no shard " + question.words[1] + ": they are 0 to " +
                                      std::to_string(question.shards() - 1)};
  }
  const auto first = static_cast<std::uint32_t>(*id);
  const Gathered looks =
      gather(question, here("/shards", {{"from", std::to_string(first)}, {"count", "1"}}));
  const Gathered moves = gather(question, here("/moves", {{"shard", std::to_string(first)}}));
  json history = json::array();
  for (const auto& [name, list] : moves.said)
    for (const json& move : list) history.push_back(move);
  std::sort(history.begin(), history.end(), [](const json& one, const json& other) {
    return one["at_ms"].get<std::int64_t>() > other["at_ms"].get<std::int64_t>();
  });
  if (history.size() > History::moves_shown)
    history.erase(history.begin() + History::moves_shown, history.end());
  return with(looks.note,
              {{"shard", shards_of(looks.said, first, targets_of(question, first, 1))[0]},
               {"position", position_of(first)},
               {"history", history}});
}

Reply rebalances(const Question& question) {
  const Gathered gathered = gather(question, here("/rebalances"));
  return with(gathered.note,
              {{"rebalances", rebalances_of(gathered.said, History::rebalances_kept)}});
}

// ---- entities ----

Reply kinds(const Question& question) {
  const Gathered gathered = gather(question, here("/kinds"));
  std::map<std::string, std::uint64_t> counts;
  for (const auto& [name, list] : gathered.said)
    for (const json& one : list) counts[one[0].get<std::string>()] += one[1].get<std::uint64_t>();
  json list = json::array();
  for (const auto& [name, entities] : counts) {
    json messages = json::array();
    if (const auto kind = question.around.kinds.find(name); kind != question.around.kinds.end())
      for (const MessageInfo& message : kind->second.messages)
        messages.push_back({{"name", message.name}, {"query", message.query}});
    list.push_back({{"name", name}, {"entities", entities}, {"messages", messages}});
  }
  return with(gathered.note, {{"kinds", list}});
}

Reply entities(const Question& question) {
  const auto limit = CATGA_TRY(question.number("limit", list_page, list_page_max));
  const Gathered gathered = gather(
      question, here("/entities",
                     {{"kind", question.parameter("kind")}, {"limit", std::to_string(limit + 1)}}));
  json list = json::array();
  for (const auto& [name, some] : gathered.said)
    for (const json& entity : some) list.push_back(entity);
  const bool more = list.size() > limit;
  if (more) list.erase(list.begin() + static_cast<std::ptrdiff_t>(limit), list.end());
  return with(gathered.note, {{"entities", list}, {"more", more}});
}

/// The node that owns the entity's shard, by the record in the store.
struct Owner {
  std::uint32_t shard = 0;
  std::string node;  ///< empty: nobody
  Epoch epoch;
};

Result<Owner> owner_of(const Question& question, const EntityId& id) {
  const ShardId shard = shard_of(id.kind, id.key, question.shards());
  Owner owner{shard.value, question.self(), Epoch{}};
  const auto standing = question.standing();
  if (question.around.owners == nullptr || !standing) return owner;
  auto read = std::make_shared<std::promise<Result<OwnerRecord>>>();
  auto answer = read->get_future();
  question.around.owners->read(
      shard, [read](Result<OwnerRecord> record) { read->set_value(std::move(record)); });
  if (answer.wait_for(record_patience) != std::future_status::ready)
    return Error{Code::timeout,
                 "Redis does not say in time who owns shard " + std::to_string(shard.value)};
  const OwnerRecord record = CATGA_TRY(answer.get());
  const Member* member = standing->view->find(record.owner());
  owner.node = member != nullptr ? member->name : "";
  owner.epoch = record.epoch;
  return owner;
}

/// Errors: not_found, with the kinds that are there.
Status hosted(const Question& question, const std::string& kind) {
  const auto& types = question.around.saga_types;
  if (question.around.kinds.contains(kind) || std::ranges::find(types, kind) != types.end())
    return Done{};
  std::string names;
  for (const auto& [name, known] : question.around.kinds)
    names += (names.empty() ? "" : ", ") + name;
  return Error{Code::not_found,
               "node " + question.self() + " hosts no kind " + kind + "; there are: " + names};
}

Reply entity(const Question& question) {
  const EntityId id = CATGA_TRY(question.entity());
  CATGA_TRY(hosted(question, id.kind));
  const Owner owner = CATGA_TRY(owner_of(question, id));
  json found{{"kind", id.kind},
             {"key", id.key},
             {"shown", key_shown(question.around.config, id)},  // in events and the log
             {"shard", owner.shard},
             {"active", false}};
  if (!owner.node.empty()) {
    const Request look = here("/entity", {{"kind", id.kind}, {"key", id.key}});
    const Answer answer =
        forward(question, owner.node, look, [&] { return answer_of(entity_here(question)); });
    const json body = json::parse(answer.body, nullptr, false);
    if (answer.status == 200 && body.is_object()) found.update(body);
  }
  found["node"] = owner.node.empty() ? json(nullptr) : json(owner.node);
  found["epoch"] = std::to_string(owner.epoch.value);
  return json{{"entity", found}};
}

Reply hot(const Question& question) {
  const Gathered gathered = gather(question, here("/hot"));
  json all_shards = json::array(), all_entities = json::array();
  double rate = 0;
  for (const auto& [name, one] : gathered.said) {
    for (json shard : one["shards"]) {
      shard["node"] = name;
      rate += shard["messages_per_s"].get<double>();
      all_shards.push_back(std::move(shard));
    }
    for (const json& entity : one["entities"]) all_entities.push_back(entity);
  }
  for (json& shard : all_shards)
    shard["share"] = rate > 0 ? shard["messages_per_s"].get<double>() / rate : 0;
  const auto cut = [](json& list, const char* by) {
    std::sort(list.begin(), list.end(), [by](const json& one, const json& other) {
      return one[by].get<double>() > other[by].get<double>();
    });
    if (list.size() > hot_most) list.erase(list.begin() + hot_most, list.end());
  };
  cut(all_shards, "messages_per_s");
  cut(all_entities, "messages");
  return with(gathered.note, {{"shards", all_shards}, {"entities", all_entities}});
}

Result<GatewayCall> call_of(const Question& question) {
  const EntityId id = CATGA_TRY(question.entity());
  const std::string message = question.parameter("message");
  if (message.empty()) return Error{Code::malformed, "?message= names the message"};
  // The gateway's rules, so that a call means the same whoever carries it.
  return read_call("call." + id.kind + '.' + encode_token(id.key) + '.' + message,
                   question.parameter("id"), question.request.body, question.around.kinds);
}

Reply ask_entity(const Question& question) {
  GatewayCall call = CATGA_TRY(call_of(question));
  const auto timeout = CATGA_TRY(question.number("timeout_ms", 0, ask_longest.count()));
  call.ask.timeout = std::chrono::milliseconds(timeout);
  auto answered = std::make_shared<std::promise<Result<std::string>>>();
  auto answer = answered->get_future();
  question.around.messenger.ask(std::move(call.ask), [answered](Result<std::string> reply) {
    answered->set_value(std::move(reply));
  });
  const std::string reply = CATGA_TRY(answer.get());
  const std::string text = CATGA_TRY(call.message->json_from_reply(reply));
  return json{{"reply", json::parse(text, nullptr, false)}};
}

Reply tell_entity(const Question& question) {
  GatewayCall call = CATGA_TRY(call_of(question));
  CATGA_TRY(question.around.messenger.tell(std::move(call.ask)));
  return json{{"sent", true}};
}

Answer passivate(const Question& question) {
  const Result<EntityId> id = question.entity();
  if (!id.ok()) return answer_of(id.error());
  const Result<Owner> owner = owner_of(question, *id);
  if (!owner.ok()) return answer_of(owner.error());
  if (owner->node.empty()) return answer_of(json{{"passivated", false}});
  Request request = here("/passivate", question.request.query);
  request.method = "POST";
  request.may_write = true;
  return forward(question, owner->node, request,
                 [&] { return answer_of(passivate_here(question)); });
}

/// By the owner, for as long as it is that.
Answer trace(const Question& question) {
  const Result<EntityId> id = question.entity();
  if (!id.ok()) return answer_of(id.error());
  const Result<Owner> owner = owner_of(question, *id);
  if (!owner.ok()) return answer_of(owner.error());
  if (owner->node.empty())
    return answer_of(Error{Code::unavailable, "nobody serves its shard now; try again"});
  Request request = here("/trace", question.request.query);
  request.method = "POST";
  request.may_write = true;
  return forward(question, owner->node, request, [&] { return answer_of(trace_here(question)); });
}

// ---- sagas ----

std::int64_t unix_ms(std::chrono::system_clock::time_point time) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(time.time_since_epoch()).count();
}

Result<std::optional<SagaStatus>> status_asked(const std::string& name) {
  if (name.empty()) return std::optional<SagaStatus>();
  if (name == "stuck") return std::optional(SagaStatus::parked);
  for (const SagaStatus status :
       {SagaStatus::running, SagaStatus::compensating, SagaStatus::parked, SagaStatus::completed,
        SagaStatus::compensated, SagaStatus::aborted})
    if (name_of(status) == name) return std::optional(status);
  return Error{Code::malformed, "?status=" + name +
                                    " is none of running, compensating, parked, completed, "
                                    "compensated, aborted"};
}

Reply sagas(const Question& question) {
  SagaFilter filter;
  filter.type = question.parameter("type");
  filter.status = CATGA_TRY(status_asked(question.parameter("status")));
  filter.older_than =
      std::chrono::milliseconds(CATGA_TRY(question.number("older_than_ms", 0, 1ull << 50)));
  filter.limit = CATGA_TRY(question.number("limit", list_page, list_page_max));
  if (question.around.saga_types.empty())  // shards of nodes without sagas do not know the question
    return json{{"sagas", json::array()}, {"more", false}};
  const SagaLines lines =
      CATGA_TRY(Sagas(&question.around.messenger, question.shards()).list(filter));
  json list = json::array();
  for (const SagaLine& saga : lines.sagas)
    list.push_back({{"type", saga.type},
                    {"id", saga.id},
                    {"status", name_of(saga.status)},
                    {"cause", saga.cause},
                    {"version", saga.version},
                    {"created_ms", unix_ms(saga.created)}});
  return json{{"sagas", list}, {"more", lines.more}};
}

/// What an entry carries, in words; empty where it is a message's bytes.
std::string note_of(const JournalEntry& entry) {
  switch (entry.kind) {
    case EntryKind::parked:
      if (const auto note = decode<ParkNote>(entry.data); note.ok())
        return note->cause + (note->text.empty() ? "" : ": " + note->text);
      return {};
    case EntryKind::done:
    case EntryKind::undone:
      if (const auto note = decode<DoneNote>(entry.data); note.ok()) return note->reason;
      return {};
    case EntryKind::resumed:
      if (const auto note = decode<ResumeNote>(entry.data); note.ok()) return note->reason;
      return {};
    case EntryKind::upgraded:
      if (const auto note = decode<UpgradeNote>(entry.data); note.ok())
        return "from version " + std::to_string(note->from) + " to " + std::to_string(note->to);
      return {};
    case EntryKind::end:
      if (const auto note = decode<EndNote>(entry.data); note.ok())
        return note->status + (note->reason.empty() ? "" : ": " + note->reason);
      return {};
    case EntryKind::choice:
    case EntryKind::rejected:
    case EntryKind::gave_up:
    case EntryKind::undo_skipped:
    case EntryKind::cancel:
      return entry.data;
    case EntryKind::input:
    case EntryKind::absent:
    case EntryKind::signal:
      return {};
  }
  return {};
}

json story_json(const std::string& type, const std::string& id, const SagaStory& story) {
  const SagaReport& report = story.report;
  json journal = json::array();
  for (const JournalEntry& entry : story.journal)
    journal.push_back({{"kind", name_of(entry.kind)},
                       {"step", entry.step},
                       {"at_ms", entry.at_ms},
                       {"by", entry.by},
                       {"note", note_of(entry)}});
  return {{"saga",
           {{"type", type},
            {"id", id},
            {"status", name_of(report.status)},
            {"cause", report.cause},
            {"step", report.step},
            {"text", report.text},
            {"version", report.version},
            {"created_ms", unix_ms(report.created)},
            {"updated_ms", unix_ms(report.updated)},
            {"entries", report.entries},
            {"recoveries", report.recoveries}}},
          {"journal", journal}};
}

/// An id may hold slashes: it is the rest of the path, but for `behind` words at its end.
std::string saga_id(const Question& question, std::size_t behind) {
  std::string id;
  for (std::size_t i = 1; i + behind < question.words.size(); ++i)
    id += (id.empty() ? "" : "/") + question.words[i];
  return id;
}

/// The saga of that id, of the type asked for or of any that is hosted here.
Result<std::pair<std::string, SagaStory>> find_saga(const Question& question,
                                                    const std::string& id) {
  std::vector<std::string> types = question.around.saga_types;
  if (const std::string type = question.parameter("type"); !type.empty()) types = {type};
  const Sagas all(&question.around.messenger, question.shards());
  for (const std::string& type : types) {
    auto story = all.show(type, id);
    if (story.ok()) return std::pair(type, std::move(*story));
    if (story.error().code != Code::not_found) return story.error();
  }
  std::string tried;
  for (const auto& type : types) tried += (tried.empty() ? "" : ", ") + type;
  return Error{Code::not_found, "no saga " + id + " of type " +
                                    (tried.empty() ? "any: no sagas are hosted here" : tried)};
}

Reply saga(const Question& question) {
  const std::string id = saga_id(question, 0);
  const auto [type, story] = CATGA_TRY(find_saga(question, id));
  return story_json(type, id, story);
}

Reply saga_verb(const Question& question) {
  std::string word = question.words.back();
  if (word == "force") word = "force-complete";
  OperatorRequest order;
  order.verb = CATGA_TRY(parse_operator_verb(word));
  const json body =
      json::parse(question.request.body.empty() ? "{}" : question.request.body, nullptr, false);
  if (!body.is_object()) return Error{Code::malformed, "the body is not a JSON object"};
  const auto text = [&body](const char* name) {
    const auto found = body.find(name);
    return found != body.end() && found->is_string() ? found->get<std::string>() : std::string();
  };
  order.reason = text("reason");
  order.by = text("by").empty() ? question.request.client : text("by");
  order.step = text("step");
  if (const auto payload = body.find("payload"); payload != body.end()) {
    const auto bytes = json::to_msgpack(*payload);
    order.payload.assign(bytes.begin(), bytes.end());
  }
  if (order.reason.empty())
    return Error{Code::malformed, "a reason is needed: it is written into the saga's journal"};
  const std::string id = saga_id(question, 1);
  const auto found = CATGA_TRY(find_saga(question, id));
  CATGA_TRY(Sagas(&question.around.messenger, question.shards()).operate(found.first, id, order));
  return json{{"type", found.first}, {"id", id}, {"verb", word}, {"done", true}};
}

// ---- dead letters ----

Result<LetterDesk*> letter_desk(const Question& question) {
  if (question.around.letters != nullptr) return question.around.letters;
  return Error{Code::not_found, "an embedded node keeps no dead letters"};
}

Reply dead_letters(const Question& question) {
  LetterDesk* const desk = CATGA_TRY(letter_desk(question));
  const std::vector<std::string> nodes = nodes_that_answer(question);
  const LetterDesk::All all = desk->everything(nodes);
  json list = json::array();
  for (const LetterLine& line : all.lines)
    list.push_back(
        {{"subscription", line.subscription == tells_box ? json(nullptr) : json(line.subscription)},
         {"kind", line.parked.source.kind},
         {"key", line.parked.source.key},
         {"length", line.parked.length},
         {"since_ms", unix_ms(line.parked.since)}});
  return json{{"asked", nodes.size() + 1},
              {"answered", nodes.size() + 1 - all.missing.size()},
              {"missing", all.missing},
              {"sequences", list}};
}

/// show, retry or discard, as the keeper of the letters answers it.
Reply one_sequence(const Question& question, const std::string& verb) {
  LetterDesk* const desk = CATGA_TRY(letter_desk(question));
  LetterAddress of{question.parameter("subscription"), CATGA_TRY(question.entity())};
  if (of.subscription.empty()) {
    of.subscription = tells_box;
    of.node = CATGA_TRY(owner_of(question, of.source)).node;
    if (of.node.empty())
      return Error{Code::unavailable, "nobody owns the shard of " + text_of(of.source) + " now"};
  }
  const std::string answer = CATGA_TRY(desk->ask(of, verb, question.parameter("renew") == "true"));
  return json::parse(answer, nullptr, false);
}

// ---- this node ----

Reply config(const Question& question) {
  json settings = json::array();
  for (const SettingLine& line : settings_of(question.around.config))
    settings.push_back({{"key", line.key},
                        {"value", line.value},
                        {"source", line.source},
                        {"default", line.standard},
                        {"unit", line.unit},
                        {"help", line.help}});
  return json{{"node", question.self()}, {"settings", settings}};
}

Reply drain(const Question& question) {
  CATGA_TRY(question.around.inside.drain());
  return json{{"node", question.self()}, {"draining", true}};
}

Reply log_level(const Question& question) {
  const json body = json::parse(question.request.body, nullptr, false);
  const auto level = body.is_object() ? body.find("level") : body.end();
  if (!body.is_object() || level == body.end() || !level->is_string())
    return Error{Code::malformed, R"(the body is {"level":"debug"})"};
  Config wanted;
  wanted.log.level = level->get<std::string>();
  CATGA_TRY(wanted.validate());
  question.around.set_log_level(wanted.log.level);
  return json{{"node", question.self()}, {"level", wanted.log.level}};
}

// ---- the routes ----

Answer get(const Question& question) {
  const auto& words = question.words;
  const std::size_t count = words.size();
  const std::string& first = words[0];
  if (first == "here") return answer_of(answer_here(question));
  if (first == "cluster" && count == 1) return answer_of(cluster(question));
  if (first == "nodes" && count == 1) return answer_of(nodes(question));
  if (first == "nodes" && count == 2) return answer_of(node(question));
  if (first == "ring" && count == 1) return answer_of(ring(question));
  if (first == "shards" && count == 1) return answer_of(shards(question));
  if (first == "shards" && count == 2) return answer_of(shard(question));
  if (first == "rebalances" && count == 1) return answer_of(rebalances(question));
  if (first == "rebalances" && count == 2 && words[1] == "plan") return answer_of(plan(question));
  if (first == "kinds" && count == 1) return answer_of(kinds(question));
  if (first == "entities" && count == 1) return answer_of(entities(question));
  if (first == "entity" && count == 1) return answer_of(entity(question));
  if (first == "hot" && count == 1) return answer_of(hot(question));
  if (first == "sagas" && count == 1) return answer_of(sagas(question));
  if (first == "sagas") return answer_of(saga(question));
  if (first == "deadletters" && count == 1) return answer_of(dead_letters(question));
  if (first == "deadletters" && count == 2 && words[1] == "one")
    return answer_of(one_sequence(question, "show"));
  if (first == "config" && count == 1) return answer_of(config(question));
  if (first == "version" && count == 1)
    return answer_of(json{{"api", "v1"}, {"version", CATGA_VERSION}, {"node", question.self()}});
  return error_answer(404, "not_found", "no such question: " + question.request.path, false);
}

Answer post(const Question& question) {
  const auto& words = question.words;
  const std::size_t count = words.size();
  const std::string& first = words[0];
  if (first == "here") return answer_of(answer_here(question));
  if (first == "nodes" && count == 3 && words[2] == "drain")
    return forward(question, words[1], question.request,
                   [&] { return answer_of(drain(question)); });
  if (first == "nodes" && count == 3 && words[2] == "log-level")
    return forward(question, words[1], question.request,
                   [&] { return answer_of(log_level(question)); });
  if (first == "entity" && count == 2 && words[1] == "passivate") return passivate(question);
  if (first == "entity" && count == 2 && words[1] == "trace") return trace(question);
  if (first == "entity" && count == 2 && words[1] == "ask") return answer_of(ask_entity(question));
  if (first == "entity" && count == 2 && words[1] == "tell")
    return answer_of(tell_entity(question));
  if (first == "sagas" && count >= 3) return answer_of(saga_verb(question));
  if (first == "deadletters" && count == 2 && (words[1] == "retry" || words[1] == "discard"))
    return answer_of(one_sequence(question, words[1]));
  return error_answer(404, "not_found", "no such order: " + question.request.path, false);
}

/// An order that is carried out here and now. None: a question, or another node's.
std::optional<Surroundings::Order> order_in(const Question& question) {
  const auto& words = question.words;
  Surroundings::Order order;
  order.client = question.request.client;
  if (words.size() == 3 && words[0] == "nodes" && words[1] == question.self()) {
    order.verb = words[2];
    order.target = words[1];
  } else if (words.size() == 2 && words[0] == "entity") {
    order.verb = words[1];
    order.target = question.parameter("kind");
  } else if (words.size() >= 3 && words[0] == "sagas") {
    order.verb = words.back() == "force" ? "force-complete" : words.back();
    order.target = words[1];
  } else {
    return std::nullopt;
  }
  return order;
}

}  // namespace

bool Api::is_quick(const Request& request) {
  return request.path.starts_with(std::string(root) + "here");
}

Answer Api::handle(const Request& request) {
  if (!request.path.starts_with(root) || request.path.size() == root.size())
    return error_answer(404, "not_found", "paths begin with " + std::string(root), false);
  const Question question{around_, request,
                          words_of(std::string_view(request.path).substr(root.size()))};
  if (request.method == "GET") return get(question);
  if (request.method != "POST")
    return error_answer(405, "method_not_allowed", "GET asks, POST changes", false);
  if (!request.may_write)
    return error_answer(403, "forbidden", "this way in is for reading only", false);
  const Answer answer = post(question);
  if (auto order = order_in(question); order && around_.ordered && answer.status != 404) {
    order->done = answer.status < 300;
    around_.ordered(*order);
  }
  return answer;
}

}  // namespace catga::admin
