"""CUDA without a GPU: the emitted source itself, compiled by g++ and run on the CPU, one fiber a thread.

    include/        what the source sees of CUDA
    runtime/        the emulator, in C++: fibers and barriers (threads), arrays between guard pages (memory), the
                    last accesses of each byte (shadow), a process that serves requests (main)
    toolchain.py    g++, and the cache of what it makes
    process.py      the emulator's process, seen from Python
    findings.py     what is found wrong, as data and as diagnostics
    lines.py        places in machine code to lines of the source
    run.py          launches of one library on arrays: what users of this package call

It finds races (also in shared memory, between barriers), divergent barriers, deadlocks, accesses out of bounds or
misaligned, reads of what was never written, results that are left out, and kernels that never end. It does not
see bank conflicts, missing proxy fences, or the weak order of a GPU's memory.
"""
