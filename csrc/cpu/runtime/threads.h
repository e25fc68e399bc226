#pragma once

// Loops over threads. Which thread runs what never changes a result: every output is computed by
// one task, in one order.

#include <atomic>
#include <cstdint>

#if !defined(_OPENMP)
#    include <thread>
#    include <vector>
#endif

namespace digan_fast {

// False in a child process after fork(): the parent's threads do not exist there, and OpenMP would
// wait for them forever.
bool threads_usable();

// Calls body() once on each of `threads` threads.
template <class Body>
void on_threads(int threads, const Body& body) {
    if (threads <= 1 || !threads_usable()) return body();
#if defined(_OPENMP)
#    pragma omp parallel num_threads(threads)
    body();
#else
    std::vector<std::thread> others;
    for (int t = 1; t < threads; ++t) others.emplace_back(body);
    body();
    for (std::thread& other : others) other.join();
#endif
}

// task(i, worker) for each i in [0, count), handed out one at a time, in order; concurrent workers
// have different indices below `threads`.
template <class Task>
void parallel_for_workers(int threads, int64_t count, const Task& task) {
    if (count <= 0) return;
    std::atomic<int64_t> next{0};
    std::atomic<int> workers{0};
    const int useful = count < threads ? static_cast<int>(count) : threads;
    on_threads(useful, [&] {
        const int worker = workers.fetch_add(1, std::memory_order_relaxed);
#if defined(__SANITIZE_THREAD__)
        // Round-robin: a thread that ran all tasks while the others start would hide races.
        const int turns = threads_usable() ? useful : 1;
        for (int64_t i = worker; i < count; i += turns) task(i, worker);
#else
        for (int64_t i; (i = next.fetch_add(1, std::memory_order_relaxed)) < count;)
            task(i, worker);
#endif
    });
}

// task(i) for each i in [0, count).
template <class Task>
void parallel_for(int threads, int64_t count, const Task& task) {
    parallel_for_workers(threads, count, [&](int64_t i, int) { task(i); });
}

}  // namespace digan_fast
