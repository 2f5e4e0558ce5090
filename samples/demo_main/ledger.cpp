// Reads the ledger.
#include "ledger.hpp"

#include <charconv>
#include <fstream>
#include <sstream>
#include <unordered_map>

namespace demo {
namespace {

using catga::Code;
using catga::Error;
using catga::Result;

std::string_view cut(std::string_view& rest, char at) {
  const auto part = rest.substr(0, rest.find(at));
  rest.remove_prefix(std::min(part.size() + 1, rest.size()));
  return part;
}

Result<Operation> operation_of(std::string_view word) {
  if (word == "deposit") return Operation::deposit;
  if (word == "withdraw") return Operation::withdraw;
  if (word == "transfer") return Operation::transfer;
  return Error{Code::malformed, "unknown operation \"" + std::string(word) + "\""};
}

class Accounts {
 public:
  explicit Accounts(std::vector<std::string>& names) : names_(names) {}
  std::uint32_t index_of(std::string_view name) {
    const auto [found, is_new] =
        known_.try_emplace(std::string(name), static_cast<std::uint32_t>(names_.size()));
    if (is_new) names_.emplace_back(name);
    return found->second;
  }

 private:
  std::vector<std::string>& names_;
  std::unordered_map<std::string, std::uint32_t> known_;
};

Result<Line> line_of(std::string_view row, Accounts& accounts) {
  cut(row, ',');  // its number, for people
  Line line;
  line.operation = CATGA_TRY(operation_of(cut(row, ',')));
  const auto account = cut(row, ',');
  const auto other = cut(row, ',');
  const auto [end, trouble] = std::from_chars(row.data(), row.data() + row.size(), line.cents);
  if (account.empty() || (line.operation == Operation::transfer) == other.empty())
    return Error{Code::malformed, "an account is missing or too many"};
  if (trouble != std::errc{} || end != row.data() + row.size() || line.cents <= 0)
    return Error{Code::malformed, "not an amount: \"" + std::string(row) + "\""};
  line.account = accounts.index_of(account);
  line.other = other.empty() ? line.account : accounts.index_of(other);
  return line;
}

}  // namespace

Result<Ledger> parse_ledger(std::string_view csv) {
  Ledger ledger;
  Accounts accounts(ledger.accounts);
  if (cut(csv, '\n') != "line,op,account,other,cents")
    return Error{Code::malformed, "ledger: the heading is not line,op,account,other,cents"};
  for (std::size_t number = 2; !csv.empty(); ++number) {
    const auto row = cut(csv, '\n');
    if (row.empty()) continue;
    auto line = line_of(row, accounts);
    if (!line.ok())
      return Error{Code::malformed,
                   "ledger line " + std::to_string(number) + ": " + line.error().text};
    ledger.lines.push_back(*line);
  }
  return ledger;
}

Result<Ledger> read_ledger(const std::string& path, std::size_t most) {
  std::ifstream in(path, std::ios::binary);
  std::stringstream content;
  if (!in || !(content << in.rdbuf()))
    return Error{Code::not_found, "cannot read the ledger " + path};
  auto ledger = parse_ledger(std::move(content).str());
  if (ledger.ok() && ledger->lines.size() > most) ledger->lines.resize(most);
  return ledger;
}

}  // namespace demo
