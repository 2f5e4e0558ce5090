// Redis URLs.
#include "catga/persistence/redis/options.hpp"

#include <charconv>
#include <optional>

namespace catga {
namespace {

constexpr std::string_view form = "redis://[user[:password]@]host[:port][/database]";

Error wrong(const std::string& what) {
  return Error{Code::malformed, "the Redis URL " + what + "; write " + std::string(form)};
}

/// The whole text as a number within the bounds.
std::optional<int> number_in(std::string_view text, int least, int most) {
  int number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{} || end != text.data() + text.size() || number < least || number > most) {
    return std::nullopt;
  }
  return number;
}

std::optional<std::string> percent_decoded(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      out.push_back(text[i]);
      continue;
    }
    unsigned byte = 0;
    const std::string_view digits = text.substr(i + 1, 2);
    const auto [end, error] =
        std::from_chars(digits.data(), digits.data() + digits.size(), byte, 16);
    if (digits.size() != 2 || error != std::errc{} || end != digits.data() + 2) return std::nullopt;
    out.push_back(static_cast<char>(byte));
    i += 2;
  }
  return out;
}

Status read_login(std::string_view login, RedisOptions& options) {
  const auto colon = login.find(':');
  const auto user = percent_decoded(login.substr(0, colon));
  const auto password =
      percent_decoded(colon == login.npos ? std::string_view{} : login.substr(colon + 1));
  if (!user || !password) return wrong("has a % without two hex digits in user or password");
  if (!user->empty() && password->empty()) return wrong("has a user without a password");
  options.user = *user;
  options.password = *password;
  return Done{};
}

/// `host[:port]`; the error is the end of a sentence.
Result<RedisAddress> address_in(std::string_view text, int usual_port) {
  RedisAddress address{.host = "", .port = usual_port};
  std::string_view port;
  if (text.starts_with('[')) {
    const auto bracket = text.find(']');
    if (bracket == text.npos) return Error{Code::malformed, "has a [ without a ]"};
    address.host = text.substr(1, bracket - 1);
    port = text.substr(bracket + 1);
  } else {
    const auto colon = text.find(':');
    address.host = text.substr(0, colon);
    port = colon == text.npos ? std::string_view{} : text.substr(colon);
  }
  if (address.host.empty()) return Error{Code::malformed, "names no host"};
  if (port.empty()) return address;
  const auto number = port.front() == ':' ? number_in(port.substr(1), 1, 65535) : std::nullopt;
  if (!number) return Error{Code::malformed, "has a port that is not a number from 1 to 65535"};
  address.port = *number;
  return address;
}

}  // namespace

Result<RedisOptions> parse_redis_url(std::string_view url) {
  if (url.starts_with("rediss://")) {
    return Error{
        Code::malformed,
        "the Redis URL asks for TLS (rediss://) and this build has none: its hiredis is older than "
        "1.0; use redis:// or build Catga with a newer hiredis"};
  }
  constexpr std::string_view scheme = "redis://";
  if (!url.starts_with(scheme)) return wrong("does not begin with redis://");
  url.remove_prefix(scheme.size());
  RedisOptions options;
  if (const auto at = url.rfind('@'); at != url.npos) {
    if (Status login = read_login(url.substr(0, at), options); !login) return login.error();
    url.remove_prefix(at + 1);
  }
  const auto slash = url.find('/');
  auto address = address_in(url.substr(0, slash), options.port);
  if (!address) return wrong(address.error().text);
  options.host = std::move(address->host);
  options.port = address->port;
  if (slash != url.npos && slash + 1 < url.size()) {
    const auto database = number_in(url.substr(slash + 1), 0, 1'000'000);
    if (!database) return wrong("has a database that is not a number");
    options.database = *database;
  }
  return options;
}

Result<RedisAddress> parse_sentinel(std::string_view text) {
  constexpr int usual_port = 26379;
  auto address = address_in(text, usual_port);
  // A URL or a login would end up as a strange host name, and the error much later.
  const bool strange = text.find_first_of("/@ ") != text.npos;
  if (address && !strange) return address;
  const auto login = text.rfind('@');  // before it may stand a password
  const std::string shown(login == text.npos ? text : text.substr(login + 1));
  return Error{Code::malformed,
               "the sentinel \"" + shown + "\" " +
                   (strange ? "is not just a host and a port" : address.error().text) +
                   "; write host or host:port"};
}

std::string text_of(const RedisAddress& address) {
  const bool bare_ipv6 = address.host.find(':') != std::string::npos;
  return (bare_ipv6 ? '[' + address.host + ']' : address.host) + ':' + std::to_string(address.port);
}

std::string masked_url(const RedisOptions& options) {
  return masked_url(options, {options.host, options.port});
}

std::string masked_url(const RedisOptions& options, const RedisAddress& address) {
  std::string url = "redis://";
  if (!options.password.empty()) url += options.user + ":***@";
  return url + text_of(address) + '/' + std::to_string(options.database);
}

std::string describe(const RedisOptions& options) {
  if (options.sentinels.empty()) return "Redis at " + masked_url(options);
  std::string sentinels;
  for (const RedisAddress& sentinel : options.sentinels) sentinels += ", " + text_of(sentinel);
  return "the Redis primary '" + options.sentinel_master + "' (sentinels " + sentinels.substr(2) +
         ')';
}

}  // namespace catga
