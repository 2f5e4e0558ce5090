// Operation ids: the caller's name for one command, the same at every repeat.
#pragma once
#include "catga/sharding/ids.hpp"

namespace catga {

/// 128 random bits, never zero. Any thread. Asks the kernel each time, so that two processes of one
/// fork never make the same id: the second's commands would be answered with the replies to the
/// first's.
OperationId new_operation_id();

}  // namespace catga
