#include "findings.h"

#include <cstdio>
#include <set>
#include <string>
#include <utility>

static const char* const SPACES[] = {"none", "array", "shared", "static shared"};
static const char* const KINDS[] = {"read", "write", "atomic", "barrier", "warp barrier", "left", "other", "copy"};

static std::set<std::pair<std::string, std::multiset<std::pair<uint32_t, int>>>> reported;
static int remaining;

int current_launch;

void forget_findings(int limit) {
    reported.clear();
    remaining = limit;
}

void report(const char* name, const Place& place, const Actor* actors, int count) {
    std::multiset<std::pair<uint32_t, int>> places;  // whoever comes first
    for (int n = 0; n < count; n++) places.insert({actors[n].code, actors[n].line});
    if (remaining == 0 || !reported.insert({name, places}).second) return;
    remaining--;
    printf("{\"finding\": \"%s\", \"launch\": %d", name, current_launch);
    if (place.space != Space::none)
        printf(", \"space\": \"%s\", \"array\": %d, \"offset\": %lld, \"bytes\": %u",
               SPACES[(int)place.space], place.array, (long long)place.offset, place.bytes);
    printf(", \"actors\": [");
    for (int n = 0; n < count; n++) {
        const Actor& a = actors[n];
        printf("%s{\"kind\": \"%s\", \"block\": [%u, %u, %u], \"thread\": [%u, %u, %u], \"code\": %u, \"line\": %d}",
               n ? ", " : "", KINDS[(int)a.kind], a.block.x, a.block.y, a.block.z, a.thread.x, a.thread.y, a.thread.z,
               a.code, a.line);
    }
    printf("]}\n");
    fflush(stdout);
}
