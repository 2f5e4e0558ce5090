// Asks accounts of a running cluster from the command line: `catga-account deposit alice 500`.
#include <catga/catga.hpp>

#include "account.hpp"

#include <charconv>
#include <chrono>
#include <cstdint>
#include <iostream>
#include <string>
#include <vector>

namespace {

using namespace std::chrono_literals;
using Words = std::vector<std::string>;

constexpr int wrong_usage = 2;
constexpr int unreachable = 69;

constexpr const char* usage =
    "usage: catga-account [settings] COMMAND\n"
    "  deposit ACCOUNT CENTS        adds money\n"
    "  withdraw ACCOUNT CENTS       takes money\n"
    "  transfer FROM TO CENTS       moves money\n"
    "  balance ACCOUNT              says what there is\n"
    "settings are those of a node, such as --nats-urls nats://host:4222 --cluster-name catga;\n"
    "catga-account-node --help lists them\n";

catga::Result<std::int64_t> cents_of(const std::string& text) {
  std::int64_t cents = 0;
  const auto [end, trouble] = std::from_chars(text.data(), text.data() + text.size(), cents);
  if (trouble != std::errc{} || end != text.data() + text.size())
    return catga::Error{catga::Code::malformed, "\"" + text + "\" is not a number of cents"};
  return cents;
}

catga::Result<bank::Balance> carry_out(catga::Client& client, const Words& words) {
  auto account = client.ref<bank::Account>(words[1]);
  if (words[0] == "balance") return account.ask(bank::GetBalance{}, 5s);
  const std::int64_t cents = CATGA_TRY(cents_of(words.back()));
  if (words[0] == "deposit") return account.ask(bank::Deposit{cents}, 5s);
  if (words[0] == "withdraw") return account.ask(bank::Withdraw{cents}, 5s);
  return account.ask(bank::Transfer{words[2], cents}, 5s);
}

bool understood(const Words& words) {
  if (words.empty()) return false;
  const auto& verb = words[0];
  if (verb == "balance") return words.size() == 2;
  if (verb == "transfer") return words.size() == 4;
  return (verb == "deposit" || verb == "withdraw") && words.size() == 3;
}

}  // namespace

int main(int argc, char** argv) {
  Words words;
  const auto config = catga::Config::parse({argv + 1, argv + argc}, &words);
  if (!config.ok() || !understood(words)) {
    std::cerr << (config.ok() ? usage : config.error().text + '\n');
    return wrong_usage;
  }
  catga::Client client{*config};
  if (const auto connected = client.connect(); !connected.ok()) {
    std::cerr << connected.error().text << '\n';
    return unreachable;
  }
  const auto balance = carry_out(client, words);
  if (!balance.ok()) {
    std::cerr << name_of(balance.error().code) << ": " << balance.error().text << '\n';
    return 1;
  }
  std::cout << words[1] << " has " << balance->cents << " cents after " << balance->changes
            << " changes\n";
  return 0;
}
