// Who may ask the admin listener what: every rule once.
#include <catga/runtime/http/guard.hpp>

#include <doctest/doctest.h>

using namespace catga::http;

namespace {

Request read(const std::string& token = "") {
  Request request;
  request.method = "GET";
  request.path = "/api/v1/cluster";
  request.client = "127.0.0.1";
  request.headers["host"] = "localhost:8080";
  if (!token.empty()) request.headers["authorization"] = "Bearer " + token;
  return request;
}

Request write(const std::string& token = "") {
  Request request = read(token);
  request.method = "POST";
  request.headers["content-type"] = "application/json; charset=utf-8";
  return request;
}

int status(Guard& guard, const Request& request, std::int64_t now = 0) {
  const auto refused = guard.refuse(request, now);
  return refused ? refused->status : 200;
}

GuardRules with_token(bool read_only) { return {"sesame-sesame-16", read_only, "10.0.0.7", {}}; }

}  // namespace

TEST_CASE("without a token everybody on this machine may read and nobody may write") {
  Guard guard({"", true, "127.0.0.1", {}});
  CHECK(status(guard, read()) == 200);
  CHECK(status(guard, write()) == 403);
  Guard careless({"", false, "127.0.0.1", {}});
  CHECK(status(careless, write()) == 403);
  CHECK_FALSE(careless.may_write());
}

TEST_CASE("with a token nobody asks anything without it") {
  Guard guard(with_token(true));
  CHECK(status(guard, read()) == 401);
  CHECK(status(guard, read("sesame-sesame-17")) == 401);
  CHECK(status(guard, read("sesame")) == 401);
  CHECK(status(guard, read("sesame-sesame-16")) == 200);
  CHECK(status(guard, write("sesame-sesame-16")) == 403);
  CHECK(status(guard, write()) == 401);
}

TEST_CASE("a token can be replaced while the listener runs, and none cannot be added") {
  Guard guard(with_token(true));
  guard.token("another-another-17");
  CHECK(status(guard, read("another-another-17")) == 200);
  CHECK(status(guard, read("sesame-sesame-16")) == 401);
  Guard open({"", true, "127.0.0.1", {}});
  open.token("another-another-17");
  CHECK(status(open, read()) == 200);
}

TEST_CASE("changes need read_only off, the token, JSON and no foreign page") {
  Guard guard(with_token(false));
  CHECK(guard.may_write());
  CHECK(status(guard, write("sesame-sesame-16")) == 200);
  Request form = write("sesame-sesame-16");
  form.headers["content-type"] = "text/plain";
  CHECK(status(guard, form) == 415);
  Request foreign = write("sesame-sesame-16");
  foreign.headers["origin"] = "http://evil.example";
  CHECK(status(guard, foreign) == 403);
  Request own = write("sesame-sesame-16");
  own.headers["origin"] = "http://localhost:8080";
  CHECK(status(guard, own) == 200);
}

TEST_CASE("ten wrong tokens a minute from one address are enough") {
  Guard guard(with_token(true));
  for (std::int64_t i = 0; i < 10; ++i) CHECK(status(guard, read("wrong"), i * 100) == 401);
  CHECK(status(guard, read("wrong"), 1000) == 429);
  CHECK(status(guard, read("sesame-sesame-16"), 1000) == 429);
  Request other = read("sesame-sesame-16");
  other.client = "127.0.0.2";
  CHECK(status(guard, other, 1000) == 200);
  CHECK(status(guard, read("sesame-sesame-16"), 61'000) == 200);
}

TEST_CASE("a request without a token is asked for one, and is no guess") {
  Guard guard(with_token(true));
  for (int i = 0; i < 30; ++i) CHECK(status(guard, read()) == 401);
  CHECK(status(guard, read("sesame-sesame-16")) == 200);
}

TEST_CASE("the listener answers only under its own names") {
  const Guard guard({"", true, "10.0.0.7", {"catga.internal"}});
  const auto under = [&guard](const std::string& host) {
    Request request = read();
    request.headers["host"] = host;
    const auto refused = guard.refuse_host(request);
    return refused ? refused->status : 200;
  };
  for (const char* const host : {"localhost", "127.0.0.1:8080", "[::1]:8080", "10.0.0.7:8080",
                                 "catga.internal", "catga.internal:80"})
    CHECK(under(host) == 200);
  for (const char* const host : {"evil.example", "localhost.evil.example", "127.0.0.1.evil.example",
                                 "", "10.0.0.70", "127.evil.example"})
    CHECK(under(host) == 403);
}

TEST_CASE("tokens are compared as a whole") {
  CHECK(equal_in_constant_time("abc", "abc"));
  CHECK_FALSE(equal_in_constant_time("abc", "abd"));
  CHECK_FALSE(equal_in_constant_time("abc", "abcd"));
}
