// catga-order-api: OrderApi, the way into the order system over HTTP and JSON. Keeps nothing: start as many as you like
// behind any balancer.
//
//   POST /api/orders           {"customer": "ann", "lines": [{"sku": "tea", "quantity": 2}]}
//     201 confirmed, 409 refused (and why), 202 still under way: look at Location; 400 and 422 the caller's mistake,
//     503 not known: say it again. With the header Idempotency-Key a repeat means the same order: its id is made of
//     the key, so nothing is ordered twice.
//   GET  /api/orders/{id}      confirmed, refused or pending
//   GET  /health  /health/live  /health/ready
// And for the shop itself:
//   PUT  /api/stock/{sku}      {"quantity": 1000, "cents": 250}
//   PUT  /api/accounts/{name}  {"limit": 50000}
//   GET  the same, and /api/mailboxes/{name}: counts for the audit (64-bit traces are text)
#include <catga/catga.hpp>
#include <catga/entities/operation.hpp>

#include "http_door.hpp"
#include "orders.hpp"

#include <algorithm>
#include <chrono>
#include <iostream>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace {

using namespace std::chrono_literals;
using catga::Code;
using httplib::Request;
using httplib::Response;
using orders::answer;
using orders::Json;
using orders::refuse;

constexpr auto start_patience = 8s;  // to write down that there is an order
constexpr auto start_again_after = 50ms;
constexpr auto order_patience = 6s;  // to see its end; then 202
constexpr auto look_patience = 5s;
constexpr std::size_t lines_max = 32;
constexpr std::int64_t quantity_max = 1'000'000;
constexpr std::size_t name_max = 100;

/// Keys of entities, from strangers.
bool good_name(const std::string& name) {
  return !name.empty() && name.size() <= name_max && std::ranges::all_of(name, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_' || c == '.';
  });
}

void refuse(Response& response, const catga::Error& error) {
  const bool later = error.code == Code::unavailable || error.code == Code::overloaded ||
                     error.code == Code::timeout || error.code == Code::unknown;
  if (later) response.set_header("Retry-After", "1");
  const int status = later ? 503 : error.code == Code::not_found ? 404 : 500;
  refuse(response, status, std::string(name_of(error.code)), error.text);
}

std::string new_id(const std::string& key) {
  const catga::OperationId id =
      key.empty() ? catga::new_operation_id()
                  : catga::operation_of_key({"order", ""}, "POST /api/orders", key);
  return text_of(id);
}

/// None: what is wrong is answered already.
std::optional<Json> body_of(const Request& request, Response& response) {
  Json body = Json::parse(request.body, nullptr, false);
  if (body.is_object()) return body;
  refuse(response, 400, "malformed", "the body is not a JSON object");
  return std::nullopt;
}

std::optional<std::int64_t> whole(const Json& object, const char* name, std::int64_t least,
                                  std::int64_t most) {
  const auto found = object.find(name);
  if (found == object.end() || !found->is_number_integer()) return std::nullopt;
  if (found->is_number_unsigned() && found->get<std::uint64_t>() > std::uint64_t(most))
    return std::nullopt;
  const auto number = found->get<std::int64_t>();
  if (number < least || number > most) return std::nullopt;
  return number;
}

std::optional<std::string> name_in(const Json& object, const char* name) {
  const auto found = object.find(name);
  if (found == object.end() || !found->is_string()) return std::nullopt;
  auto text = found->get<std::string>();
  if (!good_name(text)) return std::nullopt;
  return text;
}

/// None: what is wrong is answered already.
std::optional<orders::Purchase> purchase_in(const Json& body, Response& response) {
  const auto wrong = [&response](const std::string& why) {
    refuse(response, 400, "malformed", why);
    return std::nullopt;
  };
  orders::Purchase purchase;
  const auto customer = name_in(body, "customer");
  if (!customer) return wrong("\"customer\" must be a name of A-Z a-z 0-9 . _ -");
  purchase.customer = *customer;
  const auto lines = body.find("lines");
  if (lines == body.end() || !lines->is_array() || lines->empty() || lines->size() > lines_max)
    return wrong("\"lines\" must be a list of 1 to " + std::to_string(lines_max));
  for (const Json& line : *lines) {
    const auto sku = line.is_object() ? name_in(line, "sku") : std::nullopt;
    const auto quantity = sku ? whole(line, "quantity", 1, quantity_max) : std::nullopt;
    if (!quantity) return wrong("a line is {\"sku\": a name, \"quantity\": 1 or more}");
    purchase.lines.push_back({*sku, *quantity});
  }
  return purchase;
}

Json json_of(const orders::Flow& flow) {
  return {{"out", flow.out},
          {"back", flow.back},
          {"times_out", flow.times_out},
          {"times_back", flow.times_back},
          {"trace", std::to_string(flow.trace)}};
}

class Api {
 public:
  explicit Api(catga::Client& client) : client_(client) {}
  void open(httplib::Server& server);
  Json health();

 private:
  void post_order(const Request& request, Response& response);
  void get_order(const std::string& id, Response& response);
  void tell_progress(const std::string& id, Response& response);

  /// PUT of a message, GET of a query: both to the entity that the path names.
  template <class Entity, class Make>
  httplib::Server::Handler putting(Make make);
  template <class Entity, class Query, class Show>
  httplib::Server::Handler getting(Show show);

  catga::Client& client_;
};

void Api::open(httplib::Server& server) {
  server.Post("/api/orders", [this](const Request& request, Response& response) {
    post_order(request, response);
  });
  server.Get(R"(/api/orders/([^/]+))", [this](const Request& request, Response& response) {
    get_order(request.matches[1], response);
  });
  server.Put(R"(/api/stock/([^/]+))",
             putting<orders::Inventory>([](const Json& body) -> std::optional<orders::StockUp> {
               const auto quantity = whole(body, "quantity", 0, 1'000'000'000);
               const auto cents = whole(body, "cents", 1, 1'000'000);
               if (!quantity || !cents) return std::nullopt;
               return orders::StockUp{*quantity, *cents};
             }));
  server.Put(R"(/api/accounts/([^/]+))",
             putting<orders::Payment>([](const Json& body) -> std::optional<orders::SetLimit> {
               const auto limit = whole(body, "limit", 0, 1'000'000'000'000);
               if (!limit) return std::nullopt;
               return orders::SetLimit{*limit};
             }));
  server.Get(R"(/api/stock/([^/]+))",
             getting<orders::Inventory, orders::LookAtGoods>([](const orders::Goods& goods) {
               return Json{{"stocked", goods.stocked},
                           {"left", goods.left},
                           {"cents", goods.cents},
                           {"reserved", json_of(goods.reserved)}};
             }));
  server.Get(R"(/api/accounts/([^/]+))",
             getting<orders::Payment, orders::LookAtAccount>([](const orders::Account& account) {
               return Json{{"limit", account.limit}, {"charged", json_of(account.charged)}};
             }));
  server.Get(R"(/api/mailboxes/([^/]+))",
             getting<orders::Mailbox, orders::LookAtMails>([](const orders::Mails& mails) {
               return Json{{"mails", json_of(mails.mails)}};
             }));
}

template <class Entity, class Make>
httplib::Server::Handler Api::putting(Make make) {
  return [this, make](const Request& request, Response& response) {
    const std::string name = request.matches[1];
    const auto body = body_of(request, response);
    if (!body) return;
    const auto message = make(*body);
    if (!message || !good_name(name))
      return refuse(response, 400, "malformed", "a field is missing or out of bounds");
    const auto done = client_.ref<Entity>(name).ask(*message, look_patience);
    if (!done.ok()) return refuse(response, done.error());
    answer(response, 200, Json::object());
  };
}

template <class Entity, class Query, class Show>
httplib::Server::Handler Api::getting(Show show) {
  return [this, show](const Request& request, Response& response) {
    const auto seen = client_.ref<Entity>(request.matches[1]).ask(Query{}, look_patience);
    if (!seen.ok()) return refuse(response, seen.error());
    answer(response, 200, show(*seen));
  };
}

void Api::post_order(const Request& request, Response& response) {
  const std::string key = request.get_header_value("Idempotency-Key");
  if (key.size() > 200)
    return refuse(response, 400, "malformed", "Idempotency-Key is longer than 200 bytes");
  const auto body = body_of(request, response);
  if (!body) return;
  auto purchase = purchase_in(*body, response);
  if (!purchase) return;
  purchase->order = new_id(key);
  response.set_header("Location", "/api/orders/" + purchase->order);

  const auto until = std::chrono::steady_clock::now() + start_patience;
  auto saga = client_.start(orders::purchase_saga(), purchase->order, *purchase);
  while (!saga.ok() && saga.error().code != Code::malformed &&
         std::chrono::steady_clock::now() < until) {
    std::this_thread::sleep_for(start_again_after);
    saga = client_.start(orders::purchase_saga(), purchase->order, *purchase);
  }
  if (!saga.ok() && saga.error().code == Code::malformed)
    return refuse(response, 422, "malformed", "this Idempotency-Key was used for another order");
  if (!saga.ok()) return refuse(response, saga.error());
  const auto end = saga->wait(order_patience);
  Json told{{"id", purchase->order}};
  if (!end.ok()) {
    told["status"] = "pending";
    return answer(response, 202, told);
  }
  const bool confirmed = end->status == catga::SagaStatus::completed;
  told["status"] = confirmed ? "confirmed" : "refused";
  if (!confirmed) told["reason"] = end->text;
  answer(response, confirmed ? 201 : 409, told);
}

void Api::get_order(const std::string& id, Response& response) {
  if (!good_name(id)) return refuse(response, 404, "not_found", "there is no such order");
  const auto order = client_.ref<orders::Order>(id).ask(orders::LookAtOrder{}, look_patience);
  if (!order.ok()) return refuse(response, order.error());
  if (order->created == 0) return tell_progress(id, response);
  Json lines = Json::array();
  for (const orders::Line& line : order->lines)
    lines.push_back({{"sku", line.sku}, {"quantity", line.quantity}});
  answer(response, 200,
         {{"id", id},
          {"status", "confirmed"},
          {"created", order->created},
          {"customer", order->customer},
          {"lines", lines},
          {"cents", order->cents}});
}

/// Of an order that is not created: not yet, or never.
void Api::tell_progress(const std::string& id, Response& response) {
  const auto report = client_.saga(orders::purchase_saga(), id).status();
  if (!report.ok()) {
    if (report.error().code == Code::not_found)
      return refuse(response, 404, "not_found", "there is no order " + id);
    return refuse(response, report.error());
  }
  // Completed means created, and was not when we looked: it is now.
  const bool refused = has_ended(report->status) && report->status != catga::SagaStatus::completed;
  Json told{{"id", id}, {"status", refused ? "refused" : "pending"}};
  if (refused) told["reason"] = report->text;
  if (report->status == catga::SagaStatus::parked) told["stuck"] = report->cause;
  answer(response, 200, told);
}

Json Api::health() {
  const auto began = std::chrono::steady_clock::now();
  const auto seen = client_.ref<orders::Order>("health").ask(orders::LookAtOrder{}, 1s);
  const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - began;
  return {{"well", seen.ok()}, {"cluster", {{"reached", seen.ok()}, {"ask_ms", took.count()}}}};
}

/// The flags that are not settings.
std::optional<std::string> listen_in(const std::vector<std::string>& words) {
  if (words.size() == 2 && words[0] == "--listen") return words[1];
  if (words.empty()) return "127.0.0.1:8080";
  return std::nullopt;
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<std::string> words;
  const auto config = catga::Config::parse({argv + 1, argv + argc}, &words);
  const auto listen = listen_in(words);
  if (!config.ok() || !listen) {
    std::cerr << (config.ok() ? "usage: catga-order-api [--listen HOST:PORT] [settings]"
                              : config.error().text)
              << '\n';
    return 2;
  }
  catga::Client client{*config};
  Api api(client);
  orders::HttpDoor door([&api] { return api.health(); });
  api.open(door.server());
  if (const auto open = door.open(*listen); !open.ok()) {
    std::cerr << open.error().text << '\n';
    return 78;
  }
  if (const auto connected = client.connect(); !connected.ok()) {
    std::cerr << connected.error().text << '\n';
    return connected.error().code == Code::unavailable ? 69 : 78;
  }
  door.ready(true);
  door.serve();
  return 0;
}
