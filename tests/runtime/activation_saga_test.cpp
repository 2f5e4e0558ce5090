// An entity as a participant of sagas: steps are remembered in a table of their own, settled without user code, forgotten
// when their saga says so, and refused from old owners.
#include <catga/entities/saga/step_answer.hpp>
#include <catga/runtime/activation.hpp>

#include "../support/scene.hpp"
#include <doctest/doctest.h>

using namespace catga;
using namespace catga::testing;

namespace {

using Verb = SagaStep::Verb;

How step(OperationId id, Verb verb = Verb::run, std::uint64_t epoch = 5) {
  How how;
  how.operation = id;
  how.saga = SagaStep{verb, ShardId{9}, Epoch{epoch}};
  return how;
}
/// What the saga hears: the reply in cents, "absent", "done" (nothing), or the code of the error; '!' behind: forget.
std::string heard(const Scene& scene, std::size_t n) {
  const Result<std::string>* answer = scene.answer_to(n);
  if (answer == nullptr) return "";
  if (!answer->ok()) return std::string(name_of(answer->error().code));
  const Result<StepReply> reply = decode_step_answer(answer->value());
  REQUIRE(reply.ok());
  std::string text = reply->absent ? "absent"
                     : reply->bytes.empty()
                         ? "done"
                         : std::to_string(decode<std::int64_t>(reply->bytes).value());
  return text + (reply->forget ? "!" : "");
}
std::size_t forget(Scene& scene, const std::vector<OperationId>& steps, std::uint64_t epoch = 5) {
  Envelope envelope;
  envelope.entity = scene.entity;
  envelope.message = "forget";
  envelope.payload = encode_forget(steps);
  envelope.operation = scene.new_id();
  envelope.operation_ms = scene.cluster();
  envelope.deadline_ms = scene.now + 5000;
  envelope.saga = SagaStep{Verb::forget, ShardId{9}, Epoch{epoch}};
  return scene.arrive(envelope);
}

}  // namespace

TEST_CASE(
    "A step of a saga is recorded beside the operations of others, and a repeat gets its answer") {
  Scene scene;
  scene.warm();
  const OperationId id = scene.new_id();
  const How how = [&] {
    How same = step(id);
    same.time = scene.cluster();
    return same;
  }();
  const auto first = scene.ask(Deposit{5}, how);
  CHECK(heard(scene, first) == "");  // the gate
  const Commit sent = scene.commits.back().commit;
  CHECK(sent.operations.empty());
  REQUIRE(sent.saga_operations.size() == 1);
  CHECK(sent.saga_ttl);
  const auto beside = scene.ask(Deposit{5}, how);
  scene.commit();
  CHECK(heard(scene, first) == "5");
  CHECK(heard(scene, beside) == "5");
  CHECK(heard(scene, scene.ask(Deposit{5}, how)) == "5");
  CHECK(scene.stored().stored == 0);
  CHECK(scene.stored().saga_stored == 1);
  scene.activate();
  const auto later = scene.ask(Deposit{5}, how);
  scene.run_load();
  CHECK(heard(scene, later) == "5");
  CHECK(scene.commits.size() == 1);
}

TEST_CASE("A step of a saga publishes its events with its commit, once") {
  Scene scene;
  scene.warm();
  How how = step(scene.new_id());
  how.time = scene.cluster();
  scene.ask(Act{"publish", 2, "x"}, how);
  CHECK(scene.events.empty());
  scene.commit();
  scene.ask(Act{"publish", 2, "x"}, how);  // the saga's owner died and asks again
  scene.settle();
  scene.activate();  // so did the entity's
  scene.ask(Act{"publish", 1, "y"});
  scene.settle();
  REQUIRE(scene.events.size() == 3);
  for (std::size_t i = 0; i < 3; ++i) CHECK(scene.events[i].number == i + 1);
}

TEST_CASE("A step of a saga is not pushed out by the traffic of others") {
  ActivationLimits limits;
  limits.ids_in_memory = 2;
  limits.id_bytes_per_entity = 1000;
  Scene scene(limits);
  scene.warm();
  const OperationId id = scene.new_id();
  How how = step(id);
  how.time = scene.cluster();
  scene.ask(Deposit{5}, how);
  scene.settle();
  for (int i = 0; i < 40; ++i) {
    scene.now += 10;
    scene.ask(Deposit{0});
    scene.settle();
  }
  How of_others;
  of_others.operation = scene.new_id();
  of_others.time = *how.time + 1;
  const auto pushed_out = scene.ask(Deposit{0}, of_others);  // as old, but of no saga
  scene.settle();
  CHECK(scene.told(pushed_out) == "expired");
  const auto again = scene.ask(Deposit{5}, how);
  scene.settle();
  CHECK(heard(scene, again) == "5");
}

TEST_CASE(
    "Settling an operation that was applied gives its reply; one that was rejected is absent") {
  Scene scene;
  scene.warm();
  const OperationId done = scene.new_id(), refused = scene.new_id();
  scene.ask(Deposit{5}, step(done));
  scene.ask(Withdraw{100}, step(refused));
  scene.settle();
  const std::size_t commits = scene.commits.size();
  CHECK(heard(scene, scene.ask(Deposit{5}, step(done, Verb::settle))) == "5");
  CHECK(heard(scene, scene.ask(Withdraw{100}, step(refused, Verb::settle))) == "absent");
  CHECK(scene.commits.size() == commits);
}

TEST_CASE("Settling an operation under way waits for what becomes of it") {
  Scene scene;
  scene.warm();
  const OperationId id = scene.new_id();
  const auto ran = scene.ask(Deposit{5}, step(id));
  const auto settled = scene.ask(Deposit{5}, step(id, Verb::settle));
  CHECK(heard(scene, settled) == "");
  scene.commit();
  CHECK(heard(scene, ran) == "5");
  CHECK(heard(scene, settled) == "5");
}

TEST_CASE("Settling what was never applied forbids it: the answer leaves when that is committed") {
  Scene scene;
  scene.warm();
  const OperationId id = scene.new_id();
  const auto settled = scene.ask(Deposit{5}, step(id, Verb::settle));
  CHECK(heard(scene, settled) == "");
  REQUIRE(scene.commits.back().commit.saga_operations.size() == 1);
  CHECK(scene.commits.back().commit.saga_operations[0].second.type ==
        OperationRecord::Type::tombstone);
  const auto beside = scene.ask(Deposit{5}, step(id));
  const auto twice = scene.ask(Deposit{5}, step(id, Verb::settle));
  scene.commit();
  CHECK(heard(scene, settled) == "absent");
  CHECK(heard(scene, twice) == "absent");
  CHECK(heard(scene, beside) == "expired");
  CHECK(heard(scene, scene.ask(Deposit{5}, step(id))) == "expired");
  scene.activate();
  const auto late = scene.ask(Deposit{5}, step(id));
  const auto again = scene.ask(Deposit{5}, step(id, Verb::settle));
  scene.run_load();
  CHECK(heard(scene, late) == "expired");
  CHECK(heard(scene, again) == "absent");
  CHECK(scene.told(scene.ask(Get{})) == "0");
  CHECK(scene.commits.size() == 1);
}

TEST_CASE(
    "Settling runs no code of users: a message nobody knows and a payload nobody reads will do") {
  Scene scene;
  scene.warm();
  Envelope envelope;
  envelope.entity = scene.entity;
  envelope.message = "Gone";
  envelope.operation = scene.new_id();
  envelope.operation_ms = scene.cluster();
  envelope.deadline_ms = scene.now + 5000;
  envelope.saga = SagaStep{Verb::settle, ShardId{9}, Epoch{5}};
  const auto settled = scene.arrive(envelope);
  scene.settle();
  CHECK(heard(scene, settled) == "absent");
}

TEST_CASE("A failed step is not recorded: it may run again, or be settled as absent") {
  Scene scene;
  scene.warm();
  const OperationId id = scene.new_id();
  CHECK(heard(scene, scene.ask(Act{"throw", 0, ""}, step(id))) == "failed");
  const auto settled = scene.ask(Act{"throw", 0, ""}, step(id, Verb::settle));
  scene.settle();
  CHECK(heard(scene, settled) == "absent");
}

TEST_CASE("An id of a saga used for another request is malformed") {
  Scene scene;
  scene.warm();
  const OperationId id = scene.new_id();
  scene.ask(Deposit{5}, step(id));
  scene.settle();
  CHECK(heard(scene, scene.ask(Deposit{6}, step(id))) == "malformed");
}

TEST_CASE(
    "Forgotten steps leave memory and store, and older owners of the saga are refused from then "
    "on") {
  Scene scene;
  scene.warm();
  const OperationId one = scene.new_id(), two = scene.new_id();
  scene.ask(Deposit{1}, step(one));
  scene.ask(Deposit{2}, step(two));
  scene.settle();
  const auto forgotten = forget(scene, {one, scene.new_id()}, 6);
  CHECK(heard(scene, forgotten) == "");
  CHECK(heard(scene, scene.ask(Deposit{1}, step(one))) == "unavailable");  // even before the commit
  CHECK(scene.commits.back().commit.sources ==
        std::vector<std::pair<ShardId, Epoch>>{{ShardId{9}, Epoch{6}}});
  scene.settle();
  CHECK(heard(scene, forgotten) == "done");
  CHECK(scene.stored().saga_stored == 1);
  CHECK(heard(scene, scene.ask(Deposit{1}, step(one))) == "unavailable");
  CHECK(heard(scene, scene.ask(Deposit{2}, step(two))) == "unavailable");
  CHECK(heard(scene, scene.ask(Deposit{2}, step(two, Verb::run, 6))) == "3");
  CHECK(heard(scene, forget(scene, {two}, 5)) == "unavailable");
  const auto again = forget(scene, {one}, 6);
  scene.settle();
  CHECK(heard(scene, again) == "done");
  CHECK(scene.told(scene.ask(Get{})) == "3");
}

TEST_CASE("A list of steps to forget that is cut short is malformed") {
  Scene scene;
  scene.warm();
  Envelope envelope;
  envelope.entity = scene.entity;
  envelope.message = "forget";
  envelope.payload = "fifteen bytes..";
  envelope.operation = scene.new_id();
  envelope.operation_ms = scene.cluster();
  envelope.deadline_ms = scene.now + 5000;
  envelope.saga = SagaStep{Verb::forget, ShardId{9}, Epoch{5}};
  CHECK(heard(scene, scene.arrive(envelope)) == "malformed");
  CHECK(scene.commits.empty());
}

TEST_CASE("Who remembers many steps asks to be told when the saga is over, until it is") {
  ActivationLimits limits;
  limits.saga_steps_many = 2;
  Scene scene(limits);
  scene.warm();
  std::vector<OperationId> ids;
  std::vector<std::size_t> answers;
  for (int i = 0; i < 4; ++i) {
    ids.push_back(scene.new_id());
    answers.push_back(scene.ask(Deposit{1}, step(ids.back())));
    scene.settle();
  }
  CHECK(heard(scene, answers[1]) == "2");
  CHECK(heard(scene, answers[2]) == "3!");
  scene.activate();  // the count is kept
  const auto loaded = scene.ask(Deposit{1}, step(ids[0]));
  scene.run_load();
  CHECK(heard(scene, loaded) == "1!");
  forget(scene, {ids[0], ids[1]});
  scene.settle();
  CHECK(heard(scene, scene.ask(Deposit{1}, step(ids[3]))) == "4");
}

TEST_CASE("Beyond its bound of bytes an entity takes no further steps, but settles and remembers") {
  ActivationLimits limits;
  limits.saga_bytes_per_entity = 150;
  Scene scene(limits);
  scene.warm();
  const OperationId first = scene.new_id(), second = scene.new_id(), third = scene.new_id();
  for (const OperationId& id : {first, second}) {
    scene.ask(Deposit{1}, step(id));
    scene.settle();
  }
  CHECK(heard(scene, scene.ask(Deposit{1}, step(third))) == "overloaded");
  CHECK(heard(scene, scene.ask(Deposit{1}, step(first))) == "1");
  const auto settled = scene.ask(Deposit{1}, step(third, Verb::settle));
  scene.settle();
  CHECK(heard(scene, settled) == "absent");
  const auto plain = scene.ask(Deposit{1});
  scene.settle();
  CHECK(scene.told(plain) == "3");
}

TEST_CASE("A step recorded by an earlier life that the look-up missed is found at the commit") {
  Scene scene;
  scene.warm();
  const OperationId id = scene.new_id();
  const auto ran = scene.ask(Deposit{5}, step(id));
  Commit other = scene.commits.back().commit;  // what a copy of it in another life wrote
  scene.run();
  scene.activate();
  const auto settled = scene.ask(Deposit{5}, step(id, Verb::settle));
  scene.run_load();
  CHECK(heard(scene, ran) == "");
  CHECK(heard(scene, settled) == "5");
}
