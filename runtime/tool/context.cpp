#include "catga/runtime/tool/context.hpp"

#include "catga/runtime/admin/desk.hpp"
#include "catga/runtime/messaging/jetstream.hpp"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <iterator>

namespace catga::tool {

const Config& Context::config() {
  if (config_) return *config_;
  std::vector<std::string> arguments, rest;
  if (!options.nats.empty()) arguments.insert(arguments.end(), {"--nats-urls", options.nats});
  if (!options.cluster.empty())
    arguments.insert(arguments.end(), {"--cluster-name", options.cluster});
  arguments.insert(arguments.end(), {"--nats-connect-timeout", "1s"});
  Result<Config> read = Config::parse(arguments, &rest);
  if (!read.ok()) throw Ended{misconfigured, read.error().text};
  return config_.emplace(std::move(*read));
}

std::chrono::milliseconds Context::patience() const {
  const double seconds = options.timeout_s > 0 ? options.timeout_s : 5;
  return std::chrono::milliseconds(static_cast<std::int64_t>(seconds * 1000));
}

NatsConnection& Context::nats() {
  if (nats_) return *nats_;
  Result<NatsConnection> connection = connect(config(), "catga tool");
  if (!connection.ok()) {
    std::string urls;
    for (const auto& url : config().nats.urls)
      urls += (urls.empty() ? "" : ", ") + mask_password(url);
    throw Ended{unreachable, "no NATS server answers at " + urls + ": " + connection.error().text +
                                 "\nname one with --nats URL or CATGA_NATS_URLS"};
  }
  return nats_.emplace(std::move(*connection));
}

admin::Answer Context::ask(const admin::Request& request, const std::string& node) {
  const std::string subject = admin::admin_subject(prefix(), node);
  const Result<std::string> answer =
      catga::request(nats(), subject, admin::write_request(request), patience());
  if (!answer.ok() && answer.error().code == Code::unavailable) {
    if (!node.empty())
      throw Ended{unreachable, "no node " + node + " in cluster " + config().cluster.name};
    throw Ended{unreachable, "no node of cluster " + config().cluster.name + " is connected to " +
                                 mask_password(config().nats.urls.front()) +
                                 "; --cluster names another one"};
  }
  if (!answer.ok())
    throw Ended{unreachable, "no answer within " + fmt::format("{} ms", patience().count()) + ": " +
                                 answer.error().text};
  Result<admin::Answer> read = admin::read_answer(*answer);
  if (!read.ok()) throw Ended{failed, "the node's answer cannot be read: " + read.error().text};
  return std::move(*read);
}

namespace {

json body_of_answer(const admin::Answer& answer) {
  json body = json::parse(answer.body, nullptr, false);
  if (answer.status == 200) return body;
  if (body.is_object() && body.contains("error") && body["error"].is_object())
    throw Ended{failed, word(body["error"], "code") + ": " + word(body["error"], "message")};
  throw Ended{failed, "the node answers " + std::to_string(answer.status)};
}

std::string user_name() {
  const char* const user = std::getenv("USER");  // NOLINT(concurrency-mt-unsafe): one thread
  return user != nullptr && *user != '\0' ? user : "operator";
}

}  // namespace

json Context::get(const std::string& path, Query query, const std::string& node) {
  admin::Request request;
  request.path = "/api/v1/" + path;
  request.query = std::move(query);
  request.client = user_name();
  return body_of_answer(ask(request, node));
}

json Context::post(const std::string& path, Query query, json body, const std::string& node) {
  admin::Request request;
  request.method = "POST";
  request.path = "/api/v1/" + path;
  request.query = std::move(query);
  request.body = body.is_string() ? body.get<std::string>() : body.dump();
  request.client = user_name();
  return body_of_answer(ask(request, node));
}

bool Context::terminal() const { return isatty(STDOUT_FILENO) != 0; }

bool Context::colours() const {
  return terminal() && !options.no_color && std::getenv("NO_COLOR") == nullptr;  // NOLINT
}

void Context::print(json data, const std::function<void(const json&)>& show) {
  if (!options.as_json) {
    show(data);
    warn_missing(data);
    return;
  }
  json whole{{"api", "v1"}, {"server", mask_password(config().nats.urls.front())}};
  for (const char* name : {"asked", "answered", "missing"}) {
    if (!data.is_object() || !data.contains(name)) continue;
    whole[name] = data[name];
    data.erase(name);
  }
  whole["data"] = std::move(data);
  fmt::print("{}\n", whole.dump(-1, ' ', false, json::error_handler_t::replace));
}

void Context::warn_missing(const json& answer) const {
  if (!answer.is_object() || !answer.contains("missing") || answer["missing"].empty()) return;
  std::string names;
  for (const json& name : answer["missing"])
    names += (names.empty() ? "" : ", ") + name.get<std::string>();
  fmt::print(stderr, "warning: {} of {} nodes answered; missing: {}\n", word(answer, "answered"),
             word(answer, "asked"), names);
}

bool Context::may(const std::string& deed) {
  if (options.dry_run) {
    fmt::print(stderr, "would {}; nothing was changed\n", deed);
    return false;
  }
  if (options.yes) return true;
  if (isatty(STDIN_FILENO) == 0)
    throw Ended{wrong_usage,
                "this would " + deed + ": say so with --yes, or look first with --dry-run"};
  fmt::print(stderr, "{}? [y/N] ", deed);
  std::string answer;
  std::getline(std::cin, answer);
  if (answer == "y" || answer == "yes") return true;
  throw Ended{failed, "nothing was changed"};
}

std::string tinted(const std::string& text, Tint tint, bool colours) {
  static const std::map<Tint, std::string> codes{{Tint::dim, "90"},   {Tint::bold, "1"},
                                                 {Tint::green, "32"}, {Tint::yellow, "33"},
                                                 {Tint::red, "31"},   {Tint::cyan, "36"}};
  const auto code = codes.find(tint);
  if (!colours || code == codes.end() || text.empty()) return text;
  return "\x1b[" + code->second + 'm' + text + "\x1b[0m";
}

namespace {

/// Signs of a text, near enough: bytes that do not continue one.
std::size_t signs(const std::string& text) {
  return static_cast<std::size_t>(std::ranges::count_if(
      text, [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

/// Controls in keys of entities must not reach the terminal.
std::string harmless(std::string text) {
  std::ranges::replace_if(
      text, [](char c) { return (c >= 0 && c < 32) || c == 127; }, '?');
  return text;
}

}  // namespace

std::string Table::text(bool colours, std::size_t width) const {
  std::vector<std::size_t> widths(rows_.front().cells.size());
  for (const Row& row : rows_)
    for (std::size_t i = 0; i < row.cells.size(); ++i)
      widths[i] = std::max(widths[i], signs(row.cells[i]));
  std::string all;
  for (std::size_t number = 0; number < rows_.size(); ++number) {
    const Row& row = rows_[number];
    std::size_t used = 0;
    std::string line;
    for (std::size_t i = 0; i < row.cells.size(); ++i) {
      std::string cell = harmless(row.cells[i]);
      if (width > 0 && used + signs(cell) > width) cell.resize(width > used ? width - used : 0);
      const std::size_t pad =
          i + 1 < row.cells.size() ? widths[i] - std::min(widths[i], signs(cell)) + 2 : 0;
      used += signs(cell) + pad;
      const auto tint = row.tints.find(i);
      line += tinted(cell,
                     number == 0               ? Tint::dim
                     : tint == row.tints.end() ? Tint::plain
                                               : tint->second,
                     colours);
      if (width == 0 || used <= width) line.append(pad, ' ');
    }
    while (line.ends_with(' ')) line.pop_back();
    all += line + '\n';
  }
  return all;
}

std::string word(const json& object, const char* name) {
  const auto found = object.is_object() ? object.find(name) : object.end();
  if (!object.is_object() || found == object.end() || found->is_null()) return "-";
  if (found->is_string()) return found->get<std::string>();
  if (found->is_number_float()) return short_number(found->get<double>());
  return found->dump();
}

std::string short_number(double number) {
  if (number >= 9'999'500) return fmt::format("{:.0f}M", number / 1e6);
  if (number >= 999'950) return fmt::format("{:.1f}M", number / 1e6);
  if (number >= 99'950) return fmt::format("{:.0f}k", number / 1e3);
  if (number >= 10'000) return fmt::format("{:.1f}k", number / 1e3);
  if (number >= 100 || number == 0) return fmt::format("{:.0f}", number);
  return fmt::format("{:.1f}", number);
}

std::string duration_text(std::int64_t seconds) {
  if (seconds < 60) return fmt::format("{}s", seconds);
  if (seconds < 3600) return fmt::format("{}m {}s", seconds / 60, seconds % 60);
  if (seconds < 86'400) return fmt::format("{}h {}m", seconds / 3600, seconds / 60 % 60);
  return fmt::format("{}d {}h", seconds / 86'400, seconds / 3600 % 24);
}

std::string time_text(std::int64_t unix_ms) {
  const auto seconds = static_cast<std::time_t>(unix_ms / 1000);
  return fmt::format("{:%Y-%m-%d %H:%M:%S}.{:03}", fmt::localtime(seconds), unix_ms % 1000);
}

std::size_t terminal_width() {
  winsize size{};
  if (isatty(STDOUT_FILENO) == 0 || ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0) return 0;
  return size.ws_col;
}

std::pair<std::string, std::string> entity_named(const std::string& text) {
  const auto slash = text.find('/');
  if (slash == 0 || slash == text.npos || slash + 1 == text.size())
    throw Ended{wrong_usage, "\"" + text + "\" is not KIND/KEY, such as account/alice"};
  return {text.substr(0, slash), text.substr(slash + 1)};
}

std::string json_argument(const std::string& text) {
  std::string body = text;
  if (text == "-") body.assign(std::istreambuf_iterator<char>(std::cin), {});
  if (body.empty()) body = "{}";
  if (!json::accept(body))
    throw Ended{wrong_usage,
                "the message is not JSON: " + body + "\nwrite it like '{\"cents\":500}'"};
  return body;
}

}  // namespace catga::tool
