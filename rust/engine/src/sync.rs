//! The synchronisation primitives that the pool is built on, real or loom's.
//!
//! Under `--cfg loom` the lock-free queue is replaced by one behind a mutex, whose length is read without the mutex and
//! without ordering. It promises less than crossbeam's queue, so what loom proves about the pool with it also holds
//! with crossbeam's.

#[cfg(not(loom))]
mod real {
    pub(crate) use std::sync::atomic::{
        AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering, fence,
    };
    pub(crate) use std::sync::{Arc, Condvar, Mutex, MutexGuard, RwLock};
    pub(crate) use std::thread::{JoinHandle, yield_now};

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

    pub(crate) use loom::sync::atomic::{
        AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering, fence,
    };
    pub(crate) use loom::sync::{Arc, Condvar, Mutex, MutexGuard, RwLock};
    pub(crate) use loom::thread::{JoinHandle, yield_now};

    pub(crate) struct BoundedQueue<T> {
        capacity: usize,
        items: loom::sync::Mutex<VecDeque<T>>,
        /// How many `items` there are. Relaxed on purpose: a thread that looks at the length without taking an item
        /// must get its ordering from our own fences, not from the queue.
        len: AtomicUsize,
    }

    impl<T> BoundedQueue<T> {
        pub(crate) fn new(capacity: usize) -> Self {
            let items = loom::sync::Mutex::new(VecDeque::new());
            Self { capacity, items, len: AtomicUsize::new(0) }
        }

        fn locked<R>(&self, act: impl FnOnce(&mut VecDeque<T>) -> R) -> R {
            let mut items = self.items.lock().expect("the model never poisons its lock");
            let outcome = act(&mut items);
            self.len.store(items.len(), Ordering::Relaxed);
            outcome
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

        pub(crate) fn len(&self) -> usize {
            self.len.load(Ordering::Relaxed)
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
