#include "catga/runtime/http/server.hpp"

#include <nlohmann/json.hpp>

#include <charconv>

namespace catga::http {

Result<std::pair<std::string, int>> split_address(std::string_view text) {
  const auto colon = text.rfind(':');
  if (colon == text.npos || text.find(']', colon) != text.npos)
    return Error{Code::malformed, "must look like 127.0.0.1:8081, or be off"};
  std::string_view host = text.substr(0, colon);
  const std::string_view digits = text.substr(colon + 1);
  int port = -1;
  const auto [end, trouble] = std::from_chars(digits.data(), digits.data() + digits.size(), port);
  if (trouble != std::errc{} || end != digits.data() + digits.size() || port < 0 || port > 65535)
    return Error{Code::malformed, "must end with a port from 0 to 65535, as 127.0.0.1:8081 does"};
  const bool bracketed = host.starts_with('[') && host.ends_with(']');
  if (bracketed) host = host.substr(1, host.size() - 2);
  if (!bracketed && host.find(':') != host.npos)
    return Error{Code::malformed, "must have an IPv6 address in brackets: [::1]:8081"};
  return std::pair{host.empty() ? std::string("0.0.0.0") : std::string(host), port};
}

bool is_loopback(std::string_view host) {
  if (host == "localhost" || host == "::1") return true;
  return host.starts_with("127.") && host.find_first_not_of("0123456789.") == host.npos;
}

std::string_view Request::header(const std::string& name) const {
  const auto at = headers.find(name);
  return at == headers.end() ? std::string_view{} : std::string_view(at->second);
}

Answer error_answer(int status, std::string_view code, std::string_view message, bool retry) {
  Answer answer;
  answer.status = status;
  answer.type = "application/json";
  const nlohmann::json body{{"error", {{"code", code}, {"message", message}, {"retry", retry}}}};
  answer.body = body.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
  return answer;
}

}  // namespace catga::http
