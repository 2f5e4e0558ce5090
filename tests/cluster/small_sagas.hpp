// The small sagas of samples and tests, in one program: that of the README, and those of tests whose own subject is
// something else.
#pragma once
// The sample as it stands; its main() is not called.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wreturn-type"
#define main main_of_the_sample
#include "../../samples/transfer.cpp"
#undef main
#pragma GCC diagnostic pop

#include "../tool/parcels.hpp"
#include "event_kinds.hpp"
#include "sagas.hpp"
