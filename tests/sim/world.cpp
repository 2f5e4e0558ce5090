#include "world.hpp"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <cstdio>

namespace catga::sim {

std::uint64_t Dice::bits() {  // splitmix64
  std::uint64_t z = state_ += 0x9e3779b97f4a7c15ULL;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
  return z ^ (z >> 31);
}

std::int64_t Dice::skewed(std::int64_t least, std::int64_t most) {
  const double u = static_cast<double>(bits() >> 11) * 0x1.0p-53;
  return least + static_cast<std::int64_t>(u * u * u * u * static_cast<double>(most - least));
}

std::string text_of_moment(Moment at) {
  char text[40];
  std::snprintf(text, sizeof text, "%lld.%03lld", static_cast<long long>(at / 1000),
                static_cast<long long>(at % 1000));
  return text;
}

void World::keep(Moment when, Coming coming) {
  std::uint32_t slot = 0;
  if (free_.empty()) {
    slot = static_cast<std::uint32_t>(slots_.size());
    slots_.push_back(std::move(coming));
  } else {
    slot = free_.back();
    free_.pop_back();
    slots_[slot] = std::move(coming);
  }
  due_.push({std::max(when, now_), next_number_++, slot});
}

bool World::step(Moment end) {
  if (due_.empty() || due_.top().when > end) {
    now_ = std::max(now_, end);
    return false;
  }
  const Due next = due_.top();
  due_.pop();
  at_once_ = next.when == now_ ? at_once_ + 1 : 0;
  if (at_once_ > 300'000) fail("time stands still");
  now_ = next.when;
  ++happenings;
  Coming& coming = slots_[next.slot];
  if (coming.machine == nullptr)
    coming.what();
  else
    coming.machine->happen(coming);
  coming.what = {};  // its slot is not free before: it may add others when it goes
  free_.push_back(next.slot);
  return true;
}

void World::clear() {
  due_ = {};
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    const Deed dropped = std::exchange(slots_[i].what, {});  // may add others when it goes
  }
  due_ = {};
  slots_.clear();
  free_.clear();
}

std::int64_t World::clock_ms() const { return here != nullptr ? here->boot_ms() : now_ / 1000; }

void World::say(std::string_view who, const std::string& what) {
  const auto mix = [this](std::string_view text) {
    for (const char c : text) digest = (digest ^ static_cast<unsigned char>(c)) * 1099511628211ULL;
  };
  digest = (digest ^ static_cast<std::uint64_t>(now_)) * 1099511628211ULL;
  mix(who);
  mix(what);
  if (!tracing) return;
  char head[64];
  std::snprintf(head, sizeof head, "%12s  %-8.*s ", text_of_moment(now_).c_str(),
                static_cast<int>(who.size()), who.data());
  lines.push_back(head + what);
}

void World::fail(std::string what) {
  if (failed()) return;
  failure = std::move(what);
  failed_at = now_;
  say("CHECK", failure);
}

// ---- machines -----------------------------------------------------------------------------------

Machine::Machine(World& in, std::string called)
    : world(in),
      name(std::move(called)),
      since_(in.now()),
      base_us_(in.dice.between(1'000'000, 1'000'000'000) * 1000) {}

std::int64_t Machine::boot_us() const {
  if (clock_stopped_) return base_us_;
  if (rate_ == 1) return base_us_ + (world.now() - since_);
  return base_us_ +
         static_cast<std::int64_t>(std::floor(rate_ * static_cast<double>(world.now() - since_)));
}

Moment Machine::when_clock_shows(std::int64_t boot_ms) const {
  const double left = static_cast<double>(boot_ms * 1000 - base_us_);
  return since_ + static_cast<Moment>(std::ceil(left / rate_)) + 1;
}

void Machine::set_clock_rate(double rate) {
  base_us_ = boot_us();
  since_ = world.now();
  rate_ = rate;
  if (alive_) retime();
}

void Machine::happen(World::Coming& coming) {
  if (coming.life != life_) return;
  if (frozen_) return void(late_.push_back(std::move(coming)));
  run(coming.what);
}

void Machine::freeze(bool clock_stops) {
  if (frozen_) return;
  frozen_ = true;
  if (!clock_stops) return;
  base_us_ = boot_us();
  clock_stopped_ = true;
}

void Machine::thaw() {
  if (!frozen_) return;
  frozen_ = false;
  if (std::exchange(clock_stopped_, false)) since_ = world.now();
  // They wait no longer than others, but each as a happening of its own: checks come between.
  for (World::Coming& late : std::exchange(late_, {})) world.keep(world.now(), std::move(late));
}

void Machine::lose_late(double share) {
  std::erase_if(
      late_, [this, share](const auto& late) { return late.network && world.dice.chance(share); });
}

}  // namespace catga::sim
