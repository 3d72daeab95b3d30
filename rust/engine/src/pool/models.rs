//! Tests the pool in every interleaving that loom can find: the real `Pool`, `Worker` and `MainWaker`, with numbers as
//! jobs.
//!
//! The model's own thread is the main thread; it sleeps on a condition variable, as workers do at the model's hub, so
//! that a lost wake-up is a deadlock, which loom reports. Each model sets a limit on the preemptions it explores. Run by `make loom` only.

use std::collections::VecDeque;
use std::sync::Arc as StdArc;

use super::desk::Desk;
use super::shared::Shared;
use super::waker::MainWaker;
use super::{DeskNumber, Hands, Hub, Lane, Pool, Run, Seat, Wake};
use crate::sync::{Arc, BoundedQueue};

/// The limit for most models. Each further preemption multiplies the time a model takes, and two are enough to reorder
/// two threads twice.
const PREEMPTIONS: usize = 2;
/// The limit for models of two workers, which wait in two places each.
const PREEMPTIONS_LARGE: usize = 1;
/// For the largest.
const PREEMPTIONS_NONE: usize = 0;
/// The limit for small models.
const PREEMPTIONS_SMALL: usize = 3;

fn explore(preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.max_branches = 20_000;
    builder.check(model);
}

/// Sleeps and wakes as the kernel does with an eventfd: a wake that comes before the sleep makes it end at once.
#[derive(Default)]
struct Bell {
    rung: loom::sync::Mutex<bool>,
    changed: loom::sync::Condvar,
}

impl Bell {
    fn sleep(&self) {
        let mut rung = self.rung.lock().expect("no model poisons its lock");
        while !*rung {
            rung = self.changed.wait(rung).expect("no model poisons its lock");
        }
        *rung = false;
    }
}

impl Wake for Bell {
    fn wake(&self) {
        *self.rung.lock().expect("no model poisons its lock") = true;
        self.changed.notify_one();
    }
}

/// Gives each edge and each ring to one waiter, as the kernel does.
#[derive(Default)]
struct Post {
    state: loom::sync::Mutex<PostState>,
    changed: loom::sync::Condvar,
    fallen_asleep: loom::sync::Condvar,
}

#[derive(Default)]
struct PostState {
    edges: VecDeque<(DeskNumber, u32)>,
    /// How many wait now.
    asleep: usize,
    rung: bool,
    alarm: bool,
}

impl Post {
    fn change(&self, change: impl FnOnce(&mut PostState)) {
        change(&mut self.state.lock().expect("no model poisons its lock"));
        self.changed.notify_all();
    }

    /// Returns when so many wait. What needs all workers to wait first is out of reach of few preemptions otherwise.
    fn until_asleep(&self, count: usize) {
        let mut state = self.state.lock().expect("no model poisons its lock");
        while state.asleep < count {
            state = self.fallen_asleep.wait(state).expect("no model poisons its lock");
        }
    }

    /// A link became ready.
    fn deliver(&self, desk: DeskNumber, edge: u32) {
        self.change(|state| state.edges.push_back((desk, edge)));
    }
}

impl Hub for Post {
    type Edge = u32;
    type Events = VecDeque<(DeskNumber, u32)>;

    fn wait(&self, events: &mut VecDeque<(DeskNumber, u32)>, blocks: bool) {
        let mut state = self.state.lock().expect("no model poisons its lock");
        while blocks && state.edges.is_empty() && !state.rung && !state.alarm {
            state.asleep += 1;
            self.fallen_asleep.notify_all();
            state = self.changed.wait(state).expect("no model poisons its lock");
            state.asleep -= 1;
        }
        let only_alarm = state.edges.is_empty() && !state.rung && state.alarm;
        state.rung = false;
        events.extend(state.edges.pop_front());
        drop(state);
        if only_alarm {
            loom::thread::yield_now();
        }
    }

    fn next(&self, events: &mut VecDeque<(DeskNumber, u32)>) -> Option<(DeskNumber, u32)> {
        events.pop_front()
    }

    fn ring(&self) {
        self.change(|state| state.rung = true);
    }

    fn alarm(&self, is_on: bool) {
        self.change(|state| state.alarm = is_on);
    }
}

/// A job or edge of this number or more leaves another job behind, of a number that is smaller by this.
const FOLLOWED: u32 = 100;

/// Completes each job and each edge, which is a number, with the same number.
#[derive(Default)]
struct Echo {
    /// Set when the engine has let go: nothing may be worked on for it any more.
    is_over: StdArc<loom::sync::atomic::AtomicBool>,
}

impl Echo {
    fn work(&self, lane: Lane, number: u32, hands: &mut Hands<u32, u32>) {
        let is_over = self.is_over.load(loom::sync::atomic::Ordering::Relaxed);
        assert!(!is_over, "a worker works for an engine that has let go");
        hands.done.push_back(number);
        if number >= FOLLOWED {
            hands.more.push((lane, number - FOLLOWED));
        }
    }
}

impl Run<u32, u32, u32> for Echo {
    type Scratch = ();

    fn run(&self, job: u32, (): &mut (), hands: &mut Hands<u32, u32>) {
        self.work(Lane::Established, job, hands);
    }

    fn attend(&self, edge: u32, (): &mut (), hands: &mut Hands<u32, u32>) {
        self.work(Lane::Established, edge, hands);
    }
}

type NumberPool = Seat<u32, u32, Echo, Post, Bell>;

fn pool(inbox: usize, outbox: usize, workers: usize) -> NumberPool {
    let pool = StdArc::new(Pool::new(inbox, 8, Post::default()));
    seat(&pool, outbox, workers)
}

/// A place for one more engine.
fn seat(
    pool: &StdArc<Pool<u32, u32, Echo, Post, Bell>>,
    outbox: usize,
    workers: usize,
) -> NumberPool {
    let mut pool =
        Seat::new(pool.clone(), outbox, Echo::default(), Bell::default()).expect("a number");
    pool.set_always_active(true);
    let (left, started) = pool.resize(workers);
    assert!(left.is_empty());
    started.expect("loom starts threads");
    pool
}

fn dispatch(pool: &mut NumberPool, job: u32) {
    pool.dispatch(Lane::Established, job).expect("the inbox has room");
}

/// Takes the completions that are there, as `Crew::collect` does.
fn collect(pool: &NumberPool, done: &mut Vec<u32>) {
    pool.collect(usize::MAX, |completion| done.push(completion));
}

/// Collects until `count` jobs are done and sleeps in between, as `Engine::drain` does.
fn wait_for(pool: &NumberPool, count: usize, done: &mut Vec<u32>) {
    let main = &pool.desk().main;
    loop {
        main.disarm();
        collect(pool, done);
        if done.len() >= count {
            return;
        }
        if main.arm(false, || pool.has_completions()) {
            main.inner().sleep();
        }
    }
}

fn assert_all_once(mut found: Vec<u32>, count: u32) {
    found.sort_unstable();
    assert_eq!(found, (0..count).collect::<Vec<_>>());
}

/// R2: two producers push while the main thread goes to sleep; it sees what they push without any further wake-up.
#[test]
fn the_main_thread_never_sleeps_over_a_completion() {
    explore(PREEMPTIONS_SMALL, || {
        let outbox = Arc::new(BoundedQueue::new(2));
        let main = Arc::new(MainWaker::new(Bell::default()));
        let producers: Vec<_> = (0..2)
            .map(|number| {
                let (outbox, main) = (outbox.clone(), main.clone());
                loom::thread::spawn(move || {
                    outbox.push(number).expect("there is room for both");
                    main.notify(number == 0);
                })
            })
            .collect();
        let mut seen = Vec::new();
        while seen.len() < 2 {
            main.disarm();
            while let Some(number) = outbox.pop() {
                seen.push(number);
            }
            if seen.len() < 2 && main.arm(true, || !outbox.is_empty()) {
                main.inner().sleep();
            }
        }
        assert_all_once(seen, 2);
        for producer in producers {
            producer.join().expect("a producer ends");
        }
    });
}

/// R2: a job is run whether its worker has parked, is parking or is about to; and the completion reaches the main
/// thread whether it sleeps, slept or is about to.
#[test]
fn neither_side_misses_the_other_when_both_go_to_sleep() {
    explore(PREEMPTIONS_SMALL, || {
        let mut pool = pool(1, 1, 1);
        let mut done = Vec::new();
        dispatch(&mut pool, 0);
        wait_for(&pool, 1, &mut done);
        dispatch(&mut pool, 1);
        wait_for(&pool, 2, &mut done);
        assert_eq!(done, [0, 1]);
    });
}

/// R2: two jobs for two workers, of which one is woken only because jobs are waiting.
#[test]
fn two_workers_share_the_inbox() {
    explore(PREEMPTIONS_LARGE, || {
        let mut pool = pool(2, 2, 2);
        let mut done = Vec::new();
        dispatch(&mut pool, 0);
        dispatch(&mut pool, 1);
        wait_for(&pool, 2, &mut done);
        assert_all_once(done, 2);
    });
}

/// R20: there are more jobs than the outbox holds. What has no room goes into the overflow, and the order is kept; no
/// worker waits for the main thread.
#[test]
fn a_full_outbox_overflows_in_order() {
    explore(PREEMPTIONS, || {
        let mut pool = pool(3, 1, 1);
        for job in 0..3 {
            dispatch(&mut pool, job);
        }
        let mut done = Vec::new();
        wait_for(&pool, 3, &mut done);
        assert_eq!(done, [0, 1, 2]);
    });
}

/// R20: the same with two workers that compete for one place in the outbox.
#[test]
fn two_workers_overflow_and_nothing_is_lost() {
    explore(PREEMPTIONS_LARGE, || {
        let mut pool = pool(3, 1, 2);
        for job in 0..3 {
            dispatch(&mut pool, job);
        }
        let mut done = Vec::new();
        wait_for(&pool, 3, &mut done);
        assert_all_once(done, 3);
    });
}

/// R20: a main thread that waits for all jobs hears when the last one ends, whether it sleeps by then or not.
#[test]
fn the_end_of_the_last_job_is_heard() {
    explore(PREEMPTIONS, || {
        let mut pool = pool(2, 2, 1);
        dispatch(&mut pool, 0);
        dispatch(&mut pool, 1);
        let main = &pool.desk().main;
        let mut done = Vec::new();
        loop {
            main.disarm();
            collect(&pool, &mut done);
            if pool.in_flight() == 0 {
                break;
            }
            if main.arm(true, || pool.pending() == 0 || pool.has_completions()) {
                main.inner().sleep();
            }
        }
        assert_eq!(done, [0, 1]);
    });
}

/// R2: a job and an edge come while the only worker goes to sleep: it serves both.
#[test]
fn a_worker_misses_neither_jobs_nor_edges() {
    explore(PREEMPTIONS, || {
        let mut pool = pool(1, 2, 1);
        dispatch(&mut pool, 0);
        pool.hub().deliver(pool.desk().number, 1);
        let mut done = Vec::new();
        wait_for(&pool, 2, &mut done);
        assert_all_once(done, 2);
    });
}

/// A worker on the bench is called when jobs pile up, and leaves it when it is stopped.
#[test]
fn the_bench_is_called_and_left() {
    explore(PREEMPTIONS_LARGE, || {
        let mut pool = pool(3, 3, 2);
        pool.set_always_active(false);
        pool.relax();
        for job in 0..2 {
            dispatch(&mut pool, job);
        }
        let mut done = Vec::new();
        wait_for(&pool, 2, &mut done);
        assert_all_once(done, 2);
    });
}

/// R21: the last worker is stopped at any point, with jobs waiting: every job is done or left,
/// exactly once.
#[test]
fn a_stopped_worker_loses_nothing() {
    explore(PREEMPTIONS_SMALL, || {
        let mut pool = pool(3, 1, 1);
        for job in 0..3 {
            dispatch(&mut pool, job);
        }
        let (left, outcome) = pool.resize(0);
        outcome.expect("nothing is started");
        let mut found = Vec::new();
        collect(&pool, &mut found);
        found.extend(left);
        assert_all_once(found, 3);
    });
}

/// R21, R22: one of two workers leaves, and the other does the jobs that remain.
#[test]
fn the_worker_that_stays_serves_what_the_other_left() {
    explore(PREEMPTIONS_LARGE, || {
        let mut pool = pool(2, 1, 2);
        dispatch(&mut pool, 0);
        dispatch(&mut pool, 1);
        let (left, outcome) = pool.resize(1);
        outcome.expect("nothing is started");
        assert!(left.is_empty(), "there is a worker to serve the inbox");
        let mut done = Vec::new();
        wait_for(&pool, 2, &mut done);
        assert_all_once(done, 2);
    });
}

/// R22: workers come and go between two jobs.
#[test]
fn a_new_worker_takes_over() {
    explore(PREEMPTIONS, || {
        let mut pool = pool(2, 2, 1);
        dispatch(&mut pool, 0);
        let (mut done, outcome) = pool.resize(0);
        outcome.expect("nothing is started");
        pool.resize(1).1.expect("loom starts threads");
        dispatch(&mut pool, 1);
        wait_for(&pool, 2, &mut done);
        assert_all_once(done, 2);
    });
}

/// R2: two engines share one worker: each gets what its own job and its own edge have brought, and nothing else.
#[test]
fn each_of_two_engines_hears_of_its_own_jobs() {
    explore(PREEMPTIONS_LARGE, || {
        let shared = StdArc::new(Pool::new(2, 8, Post::default()));
        let (mut first, mut second) = (seat(&shared, 2, 1), seat(&shared, 2, 1));
        dispatch(&mut first, 0);
        dispatch(&mut second, 10);
        second.hub().deliver(second.desk().number, 11);
        let (mut of_first, mut of_second) = (Vec::new(), Vec::new());
        wait_for(&first, 1, &mut of_first);
        wait_for(&second, 2, &mut of_second);
        of_second.sort_unstable();
        assert_eq!((of_first, of_second), (vec![0], vec![10, 11]));
    });
}

/// R21: an engine ends while a worker may be at one of its edges and one of its jobs waits. Afterwards no worker works
/// for it, and the worker goes on for the other engine.
#[test]
fn an_engine_that_ends_is_left_alone() {
    explore(PREEMPTIONS_LARGE, || {
        let shared = StdArc::new(Pool::new(2, 8, Post::default()));
        let (mut first, mut second) = (seat(&shared, 2, 1), seat(&shared, 2, 1));
        dispatch(&mut first, 0);
        first.hub().deliver(first.desk().number, 1);
        first.leave();
        first.let_go();
        assert_eq!(first.pending(), 0);
        drop(first);
        dispatch(&mut second, 10);
        let mut done = Vec::new();
        wait_for(&second, 1, &mut done);
        assert_eq!(done, [10]);
    });
}

/// R2: what a job leaves behind is done by the worker that did the job, although nobody is woken for it; and where the
/// inbox has no room for it, it is done on the spot.
#[test]
fn what_a_job_leaves_behind_is_done() {
    for (inbox, more) in [(2, None), (1, Some(1))] {
        explore(PREEMPTIONS, move || {
            let mut pool = pool(inbox, 3, 1);
            dispatch(&mut pool, FOLLOWED);
            let mut done = Vec::new();
            let mut count = 2;
            if let Some(job) = more {
                // The one place of the inbox may be taken when the first job leaves its other one behind, or not.
                count += usize::from(pool.dispatch(Lane::Established, job).is_ok());
            }
            wait_for(&pool, count, &mut done);
            assert_eq!(done.iter().filter(|job| **job == 0).count(), 1);
            assert_eq!(done.len(), count);
        });
    }
}

/// R2: two handshakes, of which only one may be at work as long as there are no more than two workers: the other one is
/// begun when the first has ended, with no further wake-up. Two workers wait in so many places that only threads that
/// stop by themselves are changed then.
#[test]
fn a_handshake_that_waits_for_its_turn_is_begun() {
    for (workers, preemptions) in [(1, PREEMPTIONS), (2, PREEMPTIONS_NONE)] {
        explore(preemptions, move || {
            let pool = pool(2, 2, workers);
            for job in 0..2 {
                pool.dispatch(Lane::Handshake, job).expect("the lane has room");
            }
            let mut done = Vec::new();
            wait_for(&pool, 2, &mut done);
            assert_all_once(done, 2);
        });
    }
}

/// R21: the last worker goes because another engine wants none any more. A job that it leaves reaches its own engine,
/// whose main thread sleeps by then or is about to.
#[test]
fn a_job_left_because_of_another_engine_wakes_its_own() {
    explore(PREEMPTIONS_LARGE, || {
        let shared = StdArc::new(Pool::new(2, 8, Post::default()));
        let (mut first, mut second) = (seat(&shared, 2, 1), seat(&shared, 2, 1));
        dispatch(&mut first, 0);
        let (mut found, outcome) = first.resize(0);
        outcome.expect("nothing is started");
        let other = loom::thread::spawn(move || {
            let (left, outcome) = second.resize(0);
            outcome.expect("nothing is started");
            assert!(left.is_empty(), "it is not of this engine");
            second
        });
        let main = &first.desk().main;
        while found.is_empty() {
            main.disarm();
            collect(&first, &mut found);
            found.extend(first.take_left());
            if found.is_empty()
                && main.arm(false, || first.has_completions() || first.has_left_jobs())
            {
                main.inner().sleep();
            }
        }
        assert_eq!(found, [0]);
        drop(other.join().expect("the other engine ends"));
        assert!(first.take_left().is_empty());
        assert!(!first.has_completions());
    });
}

/// R21: an engine lets go while a worker is at an edge of it that leaves a job behind. Once it has let go, nothing more is
/// done for it.
#[test]
fn an_engine_that_has_let_go_is_worked_for_no_more() {
    explore(PREEMPTIONS, || {
        let shared = StdArc::new(Pool::new(2, 8, Post::default()));
        let mut keeper = seat(&shared, 2, 1);
        let echo = Echo::default();
        let is_over = echo.is_over.clone();
        let mut leaver = Seat::new(shared.clone(), 4, echo, Bell::default()).expect("a number");
        leaver.resize(1).1.expect("loom starts threads");
        leaver.hub().deliver(leaver.desk().number, FOLLOWED);
        leaver.leave();
        leaver.let_go();
        is_over.store(true, loom::sync::atomic::Ordering::Relaxed);
        drop(leaver);
        dispatch(&mut keeper, 7);
        let mut done = Vec::new();
        wait_for(&keeper, 1, &mut done);
        assert_eq!(done, [7]);
    });
}

/// R2, R22: a worker on the bench is needed, and is stopped, while it goes there: it does either, and what waits is done.
#[test]
fn a_worker_on_its_way_to_the_bench_is_not_lost() {
    explore(PREEMPTIONS_LARGE, || {
        let mut pool = pool(3, 3, 2);
        pool.set_always_active(false);
        dispatch(&mut pool, 0);
        pool.relax();
        dispatch(&mut pool, 1);
        let (left, outcome) = pool.resize(1);
        outcome.expect("nothing is started");
        assert!(left.is_empty(), "a worker is left");
        let mut done = Vec::new();
        wait_for(&pool, 2, &mut done);
        assert_all_once(done, 2);
    });
}

/// R2: the bell is heard by a worker that is to go to the bench, while the other one waits: the job is done all the same.
#[test]
fn a_worker_on_its_way_to_the_bench_does_what_the_bell_was_for() {
    explore(PREEMPTIONS_LARGE, || {
        let mut pool = pool(1, 1, 2);
        pool.set_always_active(false);
        pool.hub().until_asleep(2);
        pool.relax();
        dispatch(&mut pool, 0);
        let mut done = Vec::new();
        wait_for(&pool, 1, &mut done);
        assert_eq!(done, [0]);
    });
}

/// R21, R22: the bell is heard by a worker that is being stopped, while the other one waits: the other one does the job.
#[test]
fn what_the_bell_was_for_is_done_when_the_one_that_heard_it_leaves() {
    explore(PREEMPTIONS_LARGE, || {
        let mut pool = pool(1, 1, 2);
        pool.hub().until_asleep(2);
        dispatch(&mut pool, 0);
        let (left, outcome) = pool.resize(1);
        outcome.expect("nothing is started");
        assert!(left.is_empty(), "a worker is left");
        let mut done = Vec::new();
        wait_for(&pool, 1, &mut done);
        assert_eq!(done, [0]);
    });
}

/// R2: two workers look for the one handshake that waits. The one that finds none gives its turn back, so that the next
/// handshake may be begun.
#[test]
fn a_turn_that_finds_no_handshake_is_given_back() {
    explore(PREEMPTIONS_SMALL, || {
        let shared = Arc::new(Shared::<u32, u32, Echo, Post, Bell>::new(2, 8, Post::default()));
        let make = |number| Desk::new(number, Echo::default(), 1, Bell::default());
        let desk = shared.seat(make).expect("a number");
        assert!(shared.push(&desk, Lane::Handshake, 0).is_ok());
        let worker = {
            let shared = shared.clone();
            loom::thread::spawn(move || take_turn(&shared))
        };
        let begun = take_turn(&shared) + worker.join().expect("the worker ends");
        assert_eq!(begun, 1);
        assert!(shared.push(&desk, Lane::Handshake, 1).is_ok());
        assert_eq!(take_turn(&shared), 1);
    });
}

/// Looks for a job once, and does it. Returns how many there were.
fn take_turn(shared: &Shared<u32, u32, Echo, Post, Bell>) -> usize {
    let found = shared.next_job(&mut 0);
    if found.is_some() {
        shared.handshake_is_done();
    }
    usize::from(found.is_some())
}
