#include "catga/runtime/http/server.hpp"

#include "catga/persistence/named_thread.hpp"

#include <httplib.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>

namespace catga::http {

namespace {

constexpr std::size_t path_most = 512;  // keys of entities travel in the query

/// httplib's pool, with a bound: whoever accepts waits for room.
class BoundedPool final : public httplib::TaskQueue {
 public:
  BoundedPool(std::size_t threads, std::size_t waiting_most) : waiting_most_(waiting_most) {
    for (std::size_t i = 0; i < threads; ++i)
      threads_.push_back(named_thread("catga.http", [this] { work(); }));
  }

  void enqueue(std::function<void()> task) override {
    std::unique_lock guard(lock_);
    room_.wait(guard, [this] { return tasks_.size() < waiting_most_ || stopping_; });
    tasks_.push_back(std::move(task));
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
        work_.wait(guard, [this] { return !tasks_.empty() || stopping_; });
        if (tasks_.empty()) return;
        task = std::move(tasks_.front());
        tasks_.pop_front();
      }
      room_.notify_one();
      task();
    }
  }

  const std::size_t waiting_most_;
  std::mutex lock_;
  std::condition_variable work_, room_;
  std::deque<std::function<void()>> tasks_;
  bool stopping_ = false;
  std::vector<std::thread> threads_;
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
  httplib::Server server;
  Handler handler;
  std::function<void(const std::string&)> on_trouble;
  std::atomic<bool> stopping{false};
  int port = 0;
  std::thread thread;

  void configure(const Options& options) {
    server.new_task_queue = [threads = options.threads, most = options.waiting_most] {
      return new BoundedPool(threads, most);  // NOLINT: httplib deletes it
    };
    server.set_socket_options(reuse_address);
    server.set_keep_alive_timeout(1);
    server.set_keep_alive_max_count(1000);
    server.set_read_timeout(2);
    server.set_write_timeout(5);
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
