// Who may ask the admin listener what. Decides; reads no clock and no file.
#pragma once
#include "catga/runtime/http/server.hpp"

#include <cstdint>
#include <deque>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace catga::http {

struct GuardRules {
  std::string token;  ///< empty: none is asked for, and nothing can be changed
  bool read_only = true;
  std::string bound_host;                  ///< the address of the listener
  std::vector<std::string> allowed_hosts;  ///< further names under which it may be addressed
};

/// The same for every content of the same length: how long it takes tells nothing of where they differ.
bool equal_in_constant_time(std::string_view one, std::string_view other);

/// Thread-safe.
class Guard {
 public:
  explicit Guard(GuardRules rules) : rules_(std::move(rules)), token_(rules_.token) {}
  /// Another token from now on, where there is one.
  void token(std::string token);

  /// Every request but health probes: a page of another site must not reach this listener under a name of its own
  /// (DNS rebinding). None: go on.
  std::optional<Answer> refuse_host(const Request& request) const;
  /// Requests under /api: the token, and for what changes something all the rest. None: go on.
  std::optional<Answer> refuse(const Request& request, std::int64_t now_ms);
  /// Of a request that refuse() let pass.
  bool may_write() const { return !rules_.read_only && !rules_.token.empty(); }

  static constexpr std::size_t wrong_tokens_most = 10;
  static constexpr std::int64_t wrong_tokens_within_ms = 60'000;

 private:
  bool guesses_too_much(const std::string& client, std::int64_t now_ms);
  std::optional<Answer> refuse_token(const Request& request, std::int64_t now_ms);
  std::optional<Answer> refuse_write(const Request& request) const;

  const GuardRules rules_;  ///< whether there is a token; which one: below
  std::mutex lock_;
  std::string token_;
  std::map<std::string, std::deque<std::int64_t>> wrong_;  ///< by address: when a wrong token came
};

}  // namespace catga::http
