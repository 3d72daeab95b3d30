//! The synchronisation primitives the pool is built on, real or loom's.
//!
//! Under `--cfg loom` the lock-free queue becomes a mutex-guarded one: what is model-checked is our protocol
//! around a linearizable bounded queue, not crossbeam.

#[cfg(not(loom))]
mod real {
    pub(crate) use std::sync::Arc;
    pub(crate) use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering, fence};
    pub(crate) use std::thread::{JoinHandle, Thread, park};

    /// A bounded queue for many producers and many consumers.
    pub(crate) struct BoundedQueue<T>(crossbeam_queue::ArrayQueue<T>);

    impl<T> BoundedQueue<T> {
        pub(crate) fn new(capacity: usize) -> Self {
            Self(crossbeam_queue::ArrayQueue::new(capacity))
        }

        /// Gives the value back when the queue is full.
        pub(crate) fn push(&self, value: T) -> Result<(), T> {
            self.0.push(value)
        }

        pub(crate) fn pop(&self) -> Option<T> {
            self.0.pop()
        }

        pub(crate) fn is_empty(&self) -> bool {
            self.0.is_empty()
        }

        pub(crate) fn is_full(&self) -> bool {
            self.0.is_full()
        }

        pub(crate) fn len(&self) -> usize {
            self.0.len()
        }
    }

    pub(crate) fn spawn<R: Send + 'static>(
        name: String,
        body: impl FnOnce() -> R + Send + 'static,
    ) -> std::io::Result<JoinHandle<R>> {
        std::thread::Builder::new().name(name).spawn(body)
    }
}

#[cfg(loom)]
mod model {
    use std::collections::VecDeque;

    pub(crate) use loom::sync::Arc;
    pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering, fence};
    pub(crate) use loom::thread::{JoinHandle, Thread, park};

    pub(crate) struct BoundedQueue<T> {
        capacity: usize,
        items: loom::sync::Mutex<VecDeque<T>>,
    }

    impl<T> BoundedQueue<T> {
        pub(crate) fn new(capacity: usize) -> Self {
            Self { capacity, items: loom::sync::Mutex::new(VecDeque::new()) }
        }

        fn locked<R>(&self, act: impl FnOnce(&mut VecDeque<T>) -> R) -> R {
            act(&mut self.items.lock().expect("the model never poisons its lock"))
        }

        pub(crate) fn push(&self, value: T) -> Result<(), T> {
            self.locked(|items| {
                if items.len() == self.capacity {
                    return Err(value);
                }
                items.push_back(value);
                Ok(())
            })
        }

        pub(crate) fn pop(&self) -> Option<T> {
            self.locked(VecDeque::pop_front)
        }

        pub(crate) fn is_empty(&self) -> bool {
            self.len() == 0
        }

        pub(crate) fn is_full(&self) -> bool {
            self.len() == self.capacity
        }

        pub(crate) fn len(&self) -> usize {
            self.locked(|items| items.len())
        }
    }

    pub(crate) fn spawn<R: Send + 'static>(
        name: String,
        body: impl FnOnce() -> R + Send + 'static,
    ) -> std::io::Result<JoinHandle<R>> {
        loom::thread::Builder::new().name(name).spawn(body)
    }
}

#[cfg(loom)]
pub(crate) use model::*;
#[cfg(not(loom))]
pub(crate) use real::*;
