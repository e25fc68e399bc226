#include "simulator.h"

#include <dlfcn.h>
#include <sys/mman.h>
#include <ucontext.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <memory>
#include <random>
#include <stdexcept>

#if defined(__SANITIZE_ADDRESS__)
#    include <sanitizer/common_interface_defs.h>
#endif
#if defined(SIMULATOR_FOR_THREAD_SANITIZER)
#    include <sanitizer/tsan_interface.h>
#endif

namespace simulator {
namespace {

constexpr std::size_t kStack = std::size_t{256} << 10;

struct Copy {
    void* to;
    const void* from;
    Move move;
    int group;
    bool done;
};

struct Thread {
    ucontext_t context;
    char* stack = nullptr;
    void* fake_stack = nullptr;  // AddressSanitizer's
    void* fiber = nullptr;       // ThreadSanitizer's
    bool done = false;
    const unsigned* awaited = nullptr;  // a generation counter: waits until it differs from
    unsigned seen = 0;
    std::deque<Copy> copies;
    int group = 0;
};

struct Warp {
    unsigned generation = 0;
    int arrived = 0;
    const char* name = nullptr;
    const void* in[32];
    void* out[32];
    char barrier_tags[2] = {};
};

struct Block {
    std::vector<Thread> threads;
    std::vector<Warp> warps;
    std::function<void()> body;
    const char* op = "";
    ucontext_t scheduler;
    void* scheduler_fake_stack = nullptr;
    const void* scheduler_stack = nullptr;
    std::size_t scheduler_stack_size = 0;
    void* scheduler_fiber = nullptr;
    int current = -1, alive = 0, arrived = 0;
    unsigned barriers = 0;
    unsigned extent = 0, index = 0;
    unsigned char* shared = nullptr;
    std::mt19937 random;
    // Used alternately by successive barriers: a thread that leaves one late must not synchronise
    // with threads that have arrived at the next.
    char barrier_tags[2] = {};
    char launch_tag = 0;
};

Block block;

[[noreturn]] void fail(const std::string& message) {
    std::fprintf(stderr, "simulator: %s: %s, block %u, thread %d\n", block.op, message.c_str(),
                 block.index, block.current);
    std::abort();
}

Thread& self() { return block.threads[block.current]; }

void release(void* tag) {
#if defined(SIMULATOR_FOR_THREAD_SANITIZER)
    __tsan_release(tag);
#else
    (void)tag;
#endif
}

void acquire(void* tag) {
#if defined(SIMULATOR_FOR_THREAD_SANITIZER)
    __tsan_acquire(tag);
#else
    (void)tag;
#endif
}

void to_scheduler() {
    Thread& thread = self();
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(thread.done ? nullptr : &thread.fake_stack,
                                   block.scheduler_stack, block.scheduler_stack_size);
#endif
#if defined(SIMULATOR_FOR_THREAD_SANITIZER)
    __tsan_switch_to_fiber(block.scheduler_fiber, __tsan_switch_to_fiber_no_sync);
#endif
    swapcontext(&thread.context, &block.scheduler);
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(self().fake_stack, &block.scheduler_stack,
                                    &block.scheduler_stack_size);
#endif
}

void to_thread(int index) {
    block.current = index;
    Thread& thread = self();
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(&block.scheduler_fake_stack, thread.stack, kStack);
#endif
#if defined(SIMULATOR_FOR_THREAD_SANITIZER)
    __tsan_switch_to_fiber(thread.fiber, __tsan_switch_to_fiber_no_sync);
#endif
    swapcontext(&block.scheduler, &thread.context);
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(block.scheduler_fake_stack, nullptr, nullptr);
#endif
    block.current = -1;
}

void wait_for(const unsigned* generation, unsigned seen) {
    self().awaited = generation;
    self().seen = seen;
    to_scheduler();
}

void enter() {
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(nullptr, &block.scheduler_stack, &block.scheduler_stack_size);
#endif
    acquire(&block.launch_tag);
    block.body();
    for (const Copy& copy : self().copies)
        if (!copy.done) fail("a copy was not waited for");
    release(&block.launch_tag);
    self().done = true;
    --block.alive;
    if (block.alive && block.arrived == block.alive) fail("a thread ends where others wait");
    to_scheduler();
    std::abort();
}

void prepare(Thread& thread) {
    thread.done = false;
    thread.awaited = nullptr;
    thread.copies.clear();
    thread.group = 0;
    if (!thread.stack) {
        void* stack = mmap(nullptr, kStack, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (stack == MAP_FAILED) fail("no memory for stacks");
        thread.stack = static_cast<char*>(stack);
    }
    getcontext(&thread.context);
    thread.context.uc_stack.ss_sp = thread.stack;
    thread.context.uc_stack.ss_size = kStack;
    thread.context.uc_link = nullptr;
    makecontext(&thread.context, enter, 0);
#if defined(SIMULATOR_FOR_THREAD_SANITIZER)
    if (thread.fiber) __tsan_destroy_fiber(thread.fiber);
    thread.fiber = __tsan_create_fiber(0);
#endif
}

void run_block(int threads) {
    block.alive = threads;
    block.arrived = 0;
    for (Warp& warp : block.warps) warp.arrived = 0;
    for (Thread& thread : block.threads) prepare(thread);
#if defined(SIMULATOR_FOR_THREAD_SANITIZER)
    block.scheduler_fiber = __tsan_get_current_fiber();
#endif
    release(&block.launch_tag);
    std::vector<int> order(threads);
    for (int i = 0; i < threads; ++i) order[i] = i;
    while (block.alive) {
        bool moved = false;
        if (settings().seed) std::shuffle(order.begin(), order.end(), block.random);
        for (const int index : order) {
            Thread& thread = block.threads[index];
            if (thread.done || (thread.awaited && *thread.awaited == thread.seen)) continue;
            thread.awaited = nullptr;
            moved = true;
            to_thread(index);
        }
        if (!moved) fail("threads wait for each other");
    }
    acquire(&block.launch_tag);
}

}  // namespace

Settings& settings() {
    static Settings instance;
    return instance;
}

std::vector<Launch>& launches() {
    static std::vector<Launch> instance;
    return instance;
}

Index thread_index() { return {static_cast<unsigned>(block.current)}; }
Index block_index() { return {block.index}; }
Index block_extent() { return {block.extent}; }
unsigned char* shared_memory() { return block.shared; }

void run(const char* op, const void* kernel, std::int64_t blocks, int threads, int shared_bytes,
         const void* params, std::size_t size, const std::function<void()>& body) {
    if (threads < 1 || threads > 1024 || threads % 32)
        throw std::runtime_error(std::string(op) + ": a block of " + std::to_string(threads));
    if (shared_bytes > settings().shared_memory_limit)
        throw std::runtime_error(std::string(op) + ": shared memory of " +
                                 std::to_string(shared_bytes));
    Dl_info found{};
    dladdr(kernel, &found);
    launches().push_back({found.dli_sname ? found.dli_sname : "", blocks, threads, shared_bytes,
                          std::string(static_cast<const char*>(params), size)});
    if (settings().record) return;
    block.op = op;
    block.body = body;
    block.extent = threads;
    block.random.seed(settings().seed);
    block.threads.resize(threads);
    block.warps.resize(threads / 32);
    for (std::int64_t index = 0; index < blocks; ++index) {
        block.index = static_cast<unsigned>(index);
        // Exactly the requested size, so that AddressSanitizer guards the end; filled with NaN in
        // every type.
        void* shared = nullptr;
        if (posix_memalign(&shared, 128, std::max(shared_bytes, 1))) fail("no memory");
        std::memset(shared, 0xFF, shared_bytes);
        block.shared = static_cast<unsigned char*>(shared);
        run_block(threads);
        std::free(shared);
    }
}

void synchronise_block() {
    for (const Warp& warp : block.warps)
        if (warp.arrived) {
            const auto lane = &warp - block.warps.data();
            if (lane == block.current / 32) fail("a barrier within a collective");
        }
    const unsigned seen = block.barriers;
    release(&block.barrier_tags[seen % 2]);
    if (++block.arrived == block.alive) {
        block.arrived = 0;
        ++block.barriers;
    } else {
        wait_for(&block.barriers, seen);
    }
    acquire(&block.barrier_tags[seen % 2]);
}

void collective(const char* name, const void* in, void* out, Lanes act) {
    Warp& warp = block.warps[block.current / 32];
    const int lane = block.current % 32;
    if (warp.arrived == 0) warp.name = name;
    if (warp.name != name) fail(std::string("lanes of a warp in ") + warp.name + " and " + name);
    warp.in[lane] = in;
    warp.out[lane] = out;
    const unsigned seen = warp.generation;
    if (++warp.arrived == 32) {
        act(warp.in, warp.out);
        warp.arrived = 0;
        ++warp.generation;
    } else {
        wait_for(&warp.generation, seen);
    }
}

// ThreadSanitizer is told of this synchronisation, as of a barrier's.
void synchronise_warp() {
    Warp& warp = block.warps[block.current / 32];
    char* const tag = &warp.barrier_tags[warp.generation % 2];
    release(tag);
    collective("syncwarp", nullptr, nullptr, [](const void* const*, void* const*) {});
    acquire(tag);
}

void copy_async(void* to, const void* from, Move move) {
    if ((reinterpret_cast<std::uintptr_t>(to) | reinterpret_cast<std::uintptr_t>(from)) % 16)
        fail("a copy is not aligned to 16 bytes");
    Thread& thread = self();
    const Copies when = settings().copies;
    const bool now = when == Copies::eager || (when == Copies::random && block.random() & 1);
    if (now) move(to, from);
    thread.copies.push_back({to, from, move, thread.group, now});
}

void copy_async_commit() { ++self().group; }

void copy_async_wait(int pending) {
    Thread& thread = self();
    while (!thread.copies.empty() && thread.copies.front().group < thread.group - pending) {
        const Copy copy = thread.copies.front();
        if (!copy.done) copy.move(copy.to, copy.from);
        thread.copies.pop_front();
    }
}

}  // namespace simulator
