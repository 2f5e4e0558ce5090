// Operation ids must never repeat, not even in a process that forked.
#include <catga/entities/operation.hpp>

#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <set>

using namespace catga;

TEST_CASE("operation ids are set and differ") {
  std::set<OperationId> seen;
  for (int i = 0; i < 1000; ++i) {
    const OperationId id = new_operation_id();
    CHECK(id);
    CHECK(seen.insert(id).second);
  }
}

TEST_CASE("two processes of one fork make different operation ids") {
  (void)new_operation_id();  // so that there would be a buffer to share
  int ends[2];
  REQUIRE(pipe(ends) == 0);
  const pid_t child = fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    const OperationId id = new_operation_id();
    _exit(write(ends[1], &id, sizeof id) == sizeof id ? 0 : 1);
  }
  const OperationId ours = new_operation_id();
  OperationId theirs;
  CHECK(read(ends[0], &theirs, sizeof theirs) == sizeof theirs);
  int status = 0;
  CHECK(waitpid(child, &status, 0) == child);
  CHECK(status == 0);
  close(ends[0]);
  close(ends[1]);
  CHECK(theirs);
  CHECK(ours != theirs);
}
