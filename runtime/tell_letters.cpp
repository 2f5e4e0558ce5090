#include "catga/runtime/tell_letters.hpp"

#include "catga/runtime/letter_desk.hpp"
#include "catga/sharding/hash.hpp"

#include <algorithm>
#include <utility>

namespace catga {

namespace {

constexpr std::size_t side_by_side = 64;  // questions to the store at once
constexpr std::int64_t count_every_ms = 5000;

/// `<subscription>:<kind>/<key>`.
std::optional<LetterLine> line_of(const LetterBoxes::Box& box) {
  const std::string_view name = box.name;
  const auto colon = name.find(':');
  const auto slash = name.find('/', colon == name.npos ? 0 : colon);
  if (colon == name.npos || slash == name.npos) return std::nullopt;
  return LetterLine{
      std::string(name.substr(0, colon)),
      {EntityId{std::string(name.substr(colon + 1, slash - colon - 1)),
                std::string(name.substr(slash + 1))},
       box.length, std::chrono::system_clock::time_point(std::chrono::milliseconds(box.since_ms))}};
}

Error not_done(const DeadLetter& letter, const Error& error) {
  std::string text = "the message " + letter.event.name + " to " + text_of(letter.target) +
                     " is still parked: " + error.text;
  if (error.code == Code::expired)
    text +=
        "; whether it took effect long ago, its target does not remember. Renew it to have it run "
        "as a new one, or discard it";
  return {error.code, std::move(text), error.retry_after};
}

}  // namespace

struct TellLetters::Listing {
  std::vector<std::pair<ShardId, OwnerToken>> shards;
  Answer<std::vector<LetterLine>> then;
  std::mutex lock{};
  std::size_t next = 0, open = 0;
  std::vector<LetterLine> lines{};
  std::optional<Error> error{};
};

Status TellLetters::open(NatsConnection& nats, const std::string& prefix, const std::string& node) {
  {
    const std::lock_guard guard(lock_);
    nats_ = &nats;
  }
  desk_ = CATGA_TRY(
      nats.subscribe(node_letter_subject(prefix, node), "", [this](const NatsMessage& message) {
        serve_letters(*this, body_of(*message),
                      [this, to = std::string(reply_of(*message))](const std::string& text) {
                        answer(to, text);
                      });
      }));
  return Done{};
}

void TellLetters::close() {
  desk_ = {};
  const std::lock_guard guard(lock_);
  nats_ = nullptr;
}

void TellLetters::answer(const std::string& to, const std::string& text) {
  const std::lock_guard guard(lock_);
  if (nats_ != nullptr) (void)nats_->publish(to, "", text);
}

void TellLetters::serves(ShardId shard, OwnerToken token) {
  {
    const std::lock_guard guard(lock_);
    served_.insert_or_assign(shard, token);
  }
  if (around_.next != nullptr) around_.next->serves(shard, token);
}

void TellLetters::leaves(ShardId shard) {
  {
    const std::lock_guard guard(lock_);
    served_.erase(shard);
  }
  if (around_.next != nullptr) around_.next->leaves(shard);
}

Result<LetterBox> TellLetters::box_of(const EntityId& source) const {
  const ShardId shard = shard_of(source.kind, source.key, around_.shards);
  const std::lock_guard guard(lock_);
  const auto served = served_.find(shard);
  if (served == served_.end())
    return Error{Code::unavailable, "this node does not serve shard " +
                                        std::to_string(shard.value) + " of " + text_of(source) +
                                        " now; ask again"};
  return LetterBox{shard, served->second, letter_box(std::string(tells_box), source), true};
}

TellLetters::Count TellLetters::count(std::int64_t now_ms) {
  {
    const std::lock_guard guard(lock_);
    const bool fresh = counted_ms_ != 0 && now_ms - counted_ms_ < count_every_ms;
    if (fresh || counting_ || nats_ == nullptr) return count_;
    counting_ = true;
    counted_ms_ = now_ms;
  }
  list_letters([this](const Result<std::vector<LetterLine>>& lines) {
    const std::lock_guard guard(lock_);
    counting_ = false;
    if (!lines.ok()) return;  // as it was
    count_ = {};
    for (const LetterLine& line : *lines)
      (line.subscription == tells_box ? count_.tells : count_.events) += line.parked.length;
  });
  const std::lock_guard guard(lock_);
  return count_;
}

void TellLetters::list_letters(Answer<std::vector<LetterLine>> then) {
  auto listing = std::make_shared<Listing>();
  listing->then = std::move(then);
  {
    const std::lock_guard guard(lock_);
    listing->shards.assign(served_.begin(), served_.end());
  }
  list_some(listing);
}

/// A shard that has another owner now is that one's to tell of.
void TellLetters::list_some(const std::shared_ptr<Listing>& listing) {
  std::size_t first = 0, last = 0;
  {
    const std::lock_guard guard(listing->lock);
    first = listing->next;
    last = std::min(first + side_by_side, listing->shards.size());
    listing->next = last;
    listing->open = last - first;
  }
  if (first == last)
    return listing->error ? listing->then(*listing->error)
                          : listing->then(std::move(listing->lines));
  for (std::size_t i = first; i < last; ++i) {
    const auto& [shard, token] = listing->shards[i];
    around_.letters.boxes(shard, token, [this, listing](const Result<LetterBoxes>& boxes) {
      {
        const std::lock_guard guard(listing->lock);
        if (!boxes.ok()) listing->error = boxes.error();
        if (boxes.ok() && !boxes->fenced)
          for (const LetterBoxes::Box& box : boxes->boxes)
            if (auto line = line_of(box)) listing->lines.push_back(std::move(*line));
        if (--listing->open != 0) return;
      }
      list_some(listing);
    });
  }
}

void TellLetters::show_letters(const EntityId& source, std::uint64_t limit,
                               Answer<std::vector<DeadLetter>> then) {
  const Result<LetterBox> box = box_of(source);
  if (!box.ok()) return then(box.error());
  around_.letters.read(*box, limit, [then = std::move(then)](const Result<Letters>& answer) {
    then(letters_in(answer));
  });
}

void TellLetters::retry_letters(const LetterOrder& order, Answer<std::uint64_t> then) {
  retry_head(order, 0, then);
}

void TellLetters::retry_head(const LetterOrder& order, std::uint64_t so_far,
                             const Answer<std::uint64_t>& then) {
  const Result<LetterBox> box = box_of(order.source);
  if (!box.ok()) return then(box.error());
  around_.letters.read(*box, 1, [this, order, so_far, then](const Result<Letters>& answer) {
    const Result<std::vector<DeadLetter>> letters = letters_in(answer);
    if (!letters.ok()) return then(letters.error());
    if (letters->empty()) return then(so_far);
    const DeadLetter& letter = letters->front();
    Ask ask;
    ask.entity = letter.target;
    ask.message = letter.event.name;
    ask.payload = letter.event.payload;
    ask.operation = letter.event.id;
    ask.operation_ms = order.renew ? around_.standing.cluster_now() : letter.first_ms;
    around_.messenger.ask(
        std::move(ask), [this, order, so_far, then, letter,
                         head = answer->letters.front()](const Result<std::string>& reply) {
          // A rejection is an answer, recorded like a reply.
          if (!reply.ok() && reply.error().code != Code::rejected)
            return then(not_done(letter, reply.error()));
          take(order.source, head, [this, order, so_far, then](const Result<std::uint64_t>& left) {
            if (!left.ok()) return then(left);
            retry_head(order, so_far + 1, then);
          });
        });
  });
}

void TellLetters::discard_letter(const EntityId& source, Answer<std::uint64_t> then) {
  const Result<LetterBox> box = box_of(source);
  if (!box.ok()) return then(box.error());
  around_.letters.read(*box, 1,
                       [this, source, then = std::move(then)](const Result<Letters>& answer) {
                         if (!answer.ok()) return then(answer.error());
                         if (answer->fenced) return then(letters_in(answer).error());
                         if (answer->letters.empty()) return then(nothing_parked(source));
                         take(source, answer->letters.front(), then);
                       });
}

/// Removes the head, if it is this letter. `then` gets how many are left.
void TellLetters::take(const EntityId& source, const std::string& letter,
                       const Answer<std::uint64_t>& then) {
  const Result<LetterBox> box = box_of(source);
  if (!box.ok()) return then(box.error());
  around_.letters.take(*box, letter, [then](const Result<LetterAnswer>& answer) {
    if (!answer.ok()) return then(answer.error());
    if (answer->outcome == LetterAnswer::Outcome::fenced)
      return then(Error{Code::unavailable, "the shard has another owner; ask again"});
    then(answer->length);
  });
}

}  // namespace catga
