// A thread of the runtime.
#pragma once
#include <pthread.h>
#include <signal.h>

#include <thread>
#include <utility>

namespace catga {

/// Runs `work`. `name` is what `top -H`, debuggers and profiles show: a literal of up to 15 characters. Signals are for the
/// program's own threads: one that waits for SIGTERM must get it, and a library must not take what a program handles. A
/// broken pipe is an error where it is written to.
template <class Work>
std::thread named_thread(const char* name, Work work) {
  sigset_t others;
  sigset_t before;
  sigfillset(&others);
  for (const int fault : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT}) sigdelset(&others, fault);
  pthread_sigmask(SIG_SETMASK, &others, &before);  // inherited: there is no moment without it
  std::thread thread([name, work = std::move(work)]() mutable {
    pthread_setname_np(pthread_self(), name);
    work();
  });
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return thread;
}

}  // namespace catga
