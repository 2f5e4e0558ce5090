// The test kit: entities and sagas in memory on a clock that stands still, and whole clusters in one test. Include this
// one header. It needs no test framework; samples/quickstart_test.cpp shows it with doctest.
//
//   catga::test::EntityTest   turns of entities: replies, tells, events, timers, crashes at any commit
//   catga::test::SagaTest     one saga from its start to its end, with a crash at every commit
//   catga::test::ClusterTest  real nodes in this process, over a NATS and a Redis server of their own
#pragma once
#include "catga/catga.hpp"
#include "catga/runtime/test/cluster_test.hpp"
#include "catga/runtime/test/entity_test.hpp"
#include "catga/runtime/test/observed.hpp"
#include "catga/runtime/test/saga_test.hpp"
