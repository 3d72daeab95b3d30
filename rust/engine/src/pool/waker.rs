//! Wakes the main thread, once, and only when it sleeps. Shared by the main thread and the workers.

use crate::sync::{AtomicU8, Ordering, fence};

const AWAKE: u8 = 0;
const ASLEEP: u8 = 1;

/// The one system call that ends the main thread's wait.
pub(crate) trait Wake: Send + Sync + 'static {
    /// Makes a present or coming wait return.
    fn wake(&self);
}

/// Knows whether the main thread sleeps, or is about to.
pub(crate) struct MainWaker<W> {
    /// AWAKE or ASLEEP. Stored by the main thread before it looks at the outbox for the last time, read by workers after a push;
    /// the SeqCst fences in `arm` and `notify` order the two. Every change is a swap, so all changes are in one order and a
    /// worker that read ASLEEP cannot lose its turn to an older change.
    state: AtomicU8,
    waker: W,
}

impl<W: Wake> MainWaker<W> {
    pub(crate) fn new(waker: W) -> Self {
        Self { state: AtomicU8::new(AWAKE), waker }
    }

    /// Worker: a completion was pushed.
    pub(crate) fn notify(&self) {
        fence(Ordering::SeqCst);
        if self.state.load(Ordering::Relaxed) == ASLEEP
            && self.state.swap(AWAKE, Ordering::Relaxed) == ASLEEP
        {
            self.waker.wake();
        }
    }

    /// Main thread: it is about to sleep. False when `has_work` finds something, and then it must not.
    pub(crate) fn arm(&self, has_work: impl FnOnce() -> bool) -> bool {
        self.state.swap(ASLEEP, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        if has_work() {
            self.disarm();
            return false;
        }
        true
    }

    /// Main thread: it is up, completions need not wake it.
    pub(crate) fn disarm(&self) {
        self.state.swap(AWAKE, Ordering::Relaxed);
    }

    #[cfg(all(test, loom))]
    pub(crate) fn inner(&self) -> &W {
        &self.waker
    }
}
