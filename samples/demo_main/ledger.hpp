// The work of the demo: lines of a ledger, and how each of them ended.
#pragma once
#include <catga/sharding/result.hpp>

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace demo {

using Clock = std::chrono::steady_clock;

enum class Operation : std::uint8_t { deposit, withdraw, transfer };

struct Line {
  Operation operation = Operation::deposit;
  std::uint32_t account = 0;  ///< index into Ledger::accounts
  std::uint32_t other = 0;    ///< who gets the money of a transfer
  std::int64_t cents = 0;
};

struct Ledger {
  std::vector<std::string> accounts;
  std::vector<Line> lines;
};

/// Reads `line,op,account,other,cents` with its heading. Errors: malformed, with the line number.
catga::Result<Ledger> parse_ledger(std::string_view csv);
/// The same from a file, at most `most` lines. Errors: not_found, malformed.
catga::Result<Ledger> read_ledger(const std::string& path, std::size_t most);

enum class End : std::uint8_t {
  open,          ///< never asked
  acknowledged,  ///< the reply says that it is done
  refused,       ///< the account said no
  failed,        ///< no final answer within the deadline: may or may not have been applied
};

/// How one line ended. `cents` and `changes` are the reply's, for acknowledged lines.
struct Outcome {
  End end = End::open;
  std::uint32_t asks = 0;  ///< 1, and one more for each repeat by the caller
  std::int64_t cents = 0;
  std::int64_t changes = 0;
  Clock::time_point started{};
  Clock::time_point ended{};
};

}  // namespace demo
