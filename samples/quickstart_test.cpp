// How one tests an entity: the account of the quick start, in memory and in a cluster. README shows this file.
#define main main_of_quickstart  // what the sample runs; only its entity is wanted here
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wreturn-type"  // a main needs no return, a function does
#include "quickstart.cpp"
#pragma GCC diagnostic pop
#undef main
#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN

// The lines stand as they are because the README shows them:
// clang-format off
// [readme]
#include <catga/testing.hpp>
#include <doctest/doctest.h>

using catga::test::Crash;

TEST_CASE("money is there once, whichever commit the owner of the account dies at") {
  for (std::size_t commit = 0; commit < 3; ++commit) {
    for (const Crash when : {Crash::before_commit, Crash::after_commit}) {
      catga::test::EntityTest test;  // in memory, on a clock that stands still
      test.host<Account>();
      test.crash_at(commit, when);   // another owner goes on; the caller repeats itself

      CHECK(test.ask<Account>("alice", Deposit{500}).reply->cents == 500);
      CHECK(test.ask<Account>("alice", Withdraw{120}).reply->cents == 380);
      CHECK(test.ask<Account>("alice", Withdraw{9000}).reply.error().text == "insufficient funds");
      CHECK(test.state<Account>("alice").cents == 380);
    }
  }
}

TEST_CASE("an account outlives the node it is on") {
  if (!catga::test::ClusterTest::servers_installed()) {
    MESSAGE("SKIPPED: nats-server or redis-server is not installed");
    return;
  }
  catga::test::ClusterTest cluster;  // real nodes, a NATS and a Redis server of their own
  REQUIRE(cluster.start(3, [](catga::Node& node) { node.host<Account>(); }).ok());

  auto alice = cluster.client().ref<Account>("alice");
  CHECK(alice.ask(Deposit{500}, 20s)->cents == 500);
  cluster.kill(0);
  cluster.kill(1);
  CHECK(alice.ask(GetBalance{}, 30s)->cents == 500);
}
// [/readme]
