#include "catga/runtime/test/entity_test.hpp"

#include "catga/runtime/test/world.hpp"

#include <cassert>
#include <optional>

namespace catga::test {

namespace {
constexpr std::int64_t caller_patience = 60'000;
}  // namespace

struct EntityTest::Private {
  Plan plan;
  std::unique_ptr<World> made;

  /// Made when it is first needed: then all is hosted.
  World& world() {
    if (!made) {
      made = std::make_unique<World>(plan);
      made->count_commits({});
    }
    return *made;
  }
};

EntityTest::EntityTest() : private_(std::make_unique<Private>()) {}
EntityTest::~EntityTest() = default;

EntityTest& EntityTest::add(Kind kind) {
  assert(!private_->made && "host all kinds before the first turn");
  std::string name = kind.name;
  private_->plan.kinds.insert_or_assign(std::move(name), std::move(kind));
  return *this;
}

EntityTest& EntityTest::add(std::shared_ptr<const SagaDefinition> saga) {
  assert(!private_->made && "host all sagas before the first turn");
  private_->plan.sagas.push_back(std::move(saga));
  return *this;
}

Result<std::string> EntityTest::ask_encoded(const EntityId& entity, const std::string& message,
                                            std::string payload) {
  World& world = private_->world();
  // Shared: a caller that gave up may still hear something, later.
  auto heard = std::make_shared<std::optional<Result<std::string>>>();
  world.say_until_heard(0, entity, message, payload, [heard](Result<std::string> answer) {
    if (!*heard) *heard = std::move(answer);
  });
  world.spin(world.now() + caller_patience, [&heard](std::int64_t) { return heard->has_value(); });
  if (!*heard) return Error{Code::timeout, "no answer within a minute"};
  world.settle();
  return **heard;
}

std::vector<Handled> EntityTest::advance(std::chrono::milliseconds by) {
  const std::size_t before = turns().size();
  private_->world().pass(by.count());
  return {turns().begin() + static_cast<std::ptrdiff_t>(before), turns().end()};
}

std::chrono::system_clock::time_point EntityTest::now() const {
  return std::chrono::system_clock::time_point(std::chrono::milliseconds(private_->world().now()));
}

void EntityTest::crash() {
  private_->world().die();
  private_->world().settle();
}

void EntityTest::crash_at(std::size_t n, Crash when) {
  World& world = private_->world();
  world.crash_at(world.commits() + n, when);
}

std::size_t EntityTest::commits() const { return private_->world().commits(); }

std::string EntityTest::state_bytes(const EntityId& entity) const {
  return private_->world().state_of(entity);
}

const std::vector<Handled>& EntityTest::turns() const { return private_->world().turns(); }
const std::vector<Published>& EntityTest::events() const { return private_->world().events(); }

}  // namespace catga::test
