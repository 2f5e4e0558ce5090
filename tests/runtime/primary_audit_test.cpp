// What is told of the shards after Redis changed its primary.
#include <catga/runtime/telemetry/primary_audit.hpp>

#include <doctest/doctest.h>

using catga::LogField;
using catga::PrimaryAudit;
using catga::ShardId;

TEST_CASE("an audit is over when every shard is served again, and told once") {
  PrimaryAudit audit;
  CHECK_FALSE(audit.over(0));
  audit.served(ShardId{1});  // of no interest now
  audit.begins({{"run_id_old", std::string("a")}, {"run_id_new", std::string("b")}}, 2, 1000);
  audit.dropped(ShardId{1});
  audit.served(ShardId{1});
  CHECK_FALSE(audit.over(1010));  // the other has not heard of it yet
  audit.dropped(ShardId{2});
  // The table of members shows it, too: it is the same loss.
  audit.begins({{"view_old", std::string("9")}, {"view_new", std::string("8")}}, 1, 1020);
  CHECK_FALSE(audit.over(1030));
  audit.served(ShardId{2});
  const auto result = audit.over(1040);
  REQUIRE(result);
  CHECK(result->fields.size() == 4);
  CHECK(result->lasted_ms == 40);
  CHECK(result->audited == 2);
  CHECK(result->lost == 0);
  CHECK_FALSE(audit.over(1050));
}

TEST_CASE("shards that do not come back within five seconds are lost for this node") {
  PrimaryAudit audit;
  audit.begins({{"view_old", std::string("9")}}, 3, 1000);
  for (std::uint32_t shard = 0; shard < 3; ++shard) audit.dropped(ShardId{shard});
  audit.served(ShardId{1});
  CHECK_FALSE(audit.over(5999));
  const auto result = audit.over(6000);
  REQUIRE(result);
  CHECK(result->audited == 3);
  CHECK(result->lost == 2);
}

TEST_CASE("a node without shards has nothing to audit") {
  PrimaryAudit audit;
  audit.begins({{"view_old", std::string("9")}}, 0, 1000);
  CHECK(audit.over(1000));
}

TEST_CASE("what only others say of Redis is not told, but what it cost is kept until one sees it") {
  PrimaryAudit audit;
  audit.begins({}, 1, 1000);
  audit.dropped(ShardId{1});
  audit.served(ShardId{1});
  CHECK_FALSE(audit.over(1100));
  audit.begins({{"run_id_new", std::string("b")}}, 0, 1200);
  const auto result = audit.over(1200);
  REQUIRE(result);
  CHECK(result->audited == 1);
  audit.begins({}, 0, 2000);
  CHECK_FALSE(audit.over(9000));
  CHECK_FALSE(audit.open());
}
