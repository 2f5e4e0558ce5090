// Fuzz target: what membership drivers send each other, and the subjects that name a node.
#include <catga/runtime/cluster/membership_wire.hpp>

#include "target.hpp"

using namespace catga;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes = fuzz::text(data, size);
  if (const Result<membership::Frame> frame = membership::decode(bytes); frame.ok()) {
    fuzz::require(bool{frame->from}, "a frame has a sender");
    const std::string known = membership::encode(*frame);  // without pieces of later versions
    fuzz::require(known.size() <= bytes.size(), "a frame does not grow by being read");
    const Result<membership::Frame> again = membership::decode(known);
    fuzz::require(again.ok() && *again == *frame, "a frame is read as it was written");
    if (const Result<Member> row = parse_row(frame->about, frame->row); row.ok())
      fuzz::require(*parse_row(frame->about, row_of(*row)) == *row, "a row is read again");
  } else {
    fuzz::require(frame.error().code == Code::malformed, "bad bytes are malformed");
  }
  if (const auto target = membership::target_of_echo(bytes)) {
    const std::string subject = membership::echo_subject("c", Incarnation{1, 2}, *target);
    fuzz::require(membership::target_of_echo(subject) == target, "an echo names its target");
  }
  return 0;
}
