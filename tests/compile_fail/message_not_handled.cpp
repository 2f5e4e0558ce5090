// expect: the receiver does not handle this message: it is not in its Handles
// expect: the receiver must be a defined entity class with `using Handles
#include "shop.hpp"

struct Declared;
void ask(catga::Ref<Stock> stock) { stock.ask(Count{}); }
void tell(catga::Turn& turn, const catga::Ref<Declared>& other) { turn.tell(other, Count{}); }
