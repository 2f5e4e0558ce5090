#include "catga/entities/operation.hpp"

#include <unistd.h>

#include <cstdio>
#include <cstdlib>

namespace catga {

OperationId new_operation_id() {
  OperationId id;
  while (!id) {
    if (getentropy(&id, sizeof id) != 0) {
      // No id is better than one that may repeat. Linux has had this call since 3.17.
      std::fputs("catga: the kernel gives no random bytes (getrandom); cannot go on\n", stderr);
      std::abort();
    }
  }
  return id;
}

}  // namespace catga
