// catga-notification-service: NotificationService. Hears of every order that is placed, in two ways:
// - as a group "mails": one of the instances turns each event into a mail to the customer. Delivered twice, it is still
//   one mail, for the mailbox remembers the event.
// - as a broadcast "board": every instance writes each order down, one id per line of its file, as a screen in a
//   warehouse would show it. An instance that stops and comes back goes on where it was; a line may be there twice.
// Flags beside the settings: --listen HOST:PORT for /health, --board FILE.
#include <catga/catga.hpp>

#include "http_door.hpp"
#include "orders.hpp"

#include <atomic>
#include <fstream>
#include <iostream>
#include <mutex>
#include <string>
#include <vector>

namespace {

/// Where the instance writes what it hears. Thread-safe.
class Board {
 public:
  explicit Board(const std::string& file) : lines_(file, std::ios::app) {}
  catga::Status add(const std::string& order) {
    const std::lock_guard guard(lock_);
    lines_ << order << '\n' << std::flush;
    if (!lines_) return catga::Error{catga::Code::failed, "the board cannot be written"};
    written_ += 1;
    return catga::Done{};
  }
  std::uint64_t written() const { return written_; }

 private:
  std::mutex lock_;
  std::ofstream lines_;
  std::atomic<std::uint64_t> written_{0};
};

struct Flags {
  std::string listen = "127.0.0.1:8081", board = "board.txt";
  bool understood = true;
};

Flags read(const std::vector<std::string>& words) {
  Flags flags;
  for (std::size_t i = 0; i < words.size(); i += 2) {
    const bool has_value = i + 1 < words.size();
    if (has_value && words[i] == "--listen")
      flags.listen = words[i + 1];
    else if (has_value && words[i] == "--board")
      flags.board = words[i + 1];
    else
      flags.understood = false;
  }
  return flags;
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<std::string> words;
  const auto config = catga::Config::parse({argv + 1, argv + argc}, &words);
  const Flags flags = read(words);
  if (!config.ok() || !flags.understood) {
    std::cerr << (config.ok()
                      ? "usage: catga-notification-service [--listen HOST:PORT] [--board FILE] "
                        "[settings]"
                      : config.error().text)
              << '\n';
    return 2;
  }
  Board board(flags.board);
  catga::Client client{*config};
  client.subscribe<orders::OrderPlaced>("mails",
                                        [](const orders::OrderPlaced& placed) {
                                          return catga::to<orders::Mailbox>(
                                              placed.customer, orders::Mail{placed.order});
                                        },
                                        {catga::Spread::group, catga::From::first()});
  client.subscribe<orders::OrderPlaced>(
      "board", [&board](const orders::OrderPlaced& placed) { return board.add(placed.order); },
      {catga::Spread::broadcast, catga::From::first()});

  orders::HttpDoor door([&board] { return orders::Json{{"orders_heard", board.written()}}; });
  if (const auto open = door.open(flags.listen); !open.ok()) {
    std::cerr << open.error().text << '\n';
    return 78;
  }
  if (const auto connected = client.connect(); !connected.ok()) {
    std::cerr << connected.error().text << '\n';
    return connected.error().code == catga::Code::unavailable ? 69 : 78;
  }
  door.ready(true);
  door.serve();
  client.close();  // before the board goes
  return 0;
}
