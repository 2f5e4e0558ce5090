#include "catga/runtime/admin/desk.hpp"

#include "catga/persistence/named_thread.hpp"
#include "catga/runtime/messaging/gateway_request.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <chrono>

namespace catga::admin {

namespace {

using nlohmann::json;
constexpr std::chrono::milliseconds others_patience{500};
constexpr std::size_t queue_most = 256;
constexpr std::size_t slow_threads = 4;

std::string text_in(const json& value) {
  return value.dump(-1, ' ', false, json::error_handler_t::replace);
}

std::string text_at(const json& object, const char* name) {
  const auto found = object.find(name);
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

}  // namespace

Result<Request> read_request(std::string_view body) {
  const json read = json::parse(body, nullptr, false);
  if (!read.is_object()) return Error{Code::malformed, "a question is a JSON object"};
  Request request;
  request.method = text_at(read, "method").empty() ? "GET" : text_at(read, "method");
  request.path = text_at(read, "path");
  request.body = text_at(read, "body");
  const std::string by = text_at(read, "by");
  request.client = by.empty() ? "nats" : by;
  request.may_write = true;  // who may publish here may call every entity too
  if (const auto query = read.find("query"); query != read.end() && query->is_object())
    for (const auto& [name, value] : query->items())
      request.query[name] = value.is_string() ? value.get<std::string>() : text_in(value);
  return request;
}

std::string write_request(const Request& request) {
  return text_in({{"method", request.method},
                  {"path", request.path},
                  {"query", request.query},
                  {"body", request.body},
                  {"by", request.client}});
}

Result<Answer> read_answer(std::string_view body) {
  const json read = json::parse(body, nullptr, false);
  if (!read.is_object() || !read.contains("body") || !read.contains("status") ||
      !read["status"].is_number_integer())
    return Error{Code::malformed, "an answer is a JSON object with status and body"};
  return Answer{read["status"].get<int>(), text_in(read["body"])};
}

std::string write_answer(const Answer& answer) {
  // The body is JSON already: it is put in as it is.
  return "{\"status\":" + std::to_string(answer.status) +
         ",\"body\":" + (answer.body.empty() ? "null" : answer.body) + '}';
}

std::string admin_subject(const std::string& prefix, const std::string& node) {
  return node.empty() ? prefix + "admin" : prefix + "admin." + encode_token(node);
}

Desk::Desk(NatsConnection& nats, std::string prefix, std::string node, std::string process)
    : nats_(nats),
      prefix_(std::move(prefix)),
      node_(std::move(node)),
      replies_(prefix_ + "admin-replies." + process + '.') {}

Desk::~Desk() { close(); }

Status Desk::open(Api& api) {
  api_ = &api;
  answers_ = CATGA_TRY(nats_.subscribe(replies_ + "*.*", "",
                                       [this](const NatsMessage& message) { answered(message); }));
  threads_.push_back(named_thread("catga.admin", [this] { work(quick_); }));
  for (std::size_t i = 0; i < slow_threads; ++i)
    threads_.push_back(named_thread("catga.admin", [this] { work(slow_); }));
  const auto heard = [this](const NatsMessage& message) { asked(message); };
  subscriptions_.push_back(CATGA_TRY(nats_.subscribe(admin_subject(prefix_, ""), "catga", heard)));
  subscriptions_.push_back(CATGA_TRY(nats_.subscribe(admin_subject(prefix_, node_), "", heard)));
  (void)nats_.flush(NatsConnection::subscribe_patience);  // for the gateway's reason
  return Done{};
}

void Desk::close() {
  subscriptions_.clear();
  {
    const std::lock_guard guard(lock_);
    closing_ = true;
    quick_.came.notify_all();
    slow_.came.notify_all();
    for (auto& [number, waiting] : waiting_) waiting->changed.notify_all();
  }
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
  answers_ = {};
}

void Desk::asked(const NatsMessage& message) {
  const std::string to(reply_of(*message));
  if (to.empty()) return;  // nobody waits for it
  Result<Request> request = read_request(body_of(*message));
  if (!request.ok())
    return answer(to, {400, text_in({{"error",
                                      {{"code", "malformed"},
                                       {"message", request.error().text},
                                       {"retry", false}}}})});
  {
    const std::lock_guard guard(lock_);
    if (closing_) return;
    Queue& queue = Api::is_quick(*request) ? quick_ : slow_;
    if (queue.letters.size() < queue_most) {
      queue.letters.push_back({to, std::move(*request)});
      queue.came.notify_one();
      return;
    }
  }
  answer(
      to,
      {429, R"({"error":{"code":"overloaded","message":"too many questions wait","retry":true}})"});
}

void Desk::work(Queue& queue) {
  std::unique_lock guard(lock_);
  while (true) {
    queue.came.wait(guard, [&] { return closing_ || !queue.letters.empty(); });
    if (closing_) return;
    const Letter letter = std::move(queue.letters.front());
    queue.letters.pop_front();
    guard.unlock();
    answer(letter.to, api_->handle(letter.request));
    guard.lock();
  }
}

void Desk::answer(const std::string& to, const Answer& answer) {
  const Status sent = nats_.publish(to, "", write_answer(answer));
  if (sent.ok() || sent.error().code != Code::malformed) return;
  (void)nats_.publish(
      to, "",
      write_answer({500,
                    R"({"error":{"code":"failed","message":"the answer is larger than the )"
                    R"(NATS server lets through: ask for less with ?limit=","retry":false}})"}));
}

std::vector<Told> Desk::ask(const std::vector<std::string>& nodes, const Request& request) {
  auto waiting = std::make_shared<Waiting>();
  for (const std::string& node : nodes) waiting->told.push_back({node, {0, ""}});
  waiting->open = nodes.size();
  const std::string body = write_request(request);
  std::unique_lock guard(lock_);
  const std::uint64_t number = ++next_;
  waiting_[number] = waiting;
  guard.unlock();
  for (std::size_t i = 0; i < nodes.size(); ++i)
    (void)nats_.publish(admin_subject(prefix_, nodes[i]),
                        replies_ + std::to_string(number) + '.' + std::to_string(i), body);
  guard.lock();
  waiting->changed.wait_for(guard, others_patience, [&] { return closing_ || waiting->open == 0; });
  waiting_.erase(number);
  return waiting->told;
}

/// ...admin-replies.<process>.<number of the asking>.<position of the node>
void Desk::answered(const NatsMessage& message) {
  const std::string_view rest = subject_of(*message).substr(replies_.size());
  const auto dot = rest.find('.');
  const auto number = parse_number(rest.substr(0, dot));
  const auto place = parse_number(dot == rest.npos ? "" : rest.substr(dot + 1));
  if (!number.ok() || !place.ok()) return;
  Answer told{0, ""};
  if (!is_no_responders(*message)) {
    if (const auto answer = read_answer(body_of(*message)); answer.ok()) told = *answer;
  }
  const std::lock_guard guard(lock_);
  const auto found = waiting_.find(*number);
  if (found == waiting_.end() || *place >= found->second->told.size()) return;
  Waiting& waiting = *found->second;
  waiting.told[*place].answer = std::move(told);
  if (waiting.open > 0) waiting.open -= 1;
  waiting.changed.notify_all();
}

}  // namespace catga::admin
