#include "catga/runtime/http/guard.hpp"

#include <algorithm>

namespace catga::http {

namespace {

constexpr std::size_t addresses_most =
    10'000;  // of guessers; beyond it the memory of them is dropped

/// "[::1]:8080" → "::1", "localhost:8080" → "localhost".
std::string_view host_without_port(std::string_view host) {
  if (host.starts_with('[')) {
    const auto end = host.find(']');
    return end == host.npos ? host : host.substr(1, end - 1);
  }
  return host.substr(0, host.find(':'));
}

bool is_read(const Request& request) { return request.method == "GET" || request.method == "HEAD"; }

}  // namespace

bool equal_in_constant_time(std::string_view one, std::string_view other) {
  if (one.size() != other.size()) return false;
  unsigned difference = 0;
  for (std::size_t i = 0; i < one.size(); ++i)
    difference |= static_cast<unsigned char>(one[i]) ^ static_cast<unsigned char>(other[i]);
  return difference == 0;
}

void Guard::token(std::string token) {
  const std::lock_guard guard(lock_);
  if (!token_.empty()) token_ = std::move(token);
}

std::optional<Answer> Guard::refuse_host(const Request& request) const {
  const std::string_view host = host_without_port(request.header("host"));
  const auto& names = rules_.allowed_hosts;
  if (is_loopback(host) || (!host.empty() && host == rules_.bound_host) ||
      std::ranges::find(names, host) != names.end())
    return std::nullopt;
  return error_answer(403, "forbidden",
                      "this listener is not known as \"" + std::string(host) +
                          "\"; if it should be, add the name to admin.allowed_hosts");
}

std::optional<Answer> Guard::refuse(const Request& request, std::int64_t now_ms) {
  if (auto refused = refuse_token(request, now_ms)) return refused;
  return is_read(request) ? std::nullopt : refuse_write(request);
}

bool Guard::guesses_too_much(const std::string& client, std::int64_t now_ms) {
  const auto at = wrong_.find(client);
  if (at == wrong_.end()) return false;
  std::deque<std::int64_t>& times = at->second;
  while (!times.empty() && now_ms - times.front() >= wrong_tokens_within_ms) times.pop_front();
  if (times.empty()) {
    wrong_.erase(at);
    return false;
  }
  return times.size() >= wrong_tokens_most;
}

std::optional<Answer> Guard::refuse_token(const Request& request, std::int64_t now_ms) {
  if (rules_.token.empty()) return std::nullopt;
  const std::lock_guard guard(lock_);
  if (guesses_too_much(request.client, now_ms)) {
    Answer answer = error_answer(429, "overloaded", "too many wrong tokens; wait a minute", true);
    answer.headers.emplace_back("Retry-After", "60");
    return answer;
  }
  constexpr std::string_view scheme = "Bearer ";
  const std::string_view given = request.header("authorization");
  const bool bearer = given.starts_with(scheme);
  if (bearer && equal_in_constant_time(given.substr(scheme.size()), token_)) return std::nullopt;
  if (bearer) {  // who sends none is asked for one; that is no guess
    if (wrong_.size() >= addresses_most) wrong_.clear();
    wrong_[request.client].push_back(now_ms);
  }
  Answer answer = error_answer(401, "unauthorized",
                               bearer ? "the token is wrong"
                                      : "send the token of admin.token_file as Authorization: "
                                        "Bearer ...");
  answer.headers.emplace_back("WWW-Authenticate", "Bearer");
  return answer;
}

std::optional<Answer> Guard::refuse_write(const Request& request) const {
  if (rules_.read_only)
    return error_answer(403, "forbidden",
                        "this node lets nobody change anything here (admin.read_only)");
  if (rules_.token.empty())
    return error_answer(403, "forbidden",
                        "changes need a token: set admin.token_file on this node");
  const std::string_view origin = request.header("origin");
  const auto scheme_end = origin.find("://");
  const std::string_view from = scheme_end == origin.npos ? origin : origin.substr(scheme_end + 3);
  if (!origin.empty() && from != request.header("host"))
    return error_answer(403, "forbidden", "a page of another site must not change anything here");
  const std::string_view type = request.header("content-type");
  if (type.substr(0, type.find(';')) != "application/json")
    return error_answer(415, "malformed", "send Content-Type: application/json");
  return std::nullopt;
}

}  // namespace catga::http
