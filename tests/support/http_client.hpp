// A bare HTTP client on one socket: what a test writes is what goes over the wire.
#pragma once
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <stdexcept>
#include <string>
#include <string_view>

class HttpConnection {
 public:
  explicit HttpConnection(int port) : socket_(::socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(static_cast<std::uint16_t>(port));
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (connect(socket_, reinterpret_cast<const sockaddr*>(&to), sizeof(to)) != 0)
      throw std::runtime_error("nobody listens on port " + std::to_string(port));
  }
  ~HttpConnection() { close(socket_); }
  HttpConnection(const HttpConnection&) = delete;
  HttpConnection& operator=(const HttpConnection&) = delete;

  void send(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t sent = ::send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (sent <= 0) return;  // the server has heard enough
      bytes.remove_prefix(static_cast<std::size_t>(sent));
    }
  }
  /// What comes until `end` is in it, the peer closes, or `patience` is over.
  std::string read_until(std::string_view end,
                         std::chrono::milliseconds patience = std::chrono::seconds(10)) {
    const auto until = std::chrono::steady_clock::now() + patience;
    while (heard_.find(end) == std::string::npos) {
      const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
          until - std::chrono::steady_clock::now());
      pollfd one{socket_, POLLIN, 0};
      if (left.count() <= 0 || poll(&one, 1, static_cast<int>(left.count())) <= 0) break;
      char bytes[4096];
      const ssize_t got = recv(socket_, bytes, sizeof(bytes), 0);
      if (got <= 0) break;
      heard_.append(bytes, static_cast<std::size_t>(got));
    }
    const auto at = heard_.find(end);
    const std::size_t length = at == std::string::npos ? heard_.size() : at + end.size();
    std::string text = heard_.substr(0, length);
    heard_.erase(0, length);
    return text;
  }

 private:
  int socket_;
  std::string heard_;
};

struct HttpReply {
  int status = 0;
  std::string head, body;
};

/// One request on a connection of its own. `more`: headers, each with its line end.
inline HttpReply http_ask(int port, std::string_view method, std::string_view target,
                          std::string_view more = "", std::string_view body = "") {
  HttpConnection connection(port);
  std::string request(method);
  request += ' ';
  request += target;
  request += " HTTP/1.1\r\nConnection: close\r\n";
  if (more.find("Host:") == more.npos) request += "Host: localhost\r\n";
  request += more;
  if (!body.empty()) request += "Content-Length: " + std::to_string(body.size()) + "\r\n";
  request += "\r\n";
  request += body;
  connection.send(request);
  HttpReply reply;
  reply.head = connection.read_until("\r\n\r\n");
  reply.body = connection.read_until(std::string_view("\0never", 6));
  if (reply.head.size() > 12) reply.status = std::stoi(reply.head.substr(9, 3));
  return reply;
}
