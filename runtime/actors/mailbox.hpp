// An entity's mailbox: many put, one takes, in the order of putting. A word while it is empty.
//
// Writers push onto a list that is last in, first out; the one reader takes the whole list at once
// and turns it round. The head also says whether the reader sleeps, so that exactly one writer wakes
// it: the scheme of Vyukov's and CAF's "lifo inbox". What may wait is bounded by the shard
// (entity.mailbox).
#pragma once
#include <atomic>
#include <cstdint>
#include <memory>
#include <utility>

namespace catga::actors {

enum class Put { waits, wakes, closed };

template <class Mail>
class Mailbox {
 public:
  Mailbox() = default;
  Mailbox(const Mailbox&) = delete;
  Mailbox& operator=(const Mailbox&) = delete;
  ~Mailbox() { close(); }

  struct Letter {
    Letter* next;
    Mail mail;
  };
  /// What was taken, or nothing. The mail stays where its writer made it: some are large.
  class Taken {
   public:
    Taken() = default;
    explicit Taken(Letter* letter) : letter_(letter) {}
    explicit operator bool() const { return letter_ != nullptr; }
    Mail& operator*() { return letter_->mail; }
    Mail* operator->() { return &letter_->mail; }
    void reset() { letter_.reset(); }

   private:
    std::unique_ptr<Letter> letter_;
  };

  /// Any thread. `wakes`: the reader sleeps, and the caller must see to it that it runs.
  template <class Message>
  Put put(Message&& message) {
    std::unique_ptr<Letter> letter(new Letter{nullptr, Mail(std::forward<Message>(message))});
    std::uintptr_t before = head_.load(std::memory_order_relaxed);
    do {
      if (before == closed) return Put::closed;
      letter->next = before == asleep ? nullptr : reinterpret_cast<Letter*>(before);
    } while (!head_.compare_exchange_weak(before, reinterpret_cast<std::uintptr_t>(letter.get()),
                                          std::memory_order_release, std::memory_order_relaxed));
    (void)letter.release();  // owned by the list now
    return before == asleep ? Put::wakes : Put::waits;
  }

  // ---- the reader ----
  Taken take() {
    if (first_ == nullptr) {
      Letter* newest = reinterpret_cast<Letter*>(head_.exchange(empty, std::memory_order_acquire));
      while (newest != nullptr) {
        Letter* const older = newest->next;
        newest->next = std::exchange(first_, newest);
        newest = older;
      }
    }
    if (first_ == nullptr) return {};
    return Taken(std::exchange(first_, first_->next));
  }
  /// After take() found nothing. False: something came meanwhile. True: the reader must touch
  /// nothing of its own any more, for whoever puts next makes it run, perhaps on another thread.
  bool sleep() {
    std::uintptr_t expected = empty;
    return head_.compare_exchange_strong(expected, asleep, std::memory_order_acq_rel);
  }
  /// What waits is dropped, and all that comes later. `see` is called with each that is dropped.
  template <class See>
  void close(See see) {
    free_all(std::exchange(first_, nullptr), see);
    const std::uintptr_t rest = head_.exchange(closed, std::memory_order_acq_rel);
    if (rest != asleep && rest != closed) free_all(reinterpret_cast<Letter*>(rest), see);
  }
  void close() {
    close([](const Mail&) {});
  }

 private:
  static constexpr std::uintptr_t empty = 0, asleep = 1, closed = 2;

  template <class See>
  static void free_all(Letter* letter, See& see) {
    while (letter != nullptr) {
      const std::unique_ptr<Letter> one(letter);
      see(one->mail);
      letter = one->next;
    }
  }

  std::atomic<std::uintptr_t> head_{asleep};
  Letter* first_ = nullptr;  // the oldest taken, not handed out yet
};

}  // namespace catga::actors
