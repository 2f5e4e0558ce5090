#include <catga/runtime/late_wake.hpp>

#include <doctest/doctest.h>

#include <mutex>
#include <thread>

using namespace catga;

namespace {
/// In a thread of its own, since a thread that was a worker once stays one.
template <class Work>
void in_a_thread(Work work) {
  std::thread(work).join();
}
}  // namespace

TEST_CASE("a thread that is no worker wakes the sender at once") {
  in_a_thread([] {
    std::condition_variable sender;
    LateWake::notify(sender);
    CHECK_FALSE(LateWake::due());
  });
}

TEST_CASE("a worker wakes the sender when it has no more jobs, or one that runs code of users") {
  in_a_thread([] {
    std::mutex lock;
    std::condition_variable sender;
    bool said = false, heard = false;
    std::thread sending([&] {
      std::unique_lock guard(lock);
      sender.wait(guard, [&] { return said; });
      heard = true;
    });
    LateWake::between_jobs(false);
    {
      const std::lock_guard guard(lock);
      said = true;
    }
    LateWake::notify(sender);
    LateWake::notify(sender);
    CHECK(LateWake::due());
    LateWake::between_jobs(true);
    CHECK(LateWake::due());
    LateWake::between_jobs(false);
    CHECK_FALSE(LateWake::due());
    sending.join();
    CHECK(heard);
  });
}

TEST_CASE("a worker that never runs out of short jobs wakes the sender all the same") {
  in_a_thread([] {
    std::condition_variable sender, other;
    LateWake::between_jobs(false);
    LateWake::notify(sender);
    LateWake::notify(other);  // one is remembered, a second one is woken at once
    int jobs = 0;
    while (LateWake::due() && jobs < 100) {
      LateWake::between_jobs(true);
      ++jobs;
    }
    CHECK(jobs > 1);
    CHECK(jobs < 100);
  });
}
