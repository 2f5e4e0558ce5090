// catga-chaos-proxy: TCP links that can be cut without being closed, for machines on which a test
// may not play with the network.
//
// Commands on standard input, a line each, answered by one line on standard output:
//   open NAME PORT [FROM=TO]...  listens on a free loopback port and carries every connection to
//                                PORT; in what comes back each text FROM becomes TO. "port N"
//   cut NAME up|down|both        from now on nothing passes in this direction (up: to PORT). What is
//                                sent meanwhile waits, as TCP would repeat it; ends wait too. "done"
//   heal NAME                    everything passes again. "done"
//   reset NAME                   all connections of the link end at once. "done"
// It ends with its standard input.
//
// FROM=TO is for Redis Sentinel, which tells its callers a port of Redis: they shall go there
// through a link too. Both texts have the same length; one that is split between two packets is
// missed, which answers as short as Sentinel's do not suffer.
//
// Two threads per connection, one per direction: simple, and quick enough for some dozens.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <condition_variable>
#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <sstream>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

namespace {

enum class Direction : std::uint8_t { up, down };

/// A socket that closes itself.
class Socket {
 public:
  explicit Socket(int number) : number_(number) {}
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;
  ~Socket() {
    if (number_ >= 0) ::close(number_);
  }
  int number() const { return number_; }

 private:
  int number_;
};

sockaddr_in loopback(int port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

std::shared_ptr<Socket> connect_to(int port) {
  auto socket = std::make_shared<Socket>(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const sockaddr_in address = loopback(port);
  if (::connect(socket->number(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    return nullptr;
  return socket;
}

void send_at_once(int socket) {
  const int on = 1;
  ::setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

bool send_all(int socket, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = ::send(socket, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent <= 0) return false;
    bytes.remove_prefix(static_cast<std::size_t>(sent));
  }
  return true;
}

/// One way to one server, and its connections. Thread-safe; lives as long as the program.
class Link {
 public:
  using Words = std::vector<std::pair<std::string, std::string>>;
  Link(int target, Words replaced) : target_(target), replaced_(std::move(replaced)) {}

  /// The port it listens on, or 0.
  int listen();
  void cut(bool up, bool down);
  void heal() { cut(false, false); }
  void reset();

 private:
  void accept_all();
  void carry(const std::shared_ptr<Socket>& from, const std::shared_ptr<Socket>& to,
             Direction direction);
  void wait_until_open(Direction direction);
  void replace(std::string& bytes) const;

  const int target_;
  const Words replaced_;
  Socket listener_{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  std::mutex mutex_;
  std::condition_variable changed_;
  bool cut_up_ = false, cut_down_ = false;
  std::set<std::shared_ptr<Socket>> open_;
};

int Link::listen() {
  sockaddr_in address = loopback(0);
  socklen_t size = sizeof address;
  auto* generic = reinterpret_cast<sockaddr*>(&address);
  if (::bind(listener_.number(), generic, size) != 0 || ::listen(listener_.number(), 128) != 0 ||
      ::getsockname(listener_.number(), generic, &size) != 0)
    return 0;
  std::thread([this] { accept_all(); }).detach();
  return ntohs(address.sin_port);
}

void Link::cut(bool up, bool down) {
  const std::lock_guard lock(mutex_);
  cut_up_ = up;
  cut_down_ = down;
  changed_.notify_all();
}

void Link::reset() {
  const std::lock_guard lock(mutex_);
  for (const auto& socket : open_) ::shutdown(socket->number(), SHUT_RDWR);
}

void Link::accept_all() {
  for (;;) {
    auto caller =
        std::make_shared<Socket>(::accept4(listener_.number(), nullptr, nullptr, SOCK_CLOEXEC));
    if (caller->number() < 0) continue;
    const auto server = connect_to(target_);
    if (!server) continue;  // nobody there: the caller's connection ends
    send_at_once(caller->number());
    send_at_once(server->number());
    {
      const std::lock_guard lock(mutex_);
      open_.insert(caller);
      open_.insert(server);
    }
    std::thread([this, caller, server] { carry(caller, server, Direction::up); }).detach();
    std::thread([this, caller, server] { carry(server, caller, Direction::down); }).detach();
  }
}

/// Until one side ends: then the other learns it, once the link is open.
void Link::carry(const std::shared_ptr<Socket>& from, const std::shared_ptr<Socket>& to,
                 Direction direction) {
  std::string bytes;
  for (;;) {
    bytes.resize(64 * 1024);
    const ssize_t got = ::recv(from->number(), bytes.data(), bytes.size(), 0);
    if (got < 0 && errno == EINTR) continue;
    wait_until_open(direction);
    if (got <= 0) break;
    bytes.resize(static_cast<std::size_t>(got));
    if (direction == Direction::down) replace(bytes);
    if (!send_all(to->number(), bytes)) break;
  }
  ::shutdown(to->number(), SHUT_RDWR);
  ::shutdown(from->number(), SHUT_RDWR);
  const std::lock_guard lock(mutex_);
  open_.erase(from);
  open_.erase(to);
}

void Link::wait_until_open(Direction direction) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock,
                [this, direction] { return direction == Direction::up ? !cut_up_ : !cut_down_; });
}

void Link::replace(std::string& bytes) const {
  for (const auto& [from, to] : replaced_)
    for (auto at = bytes.find(from); at != bytes.npos; at = bytes.find(from, at + to.size()))
      bytes.replace(at, from.size(), to);
}

class Proxy {
 public:
  std::string answer(const std::string& line) {
    std::istringstream words(line);
    std::string verb, name;
    words >> verb >> name;
    if (verb == "open") return open(name, words);
    const auto found = links_.find(name);
    if (found == links_.end()) return "no link " + name;
    if (verb == "cut") {
      std::string direction;
      words >> direction;
      found->second->cut(direction != "down", direction != "up");
    } else if (verb == "heal") {
      found->second->heal();
    } else if (verb == "reset") {
      found->second->reset();
    } else {
      return "no command " + verb;
    }
    return "done";
  }

 private:
  std::string open(const std::string& name, std::istringstream& words) {
    int target = 0;
    words >> target;
    Link::Words replaced;
    for (std::string pair; words >> pair;) {
      const auto equals = pair.find('=');
      if (equals == pair.npos || pair.size() != 2 * equals + 1) return "not FROM=TO: " + pair;
      replaced.emplace_back(pair.substr(0, equals), pair.substr(equals + 1));
    }
    auto link = std::make_unique<Link>(target, std::move(replaced));
    const int port = link->listen();
    if (port == 0) return "no free port";
    links_[name] = std::move(link);
    return "port " + std::to_string(port);
  }

  std::map<std::string, std::unique_ptr<Link>> links_;
};

}  // namespace

int main() {
  ::signal(SIGPIPE, SIG_IGN);
  Proxy proxy;
  for (std::string line; std::getline(std::cin, line);)
    std::cout << proxy.answer(line) << std::endl;
  std::_Exit(0);  // connections may be open, with threads that wait for them
}
