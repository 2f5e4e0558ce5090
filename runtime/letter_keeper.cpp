#include "catga/runtime/letter_keeper.hpp"

#include <utility>

namespace catga {

Result<std::vector<DeadLetter>> letters_in(const Result<Letters>& answer) {
  if (!answer.ok()) return answer.error();
  if (answer->fenced) return Error{Code::unavailable, "the shard has another owner; ask again"};
  std::vector<DeadLetter> all;
  for (const std::string& bytes : answer->letters)
    all.push_back(CATGA_TRY(parse_dead_letter(bytes)));
  return all;
}

Error nothing_parked(const EntityId& source) {
  return {Code::not_found, "nothing of " + text_of(source) + " is parked"};
}

}  // namespace catga
