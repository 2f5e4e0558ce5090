// The entities of the simulation: a log and an account. Both keep the hash of their whole history,
// so that one number tells which changes made them, and in which order.
#pragma once
#include <catga/catga.hpp>

#include <cstdint>
#include <string>
#include <string_view>

namespace catga::sim {

/// What an entity has become: how many changes, which ones (as a hash of them in order), how much.
struct Page {
  std::int64_t count = 0;
  std::int64_t hash = 0;
  std::int64_t cents = 0;
  CATGA_FIELDS(count, hash, cents);
};

// Every change has a number of its own in all of a run. Changes it causes elsewhere have the next
// ones: +1 what it tells, +2 what its timer does, +3 what it asks for.
constexpr std::int64_t numbers_per_change = 8;
enum Caused : std::int64_t { told = 1, timed = 2, asked = 3 };

// clang-format off
/// With a limit: rejected once there are so many.
struct Append   { using Reply = Page; std::int64_t change = 0, limit = 0; CATGA_MESSAGE(Append, change, limit); };
/// A change now, and one by a timer. `name`: a later one of the same name takes its place.
struct Later    { using Reply = Page; std::int64_t change = 0, wait_ms = 0; std::string name; CATGA_MESSAGE(Later, change, wait_ms, name); };
/// Makes log/<other> append first, and waits for that.
struct Consult  { using Reply = Page; std::int64_t change = 0; std::string other; CATGA_MESSAGE(Consult, change, other); };
/// Holds a worker for so long, then appends.
struct Ponder   { using Reply = Page; std::int64_t change = 0, wait_ms = 0; CATGA_MESSAGE(Ponder, change, wait_ms); };
/// Makes log/<other> ponder, and waits for that without holding a worker.
struct Await    { using Reply = Page; std::int64_t change = 0, wait_ms = 0; std::string other; CATGA_MESSAGE(Await, change, wait_ms, other); };
/// Reads, and holds a worker for so long before it answers.
struct Study    { using Reply = Page; std::int64_t wait_ms = 0; CATGA_MESSAGE(Study, wait_ms); };
struct Deposit  { using Reply = Page; std::int64_t change = 0, cents = 0; CATGA_MESSAGE(Deposit, change, cents); };
struct Withdraw { using Reply = Page; std::int64_t change = 0, cents = 0; CATGA_MESSAGE(Withdraw, change, cents); };
struct Transfer { using Reply = Page; std::int64_t change = 0, cents = 0; std::string to; CATGA_MESSAGE(Transfer, change, cents, to); };
struct Credit   { using Reply = Page; std::int64_t change = 0, cents = 0; CATGA_MESSAGE(Credit, change, cents); };
struct Read     { using Reply = Page; CATGA_MESSAGE(Read); };
// clang-format on

class Journal {
 public:
  static constexpr std::string_view kind = "log";
  using Handles = Messages<Append, Later, Consult, Credit, Read, Ponder, Await, Study>;
  Page state;

  Result<Page> on(Turn& turn, const Append& append);
  Page on(Turn& turn, const Later& later);
  Task<Page> on(Turn& turn, const Consult& consult);
  Page on(Turn& turn, const Credit& credit);
  Page on(const Turn& turn, const Read& read) const;
  Page on(Turn& turn, const Ponder& ponder);
  Task<Page> on(Turn& turn, const Await& await);
  Page on(const Turn& turn, const Study& study) const;
};

class Account {
 public:
  static constexpr std::string_view kind = "account";
  using Handles = Messages<Deposit, Withdraw, Transfer, Credit, Read>;
  Page state;

  Page on(Turn& turn, const Deposit& deposit);
  Result<Page> on(Turn& turn, const Withdraw& withdraw);
  Result<Page> on(Turn& turn, const Transfer& transfer);
  Page on(Turn& turn, const Credit& credit);
  Page on(const Turn& turn, const Read& read) const;
};

}  // namespace catga::sim
