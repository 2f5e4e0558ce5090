// How long a shard's messages waited for a move, told from what waited before.
#include <catga/runtime/actors/standstill.hpp>

#include <doctest/doctest.h>

using catga::actors::Standstill;

TEST_CASE("a planned move pauses from the stop of the queue until the new owner serves") {
  Standstill pause;
  CHECK(pause.lasted(50) == 0);
  pause.begins(100);
  CHECK(pause.lasted(107) == 7);
  pause.ends();
  CHECK(pause.lasted(200) == 0);
}

TEST_CASE("a take-over pauses from when the node knew, however often it tries") {
  Standstill pause;
  pause.claimed(100);
  pause.claimed(130);
  CHECK(pause.lasted(150) == 50);
}

TEST_CASE("a claim that another node won does not lengthen the next one") {
  Standstill pause;
  pause.claimed(100);
  pause.ends();  // another node has it
  pause.claimed(3'600'000);
  CHECK(pause.lasted(3'600'020) == 20);
}

TEST_CASE("a move whose last word was lost does not lengthen the take-over that follows") {
  Standstill pause;
  pause.begins(100);  // given away; that the new owner serves it was never heard
  pause.claimed(3'600'000);
  CHECK(pause.lasted(3'600'020) == 20);
}

TEST_CASE("a queue that arrives begins a pause of its own, whatever was claimed before") {
  Standstill pause;
  pause.claimed(100);
  pause.begins(500);
  CHECK(pause.lasted(503) == 3);
  pause.claimed(600);  // the old owner ended on the way
  CHECK(pause.lasted(620) == 20);
}
