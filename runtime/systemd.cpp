#include "catga/runtime/systemd.hpp"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <charconv>
#include <cstddef>
#include <cstdlib>
#include <cstring>

namespace catga {

namespace {
std::string taken(const char* name) {
  const char* const value = std::getenv(name);  // NOLINT(concurrency-mt-unsafe): at start
  std::string text = value == nullptr ? "" : value;
  ::unsetenv(name);  // NOLINT(concurrency-mt-unsafe)
  return text;
}
}  // namespace

Systemd::Systemd() : socket_(taken("NOTIFY_SOCKET")) {
  const std::string time = taken("WATCHDOG_USEC"), of = taken("WATCHDOG_PID");
  if (of.empty() || of == std::to_string(::getpid()))
    std::from_chars(time.data(), time.data() + time.size(), watchdog_us_);
}

void Systemd::say(const std::string& words) const {
  sockaddr_un to{};
  if (socket_.empty() || socket_.size() >= sizeof(to.sun_path)) return;
  to.sun_family = AF_UNIX;
  std::memcpy(to.sun_path, socket_.data(), socket_.size());
  if (socket_.front() == '@') to.sun_path[0] = '\0';
  const int socket = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (socket < 0) return;
  const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + socket_.size());
  // Not delivered: systemd will see for itself.
  (void)::sendto(socket, words.data(), words.size(), MSG_NOSIGNAL | MSG_DONTWAIT,
                 reinterpret_cast<const sockaddr*>(&to), length);
  ::close(socket);
}

void Systemd::well(std::int64_t now_ms) {
  if (watchdog_us_ <= 0 || (said_ms_ != 0 && now_ms - said_ms_ < watchdog_us_ / 2000)) return;
  said_ms_ = now_ms;
  say("WATCHDOG=1");
}

void Systemd::status(const std::string& text) {
  if (text == status_) return;
  status_ = text;
  say("STATUS=" + text);
}

}  // namespace catga
