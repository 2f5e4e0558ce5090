// The HTTP server over real sockets: one test for each edge that runtime/http/server.hpp names.
#include <catga/runtime/http/server.hpp>

#include "../support/http_client.hpp"
#include <doctest/doctest.h>
#include <nlohmann/json.hpp>

#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <vector>

using namespace catga::http;
using std::chrono::milliseconds;
using std::chrono::steady_clock;

namespace {

Answer echo(const Request& request) {
  Answer answer;
  answer.body = request.method + ' ' + request.path;
  for (const auto& [name, value] : request.query) answer.body += ' ' + name + '=' + value;
  if (!request.body.empty()) answer.body += ' ' + std::to_string(request.body.size());
  return answer;
}

std::unique_ptr<Server> open(Server::Handler handler, std::size_t threads = 8,
                             std::size_t waiting_most = 256) {
  Options options;
  options.host = "127.0.0.1";
  options.threads = threads;
  options.waiting_most = waiting_most;
  auto server = Server::open(std::move(options), std::move(handler));
  REQUIRE(server.ok());
  return std::move(*server);
}

milliseconds since(steady_clock::time_point began) {
  return std::chrono::duration_cast<milliseconds>(steady_clock::now() - began);
}

}  // namespace

TEST_CASE("addresses are taken apart, and what is wrong with one is said") {
  CHECK(*split_address("127.0.0.1:8081") == std::pair<std::string, int>{"127.0.0.1", 8081});
  CHECK(*split_address("[::1]:0") == std::pair<std::string, int>{"::1", 0});
  CHECK(*split_address(":8080") == std::pair<std::string, int>{"0.0.0.0", 8080});
  for (const char* const wrong :
       {"", "8080", "host", "host:", "host:x", "host:65536", "::1:80", "[::1]"})
    CHECK_FALSE(split_address(wrong).ok());
}

TEST_CASE("it answers all methods, HEAD without a body") {
  const auto server = open(echo);
  CHECK(http_ask(server->port(), "GET", "/a").body == "GET /a");
  CHECK(http_ask(server->port(), "POST", "/a", "", "hello").body == "POST /a 5");
  const HttpReply head = http_ask(server->port(), "HEAD", "/a");
  CHECK(head.status == 200);
  CHECK(head.body.empty());
}

TEST_CASE("a key with a slash travels in the query") {
  const auto server = open(echo);
  CHECK(http_ask(server->port(), "GET", "/entity?kind=account&key=a%2Fb%22%3C").body ==
        "GET /entity key=a/b\"< kind=account");
}

TEST_CASE("a path that is too long to be one is refused") {
  const auto server = open(echo);
  CHECK(http_ask(server->port(), "GET", "/" + std::string(511, 'a')).status == 200);
  CHECK(http_ask(server->port(), "GET", "/" + std::string(512, 'a')).status == 414);
  CHECK(http_ask(server->port(), "GET", "/" + std::string(7000, 'a')).status == 414);
}

TEST_CASE("a taken port is an error that names it, and not shared in silence") {
  const auto server = open(echo);
  Options options;
  options.host = "127.0.0.1";
  options.port = server->port();
  const auto second = Server::open(std::move(options), echo);
  REQUIRE_FALSE(second.ok());
  CHECK(second.error().code == catga::Code::malformed);
  CHECK(second.error().text.find(':' + std::to_string(server->port())) != std::string::npos);
}

TEST_CASE("a port is free again at once after its server has ended") {
  int port = 0;
  {
    const auto server = open(echo);
    port = server->port();
    CHECK(http_ask(port, "GET", "/").status == 200);
  }
  Options options;
  options.host = "127.0.0.1";
  options.port = port;
  CHECK(Server::open(std::move(options), echo).ok());
}

TEST_CASE("idle connections keep all threads for a second, not for five") {
  const auto server = open(echo, 4);
  std::vector<std::unique_ptr<HttpConnection>> idle;
  for (int i = 0; i < 4; ++i) idle.push_back(std::make_unique<HttpConnection>(server->port()));
  const auto began = steady_clock::now();
  CHECK(http_ask(server->port(), "GET", "/livez").status == 200);
  CHECK(since(began) < milliseconds(3500));
}

TEST_CASE(
    "a probe is answered in time, however many connections are only open, or half a request") {
  const auto server = open(echo);
  std::vector<std::unique_ptr<HttpConnection>> idle;
  for (int i = 0; i < 300; ++i) {
    idle.push_back(std::make_unique<HttpConnection>(server->port()));
    if (i % 10 == 0) idle.back()->send("GET /livez HT");
    const auto began = steady_clock::now();  // httplib alone: a second for each eight of them
    if (i % 100 != 99) continue;
    CHECK(http_ask(server->port(), "GET", "/livez").status == 200);
    CHECK(since(began) < milliseconds(2000));
  }
}

TEST_CASE("while nobody else wants its thread a connection may think for most of a second") {
  const auto server = open(echo, 1);
  HttpConnection connection(server->port());
  for (int i = 0; i < 2; ++i) {
    std::this_thread::sleep_for(milliseconds(500));
    connection.send("GET /a HTTP/1.1\r\nHost: localhost\r\n\r\n");
    CHECK(connection.read_until("GET /a").ends_with("GET /a"));
  }
}

TEST_CASE("answers on a kept connection do not wait for more bytes to send") {
  const auto server = open(echo);
  HttpConnection connection(server->port());
  const auto began = steady_clock::now();
  for (int i = 0; i < 50; ++i) {
    connection.send("GET /a HTTP/1.1\r\nHost: localhost\r\n\r\n");
    CHECK(connection.read_until("GET /a").ends_with("GET /a"));
  }
  CHECK(since(began) < milliseconds(1000));  // with Nagle's algorithm more than 2 s
}

TEST_CASE("a large body is refused before it is taken") {
  const auto server = open(echo);
  const HttpReply reply = http_ask(server->port(), "POST", "/a",
                                   "Content-Type: application/json\r\n", std::string(65537, 'x'));
  CHECK(reply.status == 413);
  CHECK(http_ask(server->port(), "POST", "/a", "Content-Type: application/json\r\n",
                 std::string(65536, 'x'))
            .body == "POST /a 65536");
}

TEST_CASE("a handler that throws is answered with words and heard of") {
  std::string heard;
  Options options;
  options.host = "127.0.0.1";
  options.on_trouble = [&heard](const std::string& what) { heard = what; };
  const auto server = Server::open(
      std::move(options), [](const Request&) -> Answer { throw std::runtime_error("the bug"); });
  REQUIRE(server.ok());
  const HttpReply reply = http_ask((*server)->port(), "GET", "/a");
  CHECK(reply.status == 500);
  CHECK(nlohmann::json::parse(reply.body)["error"]["code"] == "failed");
  CHECK(heard == "GET /a: the bug");
}

TEST_CASE("more connections than may wait are served one after another") {
  const auto server = open(echo, 1, 1);
  std::atomic<int> served{0};
  std::vector<std::thread> clients;
  for (int i = 0; i < 6; ++i)
    clients.emplace_back(
        [&] { served += http_ask(server->port(), "GET", "/").status == 200 ? 1 : 0; });
  for (std::thread& client : clients) client.join();
  CHECK(served == 6);
}

TEST_CASE("a stream sends as it goes, and ends with the server at once") {
  auto alive = std::make_shared<int>(0);
  const std::weak_ptr<int> watched = alive;
  auto server = open([&alive](const Request&) {
    Answer answer;
    answer.type = "text/event-stream";
    answer.stream = [held = std::move(alive), first = true](const Write& write) mutable {
      std::this_thread::sleep_for(milliseconds(20));
      if (!std::exchange(first, false)) return true;
      return write("data: hello\n\n");
    };
    return answer;
  });
  HttpConnection connection(server->port());
  connection.send("GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n");
  CHECK(connection.read_until("data: hello\n\n").find("text/event-stream") != std::string::npos);
  CHECK_FALSE(watched.expired());
  const auto began = steady_clock::now();
  server.reset();
  CHECK(since(began) < milliseconds(2000));
  CHECK(watched.expired());
}
