// hiredis, and nothing above it knows.
#include "catga/persistence/redis/connection.hpp"

#include "catga/persistence/redis/primary_watch.hpp"

#include <hiredis/hiredis.h>
#include <poll.h>
#include <sys/time.h>

#include <algorithm>
#include <cassert>
#include <charconv>
#include <csignal>
#include <cstdlib>
#include <future>
#include <utility>

namespace catga {
namespace {

using std::chrono::milliseconds;

timeval timeval_of(milliseconds wait) {
  const auto ms = std::max<std::int64_t>(wait.count(), 1);  // 0 would mean: for ever
  return {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};
}

std::string seconds_text(std::int64_t ms) {
  const std::int64_t tenths = (std::abs(ms) + 50) / 100;
  return std::to_string(tenths / 10) + '.' + std::to_string(tenths % 10) + " s";
}

bool begins_with_any(std::string_view text, std::initializer_list<std::string_view> words) {
  const std::string_view first = text.substr(0, text.find(' '));
  return std::find(words.begin(), words.end(), first) != words.end();
}

std::int64_t local_ms() {
  return std::chrono::duration_cast<milliseconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

}  // namespace

// ---- replies ------------------------------------------------------------------------------------

bool Reply::is_error() const { return reply_ != nullptr && reply_->type == REDIS_REPLY_ERROR; }
bool Reply::is_array() const { return reply_ != nullptr && reply_->type == REDIS_REPLY_ARRAY; }
bool Reply::is_text() const {
  return reply_ != nullptr &&
         (reply_->type == REDIS_REPLY_STRING || reply_->type == REDIS_REPLY_STATUS);
}
std::size_t Reply::size() const { return is_array() ? reply_->elements : 0; }
Reply Reply::operator[](std::size_t i) const {
  return i < size() ? Reply(reply_->element[i]) : Reply();
}
std::string_view Reply::text() const {
  return is_text() || is_error() ? std::string_view(reply_->str, reply_->len) : std::string_view{};
}
std::int64_t Reply::number() const {
  if (reply_ == nullptr) return 0;
  if (reply_->type == REDIS_REPLY_INTEGER) return reply_->integer;
  std::int64_t number = 0;
  const std::string_view digits = text();
  std::from_chars(digits.data(), digits.data() + digits.size(), number);
  return number;
}

void OwnedReply::Free::operator()(redisReply* reply) const noexcept { freeReplyObject(reply); }

Error error_of(std::string_view redis_error) {
  const std::string says = "Redis says: " + std::string(redis_error);
  if (begins_with_any(redis_error, {"OOM"})) {
    return {Code::overloaded, says + ". Nothing was written; give Redis more memory (maxmemory)"};
  }
  if (begins_with_any(redis_error, {"MISCONF"})) {
    return {Code::unavailable, says + ". Nothing was written; look at the disk of Redis"};
  }
  if (begins_with_any(redis_error, {"LOADING", "NOREPLICAS", "BUSY", "MASTERDOWN", "CLUSTERDOWN",
                                    "TRYAGAIN", "READONLY", "NOSCRIPT"})) {
    return {Code::unavailable, says + ". Nothing was written; the request may be repeated"};
  }
  return {Code::failed, says};
}

std::string_view info_field(std::string_view info, std::string_view name) {
  while (!info.empty()) {
    const auto end = info.find('\n');
    std::string_view line = info.substr(0, end);
    info.remove_prefix(end == info.npos ? info.size() : end + 1);
    if (!line.starts_with(name) || line.substr(name.size(), 1) != ":") continue;
    line.remove_prefix(name.size() + 1);
    return line.substr(0, line.find('\r'));
  }
  return {};
}

// ---- the connection -----------------------------------------------------------------------------

void Connection::Free::operator()(redisContext* context) const noexcept { redisFree(context); }

Connection::Connection(const RedisOptions& options)
    : options_(options), server_(describe(options)) {}
Connection::~Connection() = default;

milliseconds Connection::left() const {
  const auto left =
      std::chrono::duration_cast<milliseconds>(opened_by_ - std::chrono::steady_clock::now());
  return std::max(left, milliseconds{1});
}

/// The error is the end of a sentence that begins with the server.
Status Connection::connect(const RedisAddress& address) {
  context_.reset(redisConnectWithTimeout(address.host.c_str(), address.port, timeval_of(left())));
  patience_ = milliseconds{0};
  if (context_ == nullptr) return Error{Code::unavailable, "cannot be reached (no memory)"};
  if (context_->err == 0) return Done{};
  const Error error{Code::unavailable, "cannot be reached (" + std::string(context_->errstr) + ')'};
  context_.reset();
  return error;
}

Result<OwnedReply> Connection::ask(std::initializer_list<std::string_view> words) {
  append(std::span(words.begin(), words.size()));
  return read_within(left(), Code::unavailable);
}

Result<ServerFacts> Connection::open() {
  const std::uint64_t began = options_.primary ? options_.primary->term() : 0;
  opened_by_ = std::chrono::steady_clock::now() + options_.connect_timeout;
  auto facts =
      options_.sentinels.empty() ? open_at({options_.host, options_.port}) : open_by_sentinels();
  if (!facts || !facts->primary || !options_.primary) return facts;
  const auto term = options_.primary->met(facts->run_id, at_, began);
  if (!term) {
    context_.reset();
    return Error{Code::unavailable, server_ +
                                        " was found while another connection found another "
                                        "primary; looking again"};
  }
  term_ = *term;
  return facts;
}

/// What the server's first refusal means for opening a connection.
Error Connection::refused(std::string_view says) const {
  if (begins_with_any(says, {"NOAUTH"})) {
    return {Code::malformed, server_ + " wants a password; set redis.password"};
  }
  if (begins_with_any(says, {"WRONGPASS", "NOPERM"}) || says.find("AUTH") != says.npos ||
      says.find("DB index") != says.npos) {
    return {Code::malformed, server_ + " refuses the login or the database (" + std::string(says) +
                                 "); check redis.url, redis.user and redis.password"};
  }
  Error error = error_of(says);
  if (error.code == Code::overloaded || error.code == Code::failed) error.code = Code::unavailable;
  error.text = server_ + " is not ready: " + std::string(says);
  return error;
}

Result<ServerFacts> Connection::open_at(const RedisAddress& address) {
  at_ = address;
  server_ = "Redis at " + masked_url(options_, address);
  if (Status connected = connect(address); !connected) {
    const char* check =
        options_.sentinels.empty() ? "redis.url and that Redis runs" : "that Redis runs there";
    return Error{Code::unavailable, server_ + ' ' + connected.error().text + "; check " + check};
  }
  if (!options_.password.empty()) {
    auto auth = options_.user.empty() ? ask({"AUTH", options_.password})
                                      : ask({"AUTH", options_.user, options_.password});
    if (!auth) return auth.error();
    if (auth->view().is_error()) return refused(auth->view().text());
  }
  // PING comes first of all that could matter: WAIT as the first command of a connection proves
  // nothing.
  const std::string database = std::to_string(options_.database);
  constexpr std::size_t commands = 4;
  const std::string_view questions[commands][2] = {
      {"PING", ""}, {"SELECT", database}, {"INFO", "server"}, {"INFO", "replication"}};
  for (const auto& words : questions) append(std::span(words, words[1].empty() ? 1 : 2));
  ServerFacts facts;
  Error trouble{Code::failed, ""};
  for (std::size_t i = 0; i < commands; ++i) {
    auto answer = read_within(left(), Code::unavailable);
    if (!answer) return answer.error();
    const Reply reply = answer->view();
    // With a full disk PING is refused like a write. The connection is good: let requests be told
    // themselves. A replica that has lost its primary may refuse PING too; its role says enough.
    const bool fine = i == 0 && begins_with_any(reply.text(), {"MISCONF", "MASTERDOWN"});
    if (reply.is_error() && !fine && trouble.text.empty()) trouble = refused(reply.text());
    if (i == 2) {
      facts.version = info_field(reply.text(), "redis_version");
      facts.run_id = info_field(reply.text(), "run_id");
    }
    if (i == 3) facts.primary = info_field(reply.text(), "role") == "master";
  }
  if (!trouble.text.empty()) {
    context_.reset();
    return trouble;
  }
  return facts;
}

Result<RedisAddress> Connection::ask_sentinel(const RedisAddress& sentinel) {
  opened_by_ = std::chrono::steady_clock::now() + options_.connect_timeout / 2;
  server_ = "the sentinel " + text_of(sentinel);
  if (Status connected = connect(sentinel); !connected) return connected.error();
  if (!options_.sentinel_password.empty()) {
    append(std::initializer_list<std::string_view>{"AUTH", options_.sentinel_password});
  }
  append(std::initializer_list<std::string_view>{"SENTINEL", "GET-MASTER-ADDR-BY-NAME",
                                                 options_.sentinel_master});
  if (!options_.sentinel_password.empty()) {
    // What is wrong with the login the next answer says too; a sentinel that wants none does no
    // harm.
    (void)read_within(left(), Code::unavailable);
  }
  auto answer = read_within(left(), Code::unavailable);
  context_.reset();
  if (!answer) return Error{Code::unavailable, "does not answer"};
  return primary_in(answer->view(), options_.sentinel_master);
}

Result<RedisAddress> primary_in(Reply answer, const std::string& master) {
  if (answer.is_error()) {
    const std::string says(answer.text());
    if (begins_with_any(says, {"NOAUTH", "WRONGPASS", "NOPERM"})) {
      return Error{Code::malformed,
                   "refuses the login (" + says + "; check redis.sentinel_password)"};
    }
    const bool no_sentinel = says.starts_with("ERR unknown command");
    return Error{Code::unavailable,
                 no_sentinel ? "is no sentinel but another server" : "says: " + says};
  }
  if (!answer.is_array()) return Error{Code::unavailable, "does not know " + master};
  const std::int64_t port = answer[1].number();
  if (answer.size() != 2 || answer[0].text().empty() || port < 1 || port > 65535) {
    return Error{Code::unavailable, "gives an answer that is no address"};
  }
  return RedisAddress{.host = std::string(answer[0].text()), .port = static_cast<int>(port)};
}

/// One round. All sentinels that lead nowhere are in the error, each with its reason.
Result<ServerFacts> Connection::open_by_sentinels() {
  const std::size_t count = options_.sentinels.size();
  const std::size_t first = options_.primary ? options_.primary->first_sentinel() : 0;
  std::vector<RedisAddress> tried;
  Error error{Code::unavailable, ""};
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t place = (first + i) % count;
    const RedisAddress& sentinel = options_.sentinels[place];
    const auto until = std::chrono::steady_clock::now() + options_.connect_timeout;
    const auto leads_nowhere = [&error, &sentinel](const std::string& why) {
      error.text += (error.text.empty() ? "" : "; ") + text_of(sentinel) + ' ' + why;
    };
    const auto named = ask_sentinel(sentinel);
    if (!named) {
      if (named.error().code == Code::malformed) error.code = Code::malformed;
      leads_nowhere(named.error().text);
      continue;
    }
    const std::string names = "names " + text_of(*named);
    if (std::find(tried.begin(), tried.end(), *named) != tried.end()) {
      leads_nowhere(names + " too");
      continue;
    }
    tried.push_back(*named);
    opened_by_ = until;
    auto facts = open_at(*named);
    if (facts && facts->primary) {
      if (options_.primary) options_.primary->trust_sentinel(place);
      return facts;
    }
    context_.reset();
    if (!facts && facts.error().code == Code::malformed) error.code = Code::malformed;
    leads_nowhere(names + (facts ? ", a replica" : ": " + facts.error().text));
  }
  server_ = describe(options_);
  error.text = tried.empty() ? "no sentinel knows master " + options_.sentinel_master + ": " +
                                   error.text + ". Check redis.sentinels and redis.sentinel_master"
                             : "no sentinel leads to the primary of master " +
                                   options_.sentinel_master + ": " + error.text;
  return error;
}

bool Connection::current() const {
  return options_.primary == nullptr || options_.primary->term() == term_;
}

Status Connection::load_scripts() {
  for (std::size_t i = 0; i < script_count; ++i) {
    const std::string text = text_of(static_cast<Script>(i));
    append(std::initializer_list<std::string_view>{"SCRIPT", "LOAD", text});
  }
  Status loaded = Done{};
  for (std::size_t i = 0; i < script_count; ++i) {
    auto answer = read();
    if (!answer) return answer.error();
    if (answer->view().is_error()) {
      loaded = Error{Code::unavailable, server_ + " does not take the script " +
                                            std::string(name_of(static_cast<Script>(i))) + ": " +
                                            std::string(answer->view().text())};
    }
    shas_[i] = answer->view().text();
  }
  return loaded;
}

void Connection::append(std::span<const std::string_view> words) {
  if (context_ == nullptr) return;  // the next read says so
  words_.clear();
  lengths_.clear();
  for (const auto word : words) {
    words_.push_back(word.data());
    lengths_.push_back(word.size());
  }
  redisAppendCommandArgv(context_.get(), static_cast<int>(words_.size()), words_.data(),
                         lengths_.data());
}

void Connection::append_call(Script script, std::size_t keys,
                             std::span<const std::string_view> words, bool by_text) {
  if (context_ == nullptr) return;
  const std::string text = by_text ? text_of(script) : std::string();
  const std::string count = std::to_string(keys);
  words_.clear();
  lengths_.clear();
  const auto add = [this](std::string_view word) {
    words_.push_back(word.data());
    lengths_.push_back(word.size());
  };
  add(by_text ? "EVAL" : "EVALSHA");
  add(by_text ? text : shas_[static_cast<std::size_t>(script)]);
  add(count);
  for (const auto word : words) add(word);
  redisAppendCommandArgv(context_.get(), static_cast<int>(words_.size()), words_.data(),
                         lengths_.data());
}

Result<OwnedReply> Connection::read() {
  return read_within(options_.command_timeout, Code::unknown);
}

Result<OwnedReply> Connection::read_within(milliseconds patience, Code on_loss) {
  if (context_ == nullptr) return Error{on_loss, "the connection to " + server_ + " is lost"};
  if (patience != patience_) {
    redisSetTimeout(context_.get(), timeval_of(patience));
    patience_ = patience;
  }
  void* reply = nullptr;
  if (redisGetReply(context_.get(), &reply) == REDIS_OK && reply != nullptr) {
    return OwnedReply(static_cast<redisReply*>(reply));
  }
  // EAGAIN is how hiredis reports that the socket's time-out passed.
  const std::string why = context_->errstr;
  context_.reset();
  return Error{on_loss, "no answer from " + server_ + " (" + why + ")"};
}

bool Connection::alive() const {
  if (context_ == nullptr) return false;
  pollfd socket{.fd = context_->fd, .events = POLLIN, .revents = 0};
  return ::poll(&socket, 1, 0) ==
         0;  // nothing is awaited: bytes, end or error all mean that it is over
}

// ---- boot checks --------------------------------------------------------------------------------

namespace {

Status check_version(const ServerFacts& facts, const std::string& server) {
  int major = 0;
  std::from_chars(facts.version.data(), facts.version.data() + facts.version.size(), major);
  if (major >= 7) return Done{};
  return Error{Code::malformed, server + " is version " + facts.version +
                                    "; Catga needs 7.0 or newer (scripts that begin with #!lua)"};
}

Status check_policy(Connection& connection, const std::string& server) {
  connection.append(std::initializer_list<std::string_view>{"INFO", "memory"});
  auto answer = connection.read();
  if (!answer) return Error{Code::unavailable, answer.error().text};
  const std::string_view policy = info_field(answer->view().text(), "maxmemory_policy");
  if (policy == "noeviction") return Done{};
  return Error{Code::malformed,
               server + " has maxmemory-policy '" + std::string(policy) +
                   "' and would throw away owner records and state when memory is full; set "
                   "maxmemory-policy noeviction"};
}

Status check_clock(Connection& connection, const std::string& server) {
  connection.append(std::initializer_list<std::string_view>{"TIME"});
  const std::int64_t asked = local_ms();
  auto answer = connection.read();
  if (!answer) return Error{Code::unavailable, answer.error().text};
  if (answer->view().is_error())
    return Error{Code::malformed, error_of(answer->view().text()).text};
  const std::int64_t here = asked + (local_ms() - asked) / 2;
  const std::int64_t there = answer->view()[0].number() * 1000 + answer->view()[1].number() / 1000;
  if (std::abs(here - there) < 1000) return Done{};
  return Error{Code::malformed, "the clock of this machine and that of " + server + " are " +
                                    seconds_text(here - there) + " apart (this machine is " +
                                    (here > there ? "ahead" : "behind") +
                                    "); less than 1 s is needed: set both by NTP"};
}

Status check_all(const RedisOptions& options) {
  Connection connection(options);
  auto facts = connection.open();
  if (!facts) return facts.error();
  const std::string& server = connection.server();
  if (options.check_policy) {
    if (Status version = check_version(*facts, server); !version) return version;
  }
  if (!facts->primary) {
    return Error{Code::unavailable, server + " is a replica; point redis.url at the primary"};
  }
  if (options.check_policy) {
    if (Status policy = check_policy(connection, server); !policy) return policy;
  }
  return check_clock(connection, server);
}

}  // namespace

Status check_boot(const RedisOptions& options) {
  // On a thread of its own, because hiredis writes without MSG_NOSIGNAL and only a thread of ours
  // may block SIGPIPE.
  return std::async(std::launch::async,
                    [&options] {
                      sigset_t all;
                      sigfillset(&all);
                      pthread_sigmask(SIG_BLOCK, &all, nullptr);
                      return check_all(options);
                    })
      .get();
}

}  // namespace catga
