// Fuzz target: payloads and states, msgpack from other nodes and from the store.
#include <catga/entities/codec.hpp>
#include <catga/entities/json.hpp>

#include "everything.hpp"
#include "target.hpp"

using namespace catga;

namespace {

template <class Type>
void try_as(std::string_view bytes, UnknownField unknown) {
  const Result<Type> value = decode<Type>(bytes, unknown);
  if (!value.ok()) {
    fuzz::require(value.error().code == Code::malformed, "bad bytes are malformed");
    fuzz::require(!value.error().text.empty(), "an error has words");
    return;
  }
  const std::string written = encode(*value);
  const Result<Type> again = decode<Type>(written, UnknownField::refuse);
  fuzz::require(again.ok(), "a value that was decoded is decoded again");
  fuzz::require(encode(*again) == written, "a value keeps its meaning on the way and back");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes = fuzz::text(data, size);
  for (const UnknownField unknown : {UnknownField::skip, UnknownField::refuse}) {
    try_as<fuzz::Everything>(bytes, unknown);
    try_as<fuzz::Tree>(bytes, unknown);
    try_as<std::map<std::string, std::vector<std::optional<double>>>>(bytes, unknown);
  }
  if (const Result<std::string> json = json_from_msgpack(bytes); json.ok())
    fuzz::require(msgpack_from_json(*json).ok(), "what goes out as JSON is JSON");
  return 0;
}
