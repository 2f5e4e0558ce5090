// What a service tells systemd, heard on a socket of our own.
#include <catga/runtime/systemd.hpp>

#include <doctest/doctest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <string>

using catga::Systemd;

namespace {

/// Where systemd would listen.
class Ear {
 public:
  explicit Ear(const std::string& name) : name_(name) {
    sockaddr_un own{};
    own.sun_family = AF_UNIX;
    REQUIRE(name.size() < sizeof(own.sun_path));
    std::memcpy(own.sun_path, name.data(), name.size());
    if (name.front() == '@') own.sun_path[0] = '\0';
    const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name.size());
    REQUIRE(::bind(socket_, reinterpret_cast<const sockaddr*>(&own), length) == 0);
  }
  ~Ear() {
    ::close(socket_);
    std::filesystem::remove(name_);
  }
  Ear(const Ear&) = delete;
  Ear& operator=(const Ear&) = delete;
  /// The next words; empty if none wait.
  std::string hear() {
    char words[512];
    const ssize_t length = ::recv(socket_, words, sizeof(words), MSG_DONTWAIT);
    return length < 0 ? std::string() : std::string(words, static_cast<std::size_t>(length));
  }

 private:
  const std::string name_;
  const int socket_ = ::socket(AF_UNIX, SOCK_DGRAM, 0);
};

std::string here(const std::string& name) {
  return (std::filesystem::temp_directory_path() / (name + std::to_string(::getpid()))).string();
}

}  // namespace

TEST_CASE(
    "systemd is told by a path and by an abstract name, and nobody waits where nobody listens") {
  for (const std::string& name :
       {here("catga-notify-"), "@catga-notify-" + std::to_string(::getpid())}) {
    CAPTURE(name);
    Ear ear(name);
    const Systemd systemd(name, 0);
    systemd.say("READY=1");
    CHECK(ear.hear() == "READY=1");
    CHECK(ear.hear().empty());
  }
  Systemd("", 0).say("READY=1");
  Systemd(here("catga-nobody-"), 0).say("READY=1");
  Systemd(std::string(500, 'x'), 0).say("READY=1");
}

TEST_CASE("the watchdog is fed at half of its time, and a status is said when it changes") {
  const std::string name = here("catga-watchdog-");
  Ear ear(name);
  Systemd systemd(name, 2'000'000);
  for (std::int64_t now = 1000; now < 4000; now += 100) systemd.well(now);
  for (int i = 0; i < 3; ++i) CHECK(ear.hear() == "WATCHDOG=1");
  CHECK(ear.hear().empty());
  systemd.status("serving 5 shards");
  systemd.status("serving 5 shards");
  systemd.status("serving 6 shards");
  CHECK(ear.hear() == "STATUS=serving 5 shards");
  CHECK(ear.hear() == "STATUS=serving 6 shards");
  CHECK(ear.hear().empty());
  Systemd none(name, 0);
  none.well(1000);
  CHECK(ear.hear().empty());
}

TEST_CASE("systemd's variables are for this process and not for its children") {
  const std::string name = here("catga-inherit-");
  Ear ear(name);
  ::setenv("NOTIFY_SOCKET", name.c_str(), 1);
  ::setenv("WATCHDOG_USEC", "1000000", 1);
  ::setenv("WATCHDOG_PID", "1", 1);  // of somebody else
  Systemd systemd;
  CHECK(::getenv("NOTIFY_SOCKET") == nullptr);
  CHECK(::getenv("WATCHDOG_USEC") == nullptr);
  systemd.well(1000);
  CHECK(ear.hear().empty());
  systemd.say("READY=1");
  CHECK(ear.hear() == "READY=1");
}
