// Catga: virtual, sharded entities. The one header a user includes.
#pragma once
#if __cplusplus < 202002L
#error "Catga needs C++20: compile with -std=c++20 or later"
#endif
#include "catga/entities/entity.hpp"
#include "catga/entities/message.hpp"
#include "catga/entities/ref.hpp"
#include "catga/entities/saga/builder.hpp"
#include "catga/entities/saga/handle.hpp"
#include "catga/entities/task.hpp"
#include "catga/entities/turn.hpp"
#include "catga/runtime/client.hpp"
#include "catga/runtime/config.hpp"
#include "catga/runtime/node.hpp"
#include "catga/runtime/sagas.hpp"
