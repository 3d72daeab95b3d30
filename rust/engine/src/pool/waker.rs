//! Wakes the main thread, once, and only when it sleeps. Shared by the main thread and the workers.

use crate::sync::{AtomicBool, AtomicU8, Ordering, fence};

const AWAKE: u8 = 0;
const ASLEEP: u8 = 1;

/// Ends the main thread's wait in the kernel.
pub(crate) trait Wake: Send + Sync + 'static {
    /// Makes the current wait return or, if there is none, the next one.
    fn wake(&self);
}

/// Knows whether the main thread sleeps or is about to.
pub(crate) struct MainWaker<W> {
    /// AWAKE or ASLEEP. The main thread sets it before its last look at the outbox, and workers read it after a push;
    /// the SeqCst fences in `arm` and `notify` order the two. Every change is a swap, so that all changes have one
    /// order and a worker that read ASLEEP never swaps out an older value.
    state: AtomicU8,
    /// Whether the main thread waits for all jobs to end. Set before `state`, read after a push;
    /// ordered by the same fences.
    awaits_all: AtomicBool,
    waker: W,
}

impl<W: Wake> MainWaker<W> {
    pub(crate) fn new(waker: W) -> Self {
        Self { state: AtomicU8::new(AWAKE), awaits_all: AtomicBool::new(false), waker }
    }

    /// Worker: completions were pushed or, if that `is_urgent` is false, the last job is done: then the main thread is
    /// woken only if it waits for all jobs.
    pub(crate) fn notify(&self, is_urgent: bool) {
        fence(Ordering::SeqCst);
        if !is_urgent && !self.awaits_all.load(Ordering::Relaxed) {
            return;
        }
        if self.state.load(Ordering::Relaxed) == ASLEEP
            && self.state.swap(AWAKE, Ordering::Relaxed) == ASLEEP
        {
            self.waker.wake();
        }
    }

    /// Main thread: it is about to sleep, until a completion comes or, if it `awaits_all`, the last job ends. False when `has_work` finds work, and then it must not sleep.
    pub(crate) fn arm(&self, awaits_all: bool, has_work: impl FnOnce() -> bool) -> bool {
        self.awaits_all.store(awaits_all, Ordering::Relaxed);
        self.state.swap(ASLEEP, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        if has_work() {
            self.disarm();
            return false;
        }
        true
    }

    /// Main thread: it is awake, so completions need not wake it.
    pub(crate) fn disarm(&self) {
        self.state.swap(AWAKE, Ordering::Relaxed);
    }

    #[cfg(all(test, loom))]
    pub(crate) fn inner(&self) -> &W {
        &self.waker
    }
}
