"""Fork and join in LLVM IR: the runtime that shares the trips of a parallel loop among threads.

`te_parallel_for(part, closure, extent, threads, work)` calls `part(closure, low, high, slot)` for ranges that make up
`0 .. extent`, in the calling thread and in helpers that happen to be free, and returns when all have
returned. `slot` differs between the threads that are in the call, and is less than `threads`: 0 is the
caller. A kernel that has memory for each of so many threads gives a part of it to each slot. `work` is
about how many operations all trips take: little work wakes nobody, for that takes longer (5 to 60 µs),
but each sixteenth such call does, so that many in a row find the helpers awake.

The protocol
------------
A *call* is a record in a table. Its first word, the *ticket*, counts the trips nobody has taken yet and
the seats for helpers nobody sits on.

- The caller claims the first record that is free, fills it in, and publishes it by storing the ticket. It
  takes shares of the trips, as helpers do, until there are none, waits for the helpers that took some,
  and gives the record back. Where no record is free, it runs all trips itself.
- A helper looks at all records that have ever been used, which are few. It joins a call by one
  compare-and-swap that takes a seat and a share together, so who joins has work. It takes shares until
  there are none. The last thing it does to the record is to count itself out (`gone`).
- Where no trips are left, nobody can join any more: how many did is the number of seats taken, which the
  caller reads from the same ticket. It waits until so many have counted themselves out, and for nobody
  if none came. So a call ends whether or not anybody helps.

A record is one cache line, and so is what tells helpers of a new call: on the way from the caller to a
helper lie two transfers of a line, on the way back two more (0.1 µs each between two cores).

A share is `trips / divisor`: large first, and small at the end, so that all finish together (guided
self-scheduling: Polychronopoulos and Kuck, 1987), but at least `least` trips.

Why it is right
---------------
*Records are used again while helpers may still look at them.* A helper reads nothing of a record before
it has joined but the ticket and what decides the size of a share. If the record is given to another call
in between, its compare-and-swap fails, or, where the ticket happens to be equal, joins that other call.
Then the size is what the former call would have given; but any share from 1 to all trips is right: where
it begins, and the function, are read after joining. Once joined, the record stays: its caller waits.

*What a helper reads* of the record and of memory was written before the ticket was stored (release),
and the helper's compare-and-swap reads that value or one that others made of it (acquire; they continue
its release sequence). *What it writes* is visible to the caller, which reads (acquire) the last
of the additions to `gone` (release, each continuing those before). A record is claimed (acquire) after it
was given back (release), so what its next caller stores comes after all the loads of this one.

*Nobody oversleeps.* A worker reads `te_epoch`, then looks for calls, then sleeps on `te_epoch` unless it
has changed since; before that it counts itself among `te_sleepers`. A caller publishes its ticket, then adds to
`te_epoch`, then reads `te_sleepers`, and wakes if there are any. The counting, the addition and that
read are sequentially consistent: if the caller sees no sleeper, its addition came first, and the kernel,
which compares the word again under a lock, does not let the worker sleep. A worker that has read the new
`te_epoch` (acquire) also sees the ticket and that the record is used. In the same way a caller that is
tired of waiting sets a bit of `gone`, and who counts himself out and finds the bit set wakes it. Sleepers
that are woken for nothing, because a record was given to another call meanwhile, look and sleep again.

*A fork* leaves the child with this memory and without helpers. `te_reset` forgets them and the calls of
other threads. Without it calls would end as well: nobody joins.

Two ways of waiting
-------------------
On Linux helpers are threads made by `pthread_create` that run nothing but this code (`LINUX`). They spin
for `te_spin` pauses and then sleep in a futex, with all signals blocked but those of faults. A caller
spins for longer, `te_patience`: it waits for threads that are at work. Elsewhere
they are Python threads that wait for a queue (`PORTABLE`): a caller puts a token into it for each that it
wants, by `SimpleQueue.put` itself, which is written in C, so that no Python code runs in the calling
thread, where a signal could raise an exception in the middle of a call; it waits by yielding.
"""

from __future__ import annotations

import platform
import sys
from string import Template

__all__ = ["has_native_workers", "runtime_text"]

RECORDS = 64  # calls at the same time; more run serially
SEAT_BITS = 48  # of a ticket: trips below, seats above
MAX_SEATS = (1 << 15) - 1
SHARES_PER_THREAD = 2  # of the trips that are left, each time one is taken
WAKING_WORK = 100_000.0  # operations, vector instructions counted as one, for which sleepers are woken
PATIENT_CALLS = 16  # with less work than that, while all sleep, until one wakes them; a power of two
FINEST = 64  # and never less than this part of a fair share of all
STACK = 2 << 20  # of a worker: parts keep 128 KiB of buffers there, and C libraries their thread-local data

_COMMON = Template("""\
; 0 ticket, 1 gone, 2 is claimed, 3 part, 4 closure, 5 extent, 6 seats, 7 divisor, 8 least share
%call = type { i64, i32, i32, ptr, ptr, i64, i64, i64, i64, [64 x i8] }

@te_records = internal global [$records x %call] zeroinitializer, align 128
; What every call changes.
@te_epoch = internal global i32 0, align 128
@te_sleepers = internal global i32 0, align 4
; What is only read, but for rare moments: helpers that may help, records that have ever been claimed.
@te_helpers = internal global i32 0, align 128
@te_used = internal global i32 0, align 4

declare i64 @llvm.umin.i64(i64, i64)
declare i64 @llvm.umax.i64(i64, i64)
declare void @llvm.prefetch.p0(ptr, i32, i32, i32)

define void @te_parallel_for(ptr %part, ptr %closure, i64 %extent, i64 %most, double %work) #0 {
entry:
  %available = load atomic i32, ptr @te_helpers monotonic, align 4
  %available.64 = zext i32 %available to i64
  %most.helpers = sub i64 %most, 1
  %helpers = call i64 @llvm.umin.i64(i64 %available.64, i64 %most.helpers)
  %others = sub i64 %extent, 1
  %seats = call i64 @llvm.umin.i64(i64 %helpers, i64 %others)
  %is_alone = icmp eq i64 %seats, 0
  %is_huge = icmp ugt i64 %extent, $most_trips
  %is_serial = or i1 %is_alone, %is_huge
  br i1 %is_serial, label %alone, label %weigh
weigh:
  %is_much = fcmp ogt double %work, $waking_work
  br i1 %is_much, label %claim, label %modest
modest:
  %is_awake = call i1 @is_awake(i32 %available)
  br i1 %is_awake, label %claim, label %alone
alone:
  call void %part(ptr %closure, i64 0, i64 %extent, i64 0)
  ret void
claim:
  %number = phi i32 [ 0, %weigh ], [ 0, %modest ], [ %number.next, %claim.next ]
  %call = getelementptr [$records x %call], ptr @te_records, i64 0, i32 %number
  %claim.at = getelementptr %call, ptr %call, i64 0, i32 2
  %claimed = cmpxchg ptr %claim.at, i32 0, i32 1 acquire monotonic, align 4
  %is_mine = extractvalue { i32, i1 } %claimed, 1
  br i1 %is_mine, label %publish, label %claim.next
claim.next:
  %number.next = add i32 %number, 1
  %is_full = icmp eq i32 %number.next, $records
  br i1 %is_full, label %alone, label %claim
publish:
  %gone.at = getelementptr %call, ptr %call, i64 0, i32 1
  %part.at = getelementptr %call, ptr %call, i64 0, i32 3
  %closure.at = getelementptr %call, ptr %call, i64 0, i32 4
  %extent.at = getelementptr %call, ptr %call, i64 0, i32 5
  %seats.at = getelementptr %call, ptr %call, i64 0, i32 6
  %divisor.at = getelementptr %call, ptr %call, i64 0, i32 7
  %least.at = getelementptr %call, ptr %call, i64 0, i32 8
  %threads = add i64 %seats, 1
  %divisor = mul i64 %threads, $shares
  %finest = mul i64 %threads, $finest
  %tiny = udiv i64 %extent, %finest
  %least = call i64 @llvm.umax.i64(i64 %tiny, i64 1)
  store atomic i32 0, ptr %gone.at monotonic, align 4
  store ptr %part, ptr %part.at
  store ptr %closure, ptr %closure.at
  store i64 %extent, ptr %extent.at
  store i64 %seats, ptr %seats.at
  store atomic i64 %divisor, ptr %divisor.at monotonic, align 8
  store atomic i64 %least, ptr %least.at monotonic, align 8
  %seats.high = shl i64 %seats, $seat_bits
  %ticket = or i64 %seats.high, %extent
  store atomic i64 %ticket, ptr %call release, align 8
  %used = load atomic i32, ptr @te_used monotonic, align 4
  %is_known = icmp ult i32 %number, %used
  br i1 %is_known, label %tell, label %widen
widen:
  %number.end = add i32 %number, 1
  %used.before = atomicrmw umax ptr @te_used, i32 %number.end monotonic, align 4
  br label %tell
tell:
  call void @invite(i64 %seats)
  %final = call i64 @take_shares(ptr %call, i64 0)
  %unused = lshr i64 %final, $seat_bits
  %joined = sub i64 %seats, %unused
  %is_nobody = icmp eq i64 %joined, 0
  br i1 %is_nobody, label %give_back, label %wait
wait:
  %joined.32 = trunc i64 %joined to i32
  call void @wait_until_gone(ptr %gone.at, i32 %joined.32)
  br label %give_back
give_back:
  store atomic i32 0, ptr %claim.at release, align 4
  ret void
}

; How many trips to take of those that are left: at least 1, at most all.
define internal i64 @share(ptr %call, i64 %trips) #1 {
  %divisor.at = getelementptr %call, ptr %call, i64 0, i32 7
  %least.at = getelementptr %call, ptr %call, i64 0, i32 8
  %divisor = load atomic i64, ptr %divisor.at monotonic, align 8
  %least = load atomic i64, ptr %least.at monotonic, align 8
  %fair = udiv i64 %trips, %divisor
  %enough = call i64 @llvm.umax.i64(i64 %fair, i64 %least)
  %share = call i64 @llvm.umin.i64(i64 %enough, i64 %trips)
  ret i64 %share
}

define internal void @run(ptr %call, i64 %left, i64 %share, i64 %slot) #1 {
  %part.at = getelementptr %call, ptr %call, i64 0, i32 3
  %closure.at = getelementptr %call, ptr %call, i64 0, i32 4
  %extent.at = getelementptr %call, ptr %call, i64 0, i32 5
  %part = load ptr, ptr %part.at
  %closure = load ptr, ptr %closure.at
  %extent = load i64, ptr %extent.at
  %low = sub i64 %extent, %left
  %high = add i64 %low, %share
  call void %part(ptr %closure, i64 %low, i64 %high, i64 %slot)
  ret void
}

; For the threads in the call: shares, until no trips are left; then the ticket does not change any more.
define internal i64 @take_shares(ptr %call, i64 %slot) #0 {
entry:
  br label %look
look:
  %ticket = load atomic i64, ptr %call monotonic, align 8
  %trips = and i64 %ticket, $trip_mask
  %is_done = icmp eq i64 %trips, 0
  br i1 %is_done, label %done, label %take
take:
  %share = call i64 @share(ptr %call, i64 %trips)
  %less = sub i64 %ticket, %share
  %swapped = cmpxchg weak ptr %call, i64 %ticket, i64 %less monotonic monotonic, align 8
  %is_taken = extractvalue { i64, i1 } %swapped, 1
  br i1 %is_taken, label %work, label %look
work:
  call void @run(ptr %call, i64 %trips, i64 %share, i64 %slot)
  br label %look
done:
  ret i64 %ticket
}

; Joins a call, if there are trips and a seat, and works for it to its end. Whether it did.
define internal i1 @join(ptr %call) #0 {
entry:
  call void @llvm.prefetch.p0(ptr %call, i32 1, i32 3, i32 1)
  br label %look
look:
  %ticket = load atomic i64, ptr %call acquire, align 8
  %trips = and i64 %ticket, $trip_mask
  %slot = lshr i64 %ticket, $seat_bits
  %is_done = icmp eq i64 %trips, 0
  %is_full = icmp eq i64 %slot, 0
  %is_closed = or i1 %is_done, %is_full
  br i1 %is_closed, label %closed, label %take
closed:
  ret i1 false
take:
  %share = call i64 @share(ptr %call, i64 %trips)
  %less = sub i64 %ticket, %share
  %seated = sub i64 %less, $one_seat
  %swapped = cmpxchg weak ptr %call, i64 %ticket, i64 %seated acquire monotonic, align 8
  %is_taken = extractvalue { i64, i1 } %swapped, 1
  br i1 %is_taken, label %work, label %look
work:
  call void @run(ptr %call, i64 %trips, i64 %share, i64 %slot)
  %final = call i64 @take_shares(ptr %call, i64 %slot)
  %gone.at = getelementptr %call, ptr %call, i64 0, i32 1
  call void @leave(ptr %gone.at)
  ret i1 true
}

; Helps all calls that want it. Whether there was one.
define i1 @te_help() #0 {
entry:
  %used = load atomic i32, ptr @te_used monotonic, align 4
  %is_unused = icmp eq i32 %used, 0
  br i1 %is_unused, label %none, label %try
none:
  ret i1 false
try:
  %number = phi i32 [ 0, %entry ], [ %number.next, %try ]
  %helped = phi i1 [ false, %entry ], [ %helped.now, %try ]
  %call = getelementptr [$records x %call], ptr @te_records, i64 0, i32 %number
  %joined = call i1 @join(ptr %call)
  %helped.now = or i1 %helped, %joined
  %number.next = add i32 %number, 1
  %is_done = icmp uge i32 %number.next, %used
  br i1 %is_done, label %done, label %try
done:
  ret i1 %helped.now
}

; In the child of a fork: no helpers, and no calls.
define void @te_reset() #0 {
entry:
  store atomic i32 0, ptr @te_helpers monotonic, align 4
  store atomic i32 0, ptr @te_sleepers monotonic, align 4
  br label %next
next:
  %number = phi i32 [ 0, %entry ], [ %number.next, %next ]
  %claim.at = getelementptr [$records x %call], ptr @te_records, i64 0, i32 %number, i32 2
  %call.at = getelementptr [$records x %call], ptr @te_records, i64 0, i32 %number
  store atomic i64 0, ptr %call.at monotonic, align 8
  store atomic i32 0, ptr %claim.at release, align 4
  %number.next = add i32 %number, 1
  %is_done = icmp eq i32 %number.next, $records
  br i1 %is_done, label %done, label %next
done:
  ret void
}

attributes #0 = { nounwind }
attributes #1 = { nounwind alwaysinline }
""")

_LINUX = Template("""\
@te_alone = internal global i32 0, align 128
@te_spin = internal global i64 0, align 128
@te_patience = internal global i64 0, align 8
@te_name = internal constant [3 x i8] c"te\\00"

declare i64 @syscall(i64, ...)
declare i32 @prctl(i32, ...)
declare i32 @sigfillset(ptr)
declare i32 @sigdelset(ptr, i32)
declare i32 @pthread_sigmask(i32, ptr, ptr)
declare i32 @pthread_attr_init(ptr)
declare i32 @pthread_attr_setdetachstate(ptr, i32)
declare i32 @pthread_attr_setstacksize(ptr, i64)
declare i32 @pthread_attr_destroy(ptr)
declare i32 @pthread_create(ptr, ptr, ptr, ptr)
declare void @$pause

define internal void @sleep_on(ptr %word, i32 %value) #0 {
  %value.64 = zext i32 %value to i64
  %r = call i64 (i64, ...) @syscall(i64 $futex, ptr %word, i64 $wait, i64 %value.64, ptr null, ptr null, i64 0)
  ret void
}

define internal void @wake(ptr %word, i64 %count) #0 {
  %r = call i64 (i64, ...) @syscall(i64 $futex, ptr %word, i64 $wake, i64 %count, ptr null, ptr null, i64 0)
  ret void
}

; Whether a helper is awake, or it is time to wake some.
define internal i1 @is_awake(i32 %helpers) #0 {
entry:
  %sleepers = load atomic i32, ptr @te_sleepers monotonic, align 4
  %is_some = icmp ult i32 %sleepers, %helpers
  br i1 %is_some, label %yes, label %none
yes:
  ret i1 true
none:
  %alone = atomicrmw add ptr @te_alone, i32 1 monotonic, align 4
  %phase = and i32 %alone, $patience_mask
  %is_time = icmp eq i32 %phase, $patience_mask
  ret i1 %is_time
}

define internal void @invite(i64 %seats) #1 {
entry:
  %epoch = atomicrmw add ptr @te_epoch, i32 1 seq_cst, align 4
  %sleepers = load atomic i32, ptr @te_sleepers seq_cst, align 4
  %is_nobody = icmp eq i32 %sleepers, 0
  br i1 %is_nobody, label %done, label %some
some:
  call void @wake(ptr @te_epoch, i64 %seats)
  br label %done
done:
  ret void
}

; Spins, at most `limit` pauses long, until the word has the value (or, where `is_wanted` is false, another one).
define internal i1 @spin(ptr %word, i32 %value, i1 %is_wanted, i64 %limit) #1 {
entry:
  br label %look
look:
  %pauses = phi i64 [ 0, %entry ], [ %pauses.next, %pause ]
  %now = load atomic i32, ptr %word acquire, align 4
  %is_equal = icmp eq i32 %now, %value
  %is_so = icmp eq i1 %is_equal, %is_wanted
  br i1 %is_so, label %done, label %again
again:
  %is_tired = icmp uge i64 %pauses, %limit
  br i1 %is_tired, label %done, label %pause
pause:
  call void @$pause_call
  %pauses.next = add i64 %pauses, 1
  br label %look
done:
  ret i1 %is_so
}

; The bit by which a caller says that it sleeps is the highest of `gone`.
define internal void @wait_until_gone(ptr %gone.at, i32 %joined) #0 {
entry:
  %patience = load atomic i64, ptr @te_patience monotonic, align 8
  %is_done = call i1 @spin(ptr %gone.at, i32 %joined, i1 true, i64 %patience)
  br i1 %is_done, label %done, label %tired
tired:
  %before = atomicrmw or ptr %gone.at, i32 -2147483648 acquire, align 4
  %now = or i32 %before, -2147483648
  %wanted = or i32 %joined, -2147483648
  %is_late = icmp eq i32 %now, %wanted
  br i1 %is_late, label %done, label %sleep
sleep:
  call void @sleep_on(ptr %gone.at, i32 %now)
  br label %tired
done:
  ret void
}

define internal void @leave(ptr %gone.at) #0 {
entry:
  %before = atomicrmw add ptr %gone.at, i32 1 release, align 4
  %is_asleep = icmp slt i32 %before, 0
  br i1 %is_asleep, label %asleep, label %done
asleep:
  call void @wake(ptr %gone.at, i64 1)
  br label %done
done:
  ret void
}

define internal ptr @worker(ptr %number) #0 {
entry:
  %number.64 = ptrtoint ptr %number to i64
  %mine = trunc i64 %number.64 to i32
  %named = call i32 (i32, ...) @prctl(i32 15, ptr @te_name)
  br label %look
look:
  %helpers = load atomic i32, ptr @te_helpers monotonic, align 4
  %is_wanted = icmp ult i32 %mine, %helpers
  br i1 %is_wanted, label %help, label %retire
retire:
  call void @sleep_on(ptr @te_helpers, i32 %helpers)
  br label %look
help:
  %epoch = load atomic i32, ptr @te_epoch acquire, align 4
  %helped = call i1 @te_help()
  br i1 %helped, label %look, label %idle
idle:
  %limit = load atomic i64, ptr @te_spin monotonic, align 8
  %is_news = call i1 @spin(ptr @te_epoch, i32 %epoch, i1 false, i64 %limit)
  br i1 %is_news, label %look, label %tired
tired:
  %sleepers = atomicrmw add ptr @te_sleepers, i32 1 seq_cst, align 4
  call void @sleep_on(ptr @te_epoch, i32 %epoch)
  %awake = atomicrmw sub ptr @te_sleepers, i32 1 seq_cst, align 4
  br label %look
}

; Starts a worker; not 0 if the system refuses. It inherits the signals that are blocked here.
define i32 @te_add_worker(i64 %number) #0 {
  %thread = alloca i64
  %attributes = alloca [128 x i8], align 16
  %blocked = alloca [128 x i8], align 16
  %before = alloca [128 x i8], align 16
  %number.ptr = inttoptr i64 %number to ptr
  %r0 = call i32 @pthread_attr_init(ptr %attributes)
  %r1 = call i32 @pthread_attr_setdetachstate(ptr %attributes, i32 1)
  %r2 = call i32 @pthread_attr_setstacksize(ptr %attributes, i64 $stack)
  %r3 = call i32 @sigfillset(ptr %blocked)
$faults
  %r4 = call i32 @pthread_sigmask(i32 2, ptr %blocked, ptr %before)
  %failed = call i32 @pthread_create(ptr %thread, ptr %attributes, ptr @worker, ptr %number.ptr)
  %r5 = call i32 @pthread_sigmask(i32 2, ptr %before, ptr null)
  %r6 = call i32 @pthread_attr_destroy(ptr %attributes)
  ret i32 %failed
}

; How many of the workers may help. Those that were not wanted before look again.
define void @te_set_helpers(i32 %count) #0 {
  store atomic i32 %count, ptr @te_helpers seq_cst, align 4
  call void @wake(ptr @te_helpers, i64 2147483647)
  ret void
}

; How many pauses workers and callers spin before they sleep.
define void @te_set_spin(i64 %spin, i64 %patience) #0 {
  store atomic i64 %spin, ptr @te_spin monotonic, align 8
  store atomic i64 %patience, ptr @te_patience monotonic, align 8
  ret void
}

define void @te_pause(i64 %times) #0 {
entry:
  br label %next
next:
  %i = phi i64 [ 0, %entry ], [ %i.next, %next ]
  call void @$pause_call
  %i.next = add i64 %i, 1
  %is_done = icmp uge i64 %i.next, %times
  br i1 %is_done, label %done, label %next
done:
  ret void
}
""")

_PORTABLE = Template("""\
@te_put = global ptr null

declare i32 @$yield()

define internal i1 @is_awake(i32 %helpers) #1 {
  ret i1 false
}

define internal void @invite(i64 %seats) #0 {
entry:
  %put = load atomic ptr, ptr @te_put acquire, align 8
  br label %next
next:
  %i = phi i64 [ 0, %entry ], [ %i.next, %next ]
  call void %put(ptr null)
  %i.next = add i64 %i, 1
  %is_done = icmp eq i64 %i.next, %seats
  br i1 %is_done, label %done, label %next
done:
  ret void
}

define internal void @wait_until_gone(ptr %gone.at, i32 %joined) #0 {
entry:
  br label %look
look:
  %gone = load atomic i32, ptr %gone.at acquire, align 4
  %is_done = icmp eq i32 %gone, %joined
  br i1 %is_done, label %done, label %pause
pause:
  %r = call i32 @$yield()
  br label %look
done:
  ret void
}

define internal void @leave(ptr %gone.at) #0 {
  %before = atomicrmw add ptr %gone.at, i32 1 release, align 4
  ret void
}

define void @te_set_helpers(i32 %count) #0 {
  store atomic i32 %count, ptr @te_helpers seq_cst, align 4
  ret void
}
""")

# The number of the system call `futex`, and how a CPU is told that a loop only waits.
_FUTEX = {"x86_64": 202, "aarch64": 98}
_PAUSE = {
    "x86_64": ("llvm.x86.sse2.pause()", "llvm.x86.sse2.pause()"),
    "aarch64": ("llvm.aarch64.isb(i32)", "llvm.aarch64.isb(i32 15)"),
}
# Faults of a worker's own code (SIGILL, SIGTRAP, SIGBUS, SIGFPE, SIGSEGV) are reported as those of any thread.
_FAULTS = (4, 5, 7, 8, 11)


def has_native_workers() -> bool:
    """Whether workers can be threads without Python: on Linux, on the machines whose system calls are known."""
    return sys.platform == "linux" and platform.machine() in _FUTEX


def runtime_text(*, native: bool) -> str:
    """The runtime as LLVM IR."""
    common = _COMMON.substitute(
        records=RECORDS,
        seat_bits=SEAT_BITS,
        one_seat=1 << SEAT_BITS,
        trip_mask=(1 << SEAT_BITS) - 1,
        most_trips=(1 << SEAT_BITS) - 1,
        shares=SHARES_PER_THREAD,
        finest=FINEST,
        waking_work=f"{WAKING_WORK:e}",
    )
    if not native:
        return common + _PORTABLE.substitute(
            {"yield": "SwitchToThread" if sys.platform == "win32" else "sched_yield"}
        )
    pause, pause_call = _PAUSE[platform.machine()]
    faults = "\n".join(
        f"  %fault{number} = call i32 @sigdelset(ptr %blocked, i32 {number})" for number in _FAULTS
    )
    return common + _LINUX.substitute(
        futex=_FUTEX[platform.machine()],
        wait=128,  # FUTEX_WAIT_PRIVATE
        wake=129,  # FUTEX_WAKE_PRIVATE
        stack=STACK,
        patience_mask=PATIENT_CALLS - 1,
        pause=pause,
        pause_call=pause_call,
        faults=faults,
    )
