// expect: write turn.ask<Message>(ref, fields...), or name the message first
// expect: name this argument first: g++ 12 destroys a temporary in a co_await expression twice
// expect: name the message first: g++ 12 destroys a temporary in a co_await expression twice
#include "shop.hpp"

struct Names {
  std::string first;
  operator std::string() const { return first; }
};
catga::Task<catga::Done> handler(catga::Turn& turn, catga::Ref<Stock> stock) {
  (void)co_await turn.ask(stock, Reserve{"pen"});
  (void)co_await turn.ask<Reserve>(stock, Names{"pen"});
  (void)co_await stock.ask_async(Reserve{"pen"});
  co_return catga::Done{};
}
