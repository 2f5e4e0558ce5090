#include "kinds.hpp"

#include "oracle.hpp"
#include "workers.hpp"

#include <chrono>

namespace catga::sim {

namespace {

Page write(const Turn& turn, Page& state, std::int64_t change, std::int64_t cents) {
  const Page before = state;
  state.count += 1;
  state.cents += cents;
  state.hash = Oracle::here().change_made(turn.entity(), change, before.hash, state.count);
  return state;
}

}  // namespace

Result<Page> Journal::on(Turn& turn, const Append& append) {
  Oracle::here().handler_runs(turn.entity());
  if (append.limit != 0 && state.count >= append.limit) return reject("the log is long enough");
  return write(turn, state, append.change, 0);
}

Page Journal::on(Turn& turn, const Later& later) {
  Oracle::here().handler_runs(turn.entity());
  turn.after(std::chrono::milliseconds(later.wait_ms), Credit{later.change + timed, 0}, later.name);
  if (later.name.empty())
    Oracle::here().promised(later.change, {later.change + timed, turn.entity(), later.wait_ms});
  return write(turn, state, later.change, 0);
}

Task<Page> Journal::on(Turn& turn, const Consult& consult) {
  Oracle::here().handler_runs(turn.entity());
  const Ref<Journal> other = turn.ref<Journal>(consult.other);
  const std::int64_t asked_for = consult.change + asked, no_limit = 0;
  const Result<Page> page = co_await turn.ask<Append>(other, asked_for, no_limit);
  if (!page) co_return page.error();
  Oracle::here().promised(consult.change, {asked_for, other.entity(), 0});
  co_return write(turn, state, consult.change, 0);
}

Page Journal::on(Turn& turn, const Credit& credit) {
  Oracle::here().handler_runs(turn.entity());
  return write(turn, state, credit.change, credit.cents);
}

Page Journal::on(const Turn& turn, const Read&) const {
  Oracle::here().handler_runs(turn.entity());
  return state;
}

Page Journal::on(Turn& turn, const Ponder& ponder) {
  Oracle::here().handler_runs(turn.entity());
  stand_still(ponder.wait_ms * ms);
  return write(turn, state, ponder.change, 0);
}

Task<Page> Journal::on(Turn& turn, const Await& await) {
  Oracle::here().handler_runs(turn.entity());
  const Ref<Journal> other = turn.ref<Journal>(await.other);
  const std::int64_t asked_for = await.change + asked, wait_ms = await.wait_ms;
  const Result<Page> page = co_await turn.ask<Ponder>(other, asked_for, wait_ms);
  if (!page) co_return page.error();
  Oracle::here().promised(await.change, {asked_for, other.entity(), 0});
  co_return write(turn, state, await.change, 0);
}

Page Journal::on(const Turn& turn, const Study& study) const {
  Oracle::here().handler_runs(turn.entity());
  stand_still(study.wait_ms * ms);
  return state;
}

Page Account::on(Turn& turn, const Deposit& deposit) {
  Oracle::here().handler_runs(turn.entity());
  return write(turn, state, deposit.change, deposit.cents);
}

Result<Page> Account::on(Turn& turn, const Withdraw& withdraw) {
  Oracle::here().handler_runs(turn.entity());
  if (withdraw.cents > state.cents) return reject("insufficient funds");
  return write(turn, state, withdraw.change, -withdraw.cents);
}

Result<Page> Account::on(Turn& turn, const Transfer& transfer) {
  Oracle::here().handler_runs(turn.entity());
  if (transfer.cents > state.cents) return reject("insufficient funds");
  turn.tell<Account>(transfer.to, Credit{transfer.change + told, transfer.cents});
  Oracle::here().promised(transfer.change,
                          {transfer.change + told, {std::string(kind), transfer.to}, 0});
  return write(turn, state, transfer.change, -transfer.cents);
}

Page Account::on(Turn& turn, const Credit& credit) {
  Oracle::here().handler_runs(turn.entity());
  return write(turn, state, credit.change, credit.cents);
}

Page Account::on(const Turn& turn, const Read&) const {
  Oracle::here().handler_runs(turn.entity());
  return state;
}

}  // namespace catga::sim
