// The emulator: a process that runs launches of compiled kernels, one request after the other, and tells what it
// finds. It is a process of its own so that a kernel that crashes or never ends takes nobody with it.
//
//     emulator FILE    the number of an open file, which holds the arrays
//
// A request is lines of words on the standard input:
//
//     begin CHECKED ORDER LATE SECONDS FINDINGS   checked: the libraries are instrumented; late: copies are
//     array OFFSET BYTES ROLE                     in the file; they are numbered from 0
//     launch LIBRARY SYMBOL GRID(3) BLOCK(3) SHARED COUNT ARGUMENT...     `a0`: an array's address; else a number
//     end
//
// The answer is lines of JSON on the standard output: findings, and at last {"done": launches}. A process that
// could not go on ends without that line.

#include <dlfcn.h>
#include <link.h>
#include <signal.h>
#include <sys/time.h>
#include <ucontext.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <map>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "copies.h"
#include "memory.h"
#include "threads.h"

extern bool is_checked;

// ---------------------------------------------------------------- libraries

struct Library {
    void* handle;
    uintptr_t base, bytes;        // where it is loaded
    uintptr_t statics;            // the shared memory of its kernels
    size_t static_bytes;
};

static int find_extent(dl_phdr_info* info, size_t, void* data) {
    Library& library = *(Library*)data;
    if (info->dlpi_addr != library.base) return 0;
    for (int n = 0; n < info->dlpi_phnum; n++) {
        const ElfW(Phdr)& segment = info->dlpi_phdr[n];
        if (segment.p_type == PT_LOAD) library.bytes = segment.p_vaddr + segment.p_memsz;
        if (segment.p_type == PT_TLS) library.static_bytes = segment.p_memsz;
    }
    return 1;
}

static int find_statics(dl_phdr_info* info, size_t, void* data) {
    Library& library = *(Library*)data;
    if (info->dlpi_addr != library.base) return 0;
    library.statics = (uintptr_t)info->dlpi_tls_data;
    return 1;
}

static Library& library(const std::string& path) {
    static std::map<std::string, Library> loaded;
    const auto known = loaded.find(path);
    if (known != loaded.end()) return known->second;
    Library made = {};
    made.handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (!made.handle) {
        fprintf(stderr, "%s\n", dlerror());
        exit(2);
    }
    link_map* map;
    dlinfo(made.handle, RTLD_DI_LINKMAP, &map);
    made.base = map->l_addr;
    dl_iterate_phdr(find_extent, &made);
    return loaded[path] = made;
}

// Thread-local memory comes into being when it is first asked for.
static void make_statics(Library& library) {
    if (!library.static_bytes || library.statics) return;
    size_t number;
    dlinfo(library.handle, RTLD_DI_TLS_MODID, &number);
    struct {
        size_t module, offset;
    } index = {number, 0};
    extern void* te_tls_address(void*) asm("__tls_get_addr");
    te_tls_address(&index);
    dl_iterate_phdr(find_statics, &library);
}

// ---------------------------------------------------------------- launches

struct Call {
    void* function;
    std::vector<uint64_t> arguments;
};

// A caller may give more arguments than a function takes, and pointers and integers are passed alike.
template <size_t... n> static void call(const Call& c, std::index_sequence<n...>) {
    ((void (*)(decltype((uint64_t)n)...))c.function)(c.arguments[n]...);
}
template <size_t count> static void run_call(void* argument) {
    call(*(const Call*)argument, std::make_index_sequence<count>());
}

static bool launch(std::istringstream& words, unsigned order) {
    std::string path, symbol;
    Index3 grid, block;
    size_t shared, count;
    words >> path >> symbol >> grid.x >> grid.y >> grid.z >> block.x >> block.y >> block.z >> shared >> count;
    Call call = {nullptr, std::vector<uint64_t>(count)};
    for (uint64_t& value : call.arguments) {
        std::string word;
        words >> word;
        value = word[0] == 'a' ? array(atoi(word.c_str() + 1)).low : (uint64_t)atoll(word.c_str());
    }
    Library& from = library(path);
    call.function = dlsym(from.handle, symbol.c_str());
    if (!call.function || count > 512) {
        fprintf(stderr, "%s cannot be called with %zu arguments\n", symbol.c_str(), count);
        exit(2);
    }
    void (*const run)(void*) = count <= 16 ? run_call<16> : count <= 64 ? run_call<64> : run_call<512>;
    call.arguments.resize(count <= 16 ? 16 : count <= 64 ? 64 : 512);
    make_statics(from);
    set_code_base(from.base, from.bytes);
    set_shared_memory(shared, from.statics, from.static_bytes);
    return run_grid({grid, block, run, &call, order});
}

// ---------------------------------------------------------------- signals

static void end_by_signal(int signal, siginfo_t* info, void* state) {
    uintptr_t at = 0;
#if defined(__x86_64__)
    at = (uintptr_t)((ucontext_t*)state)->uc_mcontext.gregs[REG_RIP];
#elif defined(__aarch64__)
    at = (uintptr_t)((ucontext_t*)state)->uc_mcontext.pc;
#endif
    if (!running.thread) _exit(4);  // not in a kernel: the emulator's own mistake
    // A return address is behind the instruction, and so is what the reader expects.
    uint32_t code = code_offset((const void*)at) ? code_offset((const void*)at) + 1 : running.code;
    // It may be interrupted on the way to the emulator, which has no line: the last access is of the same loop.
    if (signal == SIGALRM && is_checked && running.code) code = running.code;
    const Actor mine = actor(*running.thread, Kind::other, code);
    const uintptr_t address = (uintptr_t)info->si_addr;
    const bool in_stack = running.stack - (char*)address <= (ptrdiff_t)page_bytes() && (char*)address < running.stack;
    switch (signal) {
        case SIGALRM: report("time limit", NOWHERE, &mine, 1); break;
        case SIGFPE: report("division by zero", NOWHERE, &mine, 1); break;
        default: report(in_stack ? "stack overflow" : "out of bounds", nearest_array(address), &mine, 1);
    }
    _exit(3);
}

static void catch_signals() {
    static char stack[64 << 10];  // a fiber's own may be what is full
    const stack_t alternate = {stack, 0, sizeof stack};
    sigaltstack(&alternate, nullptr);
    struct sigaction action = {};
    action.sa_sigaction = end_by_signal;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    for (int signal : {SIGSEGV, SIGBUS, SIGFPE, SIGALRM}) sigaction(signal, &action, nullptr);
}

static void set_time_limit(double seconds) {
    const itimerval limit = {{0, 0}, {(time_t)seconds, (suseconds_t)((seconds - (time_t)seconds) * 1e6)}};
    setitimer(ITIMER_REAL, &limit, nullptr);
}

// ---------------------------------------------------------------- requests

int main(int, char** arguments) {
    const int file = atoi(arguments[1]);
    catch_signals();
    unsigned order = 0;
    bool goes_on = true;
    for (std::string line; std::getline(std::cin, line);) {
        std::istringstream words(line);
        std::string verb;
        words >> verb;
        if (verb == "begin") {
            double seconds;
            int findings;
            words >> is_checked >> order >> copies_are_late >> seconds >> findings;
            forget_findings(findings);
            begin_request();
            begin_arrays(file);
            current_launch = 0;
            goes_on = true;
            set_time_limit(seconds);
        } else if (verb == "array") {
            size_t offset, bytes;
            int role;
            words >> offset >> bytes >> role;
            map_array(offset, bytes, (Role)role);
        } else if (verb == "launch") {
            if (!goes_on) continue;
            goes_on = launch(words, order);
            current_launch += goes_on;
        } else if (verb == "end") {
            set_time_limit(0);
            if (is_checked && goes_on) report_unwritten();
            end_arrays();
            printf("{\"done\": %d}\n", current_launch);
            fflush(stdout);
        }
    }
}
