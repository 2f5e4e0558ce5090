#include "load.hpp"

#include <catga/entities/operation.hpp>

namespace catga::sim {

Load::Load(const Scenery& scenery, Oracle& oracle, std::vector<std::unique_ptr<Node>>& nodes,
           std::vector<std::unique_ptr<Caller>>& callers)
    : scenery_(scenery), oracle_(oracle), nodes_(nodes), callers_(callers) {}

void Load::start() {
  running_ = true;
  next();
  if (scenery_.plan.workers != 0) next_ponder();
}

void Load::next_ponder() {
  World& world = scenery_.world;
  world.after(world.later_dice.between(1, 2 * scenery_.plan.ponder_gap), [this] {
    if (!running_) return;
    ask_to_ponder();
    next_ponder();
  });
}

void Load::ask_to_ponder() {
  Dice& dice = scenery_.world.later_dice;
  const auto [by, router] = somebody(dice);
  if (by == nullptr) return;
  // Mostly a while, now and then longer than a session.
  const std::int64_t ttl = scenery_.plan.config.membership.session_ttl.count();
  const std::int64_t wait =
      dice.chance(0.6) ? stretched(dice.skewed(1, 300)) : dice.between(stretched(100), ttl * 3 / 2);
  const auto key = [&] { return "k" + std::to_string(dice.below(scenery_.plan.accounts)); };
  const std::int64_t change = static_cast<std::int64_t>(next_);
  next_ += numbers_per_change;
  Oracle::Question question;
  question.asked = scenery_.world.now();
  question.change = change;
  question.entity = {"log", key()};
  Ask ask;
  ask.entity = question.entity;
  if (dice.chance(0.5))
    ask.timeout = std::chrono::milliseconds(wait + stretched(dice.between(500, 5000)));
  const auto say = [&](const auto& message) {
    ask.message = std::remove_cvref_t<decltype(message)>::catga_message_name();
    ask.payload = encode(message);
  };
  const auto what = dice.below(10);
  if (what < 5) {
    say(Ponder{change, wait});
  } else if (what < 8) {
    say(Await{change, wait, key()});
  } else {
    say(Study{wait});
    ask.query = true;
    question.change = 0;
  }
  question.what = ask.message + ' ' + std::to_string(change / numbers_per_change) + " (" +
                  std::to_string(wait) + " ms)";
  send(*by, *router, std::move(ask), question, 0);
}

/// Who asks: mostly a program that only calls. None if the one chosen cannot.
std::pair<Machine*, Router*> Load::somebody(Dice& dice) {
  std::pair<Machine*, Router*> found;
  if (dice.chance(0.7) || nodes_.empty()) {
    Caller& caller = *dice.one_of(callers_);
    found = {&caller, caller.router()};
  } else {
    Node& node = *dice.one_of(nodes_);
    if (!node.up() || node.leaving()) return {};
    found = {&node, node.router()};
  }
  if (found.first->frozen()) return {};
  return found;
}

void Load::next() {
  World& world = scenery_.world;
  const Moment gap = scenery_.plan.ask_gap;
  // Now and then a burst.
  const Moment wait = world.dice.chance(0.05) ? 0 : world.dice.between(1, 2 * gap);
  world.after(wait, [this] {
    if (!running_) return;
    ask_something();
    next();
  });
}

EntityId Load::some(const char* kind) {
  return {kind, "k" + std::to_string(scenery_.world.dice.below(scenery_.plan.accounts))};
}

void Load::ask_something() {
  Dice& dice = scenery_.world.dice;
  const auto [by, router] = somebody(dice);
  if (by == nullptr) return;
  Oracle::Question question;
  question.asked = scenery_.world.now();
  const std::int64_t change = static_cast<std::int64_t>(next_);
  next_ += numbers_per_change;
  question.change = change;
  Ask ask;
  const auto say = [&](EntityId entity, const auto& message) {
    using Message = std::remove_cvref_t<decltype(message)>;
    ask.entity = question.entity = std::move(entity);
    ask.message = Message::catga_message_name();
    ask.payload = encode(message);
    ask.query = std::is_same_v<Message, Read>;
    question.what = ask.message;
    if (ask.query)
      question.change = 0;
    else
      question.what += ' ' + std::to_string(change / numbers_per_change);
  };
  const auto what = dice.below(100);
  if (what < 20) {
    say(some(dice.chance(0.5) ? "log" : "account"), Read{});
  } else if (what < 40) {
    const std::int64_t limit = dice.chance(0.3) ? dice.between(1, 60) : 0;
    say(some("log"), Append{change, limit});
  } else if (what < 48) {
    const bool named = dice.chance(0.3);
    say(some("log"), Later{change, stretched(dice.between(0, 3000)), named ? "n" : ""});
  } else if (what < 58) {
    say(some("log"), Consult{change, some("log").key});
  } else if (what < 75) {
    say(some("account"), Deposit{change, dice.between(1, 20)});
  } else if (what < 85) {
    say(some("account"), Withdraw{change, dice.between(1, 30)});
  } else if (what < 95) {
    say(some("account"), Transfer{change, dice.between(1, 10), some("account").key});
  } else {
    say(some("log"), Append{change, 0});
    const bool sent = [&] {
      Status told = Done{};
      by->run([&] { told = router->tell(ask); });
      return told.ok();
    }();
    if (sent) oracle_.told_outside(change);
    return;
  }
  if (dice.chance(0.2) && question.change != 0) {  // an id of the caller's own
    ask.operation = new_operation_id();
    // Without its time an id is forgotten after a while, and then it is new.
    const bool forgets = scenery_.plan.activation.id_bytes_per_entity < 1 << 20 ||
                         scenery_.plan.activation.retention < 3'600'000;
    ask.operation_ms = dice.chance(0.9) || forgets ? scenery_.redis.time_ms() : 0;
    question.own_id = true;
  }
  if (dice.chance(0.2)) ask.timeout = std::chrono::milliseconds(stretched(dice.between(20, 1000)));
  if (scenery_.plan.calm) ask.timeout = std::chrono::milliseconds(0);
  send(*by, *router, std::move(ask), question, 0);
}

void Load::send(Machine& by, Router& router, Ask ask, const Oracle::Question& question, int tries) {
  const std::uint64_t number = next_open_++;
  scenery_.world.tally.asks += tries == 0 ? 1 : 0;
  open_[number] = {&by, by.life(), question};
  Router* const through = &router;
  by.run([&] {
    through->ask(ask, [this, number, ask, tries](Result<std::string> answer) {
      const auto found = open_.find(number);
      if (found == open_.end()) return scenery_.world.fail("an ask was answered twice");
      const Open done = found->second;
      open_.erase(found);
      if (!done.by->alive() || done.by->life() != done.life) return;
      const Result<Page> page = answer.ok() ? decode<Page>(*answer) : Result<Page>(answer.error());
      scenery_.world.say(
          done.by->name,
          done.question.what + " to " + text_of(done.question.entity) + ": " +
              (page ? std::to_string(page->count)
                    : std::string(name_of(page.error().code)) + " (" + page.error().text + ")"));
      Oracle::Question judged = done.question;
      // Of a repeat with an id of its own, a refusal says nothing about the calls before.
      judged.repeated = tries > 0;
      oracle_.answered(judged, page);
      if (page || tries >= 3 || !done.question.own_id) return;
      const Code code = page.error().code;
      if (code != Code::timeout && code != Code::unknown) return;
      // A caller that names its command may ask again, whenever it likes.
      Machine* who = done.by;
      who->after(stretched(scenery_.world.dice.between(0, second)),
                 [this, who, ask, question = done.question, tries] {
                   Router* way = nullptr;
                   for (const auto& node : nodes_)
                     if (node.get() == who) way = node->router();
                   for (const auto& caller : callers_)
                     if (caller.get() == who) way = caller->router();
                   if (way != nullptr && running_) send(*who, *way, ask, question, tries + 1);
                 });
    });
  });
}

std::size_t Load::open() const {
  std::size_t count = 0;
  for (const auto& [number, one] : open_)
    count += one.by->alive() && one.by->life() == one.life ? 1 : 0;
  return count;
}

std::string Load::oldest_open() const {
  for (const auto& [number, one] : open_) {
    if (one.by->alive() && one.by->life() == one.life)
      return one.question.what + " to " + text_of(one.question.entity) + " of " + one.by->name +
             ", asked at " + text_of_moment(one.question.asked) + " ms";
  }
  return "";
}

}  // namespace catga::sim
