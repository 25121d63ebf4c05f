// Asynchronous copies to shared memory: under way from where a thread begins them to where it waits for them.
//
// A GPU makes a copy at any time between the two. Here it is made at once, or, where the request asks for late
// copies, when the thread waits: both are the extremes of what may happen. In between, whatever uses what a copy
// writes, or changes what it reads, is a finding.
#pragma once
#include <cstdint>

#include "findings.h"

extern bool copies_are_late;

// A block begins: nothing is under way.
void forget_copies();

// Whether an access at an address meets a copy under way; then `copy` says who began it, and where.
bool meets_copy(const Place& place, uintptr_t address, Kind kind, Actor& copy);
