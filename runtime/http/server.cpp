#include "catga/runtime/http/server.hpp"

#include "catga/persistence/named_thread.hpp"

#include <httplib.h>
#include <netdb.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>

namespace catga::http {

namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr std::size_t path_most = 512;  // keys of entities travel in the query
constexpr milliseconds write_most(5000), look_every(10);

/// How long a connection may keep a thread without saying anything, while nobody else wants the thread, and while somebody
/// does: a probe must not wait behind hundreds of connections that are only open.
struct Patience {
  milliseconds calm, crowded;
};
constexpr Patience for_a_request{milliseconds(1000), milliseconds(20)};
constexpr Patience for_its_rest{milliseconds(2000), milliseconds(250)};

/// httplib's pool, with a bound: whoever accepts waits for room.
class BoundedPool final : public httplib::TaskQueue {
 public:
  BoundedPool(std::size_t threads, std::size_t waiting_most, std::atomic<bool>& crowded)
      : waiting_most_(waiting_most), crowded_(crowded) {
    for (std::size_t i = 0; i < threads; ++i)
      threads_.push_back(named_thread("catga.http", [this] { work(); }));
  }

  void enqueue(std::function<void()> task) override {
    std::unique_lock guard(lock_);
    room_.wait(guard, [this] { return tasks_.size() < waiting_most_ || stopping_; });
    tasks_.push_back(std::move(task));
    crowded_ = tasks_.size() > idle_;
    guard.unlock();
    work_.notify_one();
  }

  void shutdown() override {
    {
      const std::lock_guard guard(lock_);
      stopping_ = true;
    }
    work_.notify_all();
    room_.notify_all();
    for (std::thread& thread : threads_) thread.join();
  }

 private:
  void work() {
    for (;;) {
      std::function<void()> task;
      {
        std::unique_lock guard(lock_);
        ++idle_;
        work_.wait(guard, [this] { return !tasks_.empty() || stopping_; });
        --idle_;
        if (tasks_.empty()) return;
        task = std::move(tasks_.front());
        tasks_.pop_front();
        crowded_ = tasks_.size() > idle_;
      }
      room_.notify_one();
      task();
    }
  }

  const std::size_t waiting_most_;
  std::atomic<bool>& crowded_;  ///< somebody waits, and no thread is free
  std::size_t idle_ = 0;        ///< threads without a task
  std::mutex lock_;
  std::condition_variable work_, room_;
  std::deque<std::function<void()>> tasks_;
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

bool wait_for(int socket, short what, milliseconds most) {
  pollfd one{socket, what, 0};
  return ::poll(&one, 1, static_cast<int>(most.count())) > 0;
}

/// One connection. httplib's own waits for an idle peer as long whether somebody else wants the thread or not.
class Connection final : public httplib::Stream {
 public:
  Connection(socket_t socket, const std::atomic<bool>& crowded, const std::atomic<bool>& stopping)
      : socket_(socket), crowded_(crowded), stopping_(stopping) {}

  /// The first bytes of the next request are there. False: none came, and the connection ends.
  bool next_request() {
    const bool there = at_ < got_ || comes(for_a_request, Clock::now());
    began_ = Clock::now();
    return there;
  }

  bool is_readable() const override { return at_ < got_ || rest_comes(); }
  bool is_writable() const override { return wait_for(socket_, POLLOUT, write_most); }
  ssize_t read(char* to, std::size_t size) override {
    if (at_ == got_) {
      if (!rest_comes()) return -1;
      const ssize_t got = ::recv(socket_, bytes_.data(), bytes_.size(), 0);
      if (got <= 0) return got;
      at_ = 0;
      got_ = static_cast<std::size_t>(got);
    }
    const std::size_t some = std::min(size, got_ - at_);
    std::copy_n(bytes_.begin() + static_cast<std::ptrdiff_t>(at_), some, to);
    at_ += some;
    return static_cast<ssize_t>(some);
  }
  ssize_t write(const char* from, std::size_t size) override {
    return is_writable() ? ::send(socket_, from, size, MSG_NOSIGNAL) : -1;
  }
  void get_remote_ip_and_port(std::string& ip, int& port) const override {
    name(ip, port, ::getpeername);
  }
  void get_local_ip_and_port(std::string& ip, int& port) const override {
    name(ip, port, ::getsockname);
  }
  socket_t socket() const override { return socket_; }

 private:
  /// Whoever sends byte by byte gets no more time than others, while others wait.
  bool rest_comes() const { return comes(for_its_rest, crowded_ ? began_ : Clock::now()); }
  bool comes(Patience patience, Clock::time_point from) const {
    while (!stopping_) {
      if (wait_for(socket_, POLLIN, look_every)) return true;
      if (Clock::now() - from >= (crowded_ ? patience.crowded : patience.calm)) return false;
    }
    return false;
  }
  template <class Asked>
  void name(std::string& ip, int& port, Asked asked) const {
    sockaddr_storage address{};
    socklen_t length = sizeof(address);
    auto* const out = reinterpret_cast<sockaddr*>(&address);
    std::array<char, NI_MAXHOST> host{};
    std::array<char, NI_MAXSERV> service{};
    if (asked(socket_, out, &length) != 0 ||
        ::getnameinfo(out, length, host.data(), host.size(), service.data(), service.size(),
                      NI_NUMERICHOST | NI_NUMERICSERV) != 0)
      return;
    ip = host.data();
    port = std::atoi(service.data());
  }

  const socket_t socket_;
  const std::atomic<bool>&crowded_, &stopping_;
  Clock::time_point began_ = Clock::now();
  std::array<char, 4096> bytes_;
  std::size_t at_ = 0, got_ = 0;
};

class Listener final : public httplib::Server {
 public:
  std::atomic<bool> crowded{false}, stopping{false};

 private:
  bool process_and_close_socket(socket_t socket) override {
    Connection connection(socket, crowded, stopping);
    for (std::size_t left = keep_alive_max_count_; left != 0 && connection.next_request(); --left) {
      bool closed = false;
      if (!process_request(connection, left == 1, closed, nullptr) || closed) break;
    }
    ::shutdown(socket, SHUT_RDWR);
    ::close(socket);
    return true;
  }
};

std::string lower(std::string_view text) {
  std::string out(text);
  std::ranges::transform(out, out.begin(), [](char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  });
  return out;
}

Request request_of(const httplib::Request& from) {
  Request request;
  request.method = from.method;
  request.path = from.path;
  for (const auto& [name, value] : from.params) request.query.emplace(name, value);
  for (const auto& [name, value] : from.headers) request.headers.emplace(lower(name), value);
  request.body = from.body;
  request.client = from.remote_addr;
  return request;
}

/// A dead address is refused as an address; SO_REUSEPORT would let two nodes share one.
void reuse_address(socket_t socket) {
  const int yes = 1;
  setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
}

}  // namespace

struct Server::Private {
  Listener server;
  Handler handler;
  std::function<void(const std::string&)> on_trouble;
  std::atomic<bool>& stopping = server.stopping;
  int port = 0;
  std::thread thread;

  void configure(const Options& options) {
    server.new_task_queue = [this, threads = options.threads, most = options.waiting_most] {
      return new BoundedPool(threads, most, server.crowded);  // NOLINT: httplib deletes it
    };
    server.set_socket_options(reuse_address);
    server.set_keep_alive_max_count(1000);
    server.set_tcp_nodelay(true);
    server.set_payload_max_length(options.body_most);
    // Paths are matched by std::regex, which recurses for each character.
    server.set_pre_routing_handler(
        [](const httplib::Request& request, httplib::Response& response) {
          if (request.path.size() <= path_most) return httplib::Server::HandlerResponse::Unhandled;
          put(error_answer(414, "malformed", "the path is too long"), response);
          return httplib::Server::HandlerResponse::Handled;
        });
    const auto all = [this](const httplib::Request& request, httplib::Response& response) {
      answer(request, response);
    };
    const std::string any = R"([\s\S]*)";
    server.Get(any, all).Post(any, all).Put(any, all).Patch(any, all).Delete(any, all);
    server.Options(any, all);
    server.set_exception_handler([this](const httplib::Request& request,
                                        httplib::Response& response, std::exception_ptr thrown) {
      std::string what = "an exception that is no std::exception";
      try {
        std::rethrow_exception(thrown);
      } catch (const std::exception& trouble) {
        what = trouble.what();
      } catch (...) {
      }
      if (on_trouble) on_trouble(request.method + ' ' + request.path + ": " + what);
      put(error_answer(500, "failed", "a bug in this node; its log has the words"), response);
    });
    // What httplib answers itself has no body; 413 and 400 get words too.
    server.set_error_handler([](const httplib::Request&, httplib::Response& response) {
      if (!response.body.empty()) return;
      const bool large = response.status == 413;
      put(error_answer(response.status, "malformed",
                       large ? "the body is too large: 64 KiB is the most"
                             : "this is no request that can be read"),
          response);
    });
  }

  static void put(Answer&& answer, httplib::Response& response) {
    response.status = answer.status;
    for (const auto& [name, value] : answer.headers) response.set_header(name, value);
    response.set_content(answer.body, answer.type);
  }

  void answer(const httplib::Request& from, httplib::Response& response) {
    Answer answer = handler(request_of(from));
    if (!answer.stream) return put(std::move(answer), response);
    response.status = answer.status;
    for (const auto& [name, value] : answer.headers) response.set_header(name, value);
    response.set_chunked_content_provider(answer.type, [this, stream = std::move(answer.stream)](
                                                           std::size_t, httplib::DataSink& sink) {
      const bool goes_on = stream([this, &sink](std::string_view bytes) {
        return !stopping && sink.write(bytes.data(), bytes.size());
      });
      if (!goes_on || stopping) sink.done();
      return true;
    });
  }
};

Server::Server() : private_(std::make_unique<Private>()) {}

Result<std::unique_ptr<Server>> Server::open(Options options, Handler handler) {
  std::unique_ptr<Server> server(new Server());  // NOLINT: its constructor is private
  Private& self = *server->private_;
  self.handler = std::move(handler);
  self.on_trouble = options.on_trouble;
  self.configure(options);
  const bool any = options.port == 0;
  const int bound = any ? self.server.bind_to_any_port(options.host) : options.port;
  const bool done = any ? bound > 0 : self.server.bind_to_port(options.host, options.port);
  if (!done) {
    return Error{Code::malformed,
                 "cannot listen on " + options.host + ':' + std::to_string(options.port) +
                     ": the port is taken by another program, or the address is not one of this "
                     "machine; choose another, or off"};
  }
  self.port = bound;
  self.thread = named_thread("catga.http", [&self] { self.server.listen_after_bind(); });
  while (!self.server.is_running())
    std::this_thread::yield();  // stop() before it would not stop it
  return server;
}

Server::~Server() {
  Private& self = *private_;
  self.stopping = true;
  if (!self.thread.joinable()) return;
  self.server.stop();
  self.thread.join();
}

int Server::port() const { return private_->port; }

}  // namespace catga::http
