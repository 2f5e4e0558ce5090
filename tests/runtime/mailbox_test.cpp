#include <catga/runtime/actors/mailbox.hpp>

#include <doctest/doctest.h>

#include <atomic>
#include <memory>
#include <thread>
#include <vector>

using catga::actors::Mailbox;
using catga::actors::Put;

TEST_CASE("a mailbox gives what was put, in order, and says once that its reader must be woken") {
  Mailbox<int> mailbox;
  CHECK(mailbox.put(1) == Put::wakes);
  CHECK(mailbox.put(2) == Put::waits);
  CHECK(*mailbox.take() == 1);
  CHECK(mailbox.put(3) == Put::waits);
  CHECK(*mailbox.take() == 2);
  CHECK(*mailbox.take() == 3);
  CHECK_FALSE(mailbox.take());
  CHECK(mailbox.put(4) == Put::waits);  // the reader has not gone to sleep yet
  CHECK_FALSE(mailbox.sleep());
  CHECK(*mailbox.take() == 4);
  CHECK_FALSE(mailbox.take());
  CHECK(mailbox.sleep());
  CHECK(mailbox.put(5) == Put::wakes);
}

TEST_CASE("a closed mailbox frees what waits and what is put later") {
  const auto watched = std::make_shared<int>(0);
  Mailbox<std::shared_ptr<int>> mailbox;
  mailbox.put(watched);
  mailbox.put(watched);
  mailbox.put(watched);
  CHECK(*mailbox.take() == watched);
  mailbox.close();
  CHECK(watched.use_count() == 1);
  CHECK(mailbox.put(watched) == Put::closed);
  CHECK(watched.use_count() == 1);
  mailbox.close();
}

TEST_CASE("many writers: nothing is lost, each one's order is kept, one reader at a time") {
  constexpr int writers = 4, each = 20'000;
  struct Note {
    int writer, number;
  };
  Mailbox<Note> mailbox;
  std::vector<int> next(writers, 0);
  std::atomic<int> readers{0}, read{0};
  std::atomic<bool> in_order{true}, alone{true};
  const auto read_all = [&] {  // as a worker does, on the thread that was told to wake it
    if (readers.fetch_add(1) != 0) alone = false;
    while (true) {
      if (auto note = mailbox.take()) {
        int& expected = next[static_cast<std::size_t>(note->writer)];
        if (note->number != expected++) in_order = false;
        read.fetch_add(1);
        continue;
      }
      readers.fetch_sub(1);  // after sleep() it may be another's turn
      if (mailbox.sleep()) return;
      if (readers.fetch_add(1) != 0) alone = false;
    }
  };
  std::vector<std::thread> threads;
  for (int writer = 0; writer < writers; ++writer) {
    threads.emplace_back([&, writer] {
      for (int number = 0; number < each; ++number)
        if (mailbox.put(Note{writer, number}) == Put::wakes) read_all();
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(read == writers * each);
  CHECK(in_order);
  CHECK(alone);
}
