//! The lanes of the inbox and the refusal of jobs, on real threads. Tests that need every interleaving are in `models`.

use std::sync::{Arc, Condvar, Mutex};

use super::threads::Refused;
use super::{DeskNumber, Hands, Hub, Lane, Pool, Run, Seat, Wake};
use crate::limits::HANDSHAKE_TURN;

struct Nobody;

impl Wake for Nobody {
    fn wake(&self) {}
}

/// Records the order in which jobs run; job 0 does not return until `is_open` is set.
#[derive(Clone, Default)]
struct Recorder(Arc<Record>);

#[derive(Default)]
struct Record {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    is_open: bool,
    order: Vec<u32>,
}

impl Recorder {
    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.0.state.lock().expect("no test panics with the lock held"));
        self.0.changed.notify_all();
    }

    fn wait(&self, is_so: impl Fn(&State) -> bool) -> Vec<u32> {
        let state = self.0.state.lock().expect("no test panics with the lock held");
        let wait = self.0.changed.wait_while(state, |state| !is_so(state));
        wait.expect("no test panics with the lock held").order.clone()
    }
}

/// A hub where nothing becomes ready; its bell and its alarm work.
#[derive(Default)]
struct Quiet {
    state: Mutex<(bool, bool)>,
    changed: Condvar,
}

impl Quiet {
    fn change(&self, change: impl FnOnce(&mut (bool, bool))) {
        change(&mut self.state.lock().expect("no test panics with the lock held"));
        self.changed.notify_all();
    }
}

impl Hub for Quiet {
    type Edge = u32;
    type Events = ();

    fn wait(&self, (): &mut (), blocks: bool) {
        let state = self.state.lock().expect("no test panics with the lock held");
        let wait = self.changed.wait_while(state, |(rung, alarm)| blocks && !*rung && !*alarm);
        wait.expect("no test panics with the lock held").0 = false;
    }

    fn next(&self, (): &mut ()) -> Option<(DeskNumber, u32)> {
        None
    }

    fn ring(&self) {
        self.change(|(rung, _)| *rung = true);
    }

    fn alarm(&self, is_on: bool) {
        self.change(|(_, alarm)| *alarm = is_on);
    }
}

impl Run<u32, u32, u32> for Recorder {
    type Scratch = ();

    fn run(&self, job: u32, (): &mut (), hands: &mut Hands<u32, u32>) {
        self.change(|state| state.order.push(job));
        if job == 0 {
            self.wait(|state| state.is_open);
        }
        hands.done.push_back(job);
    }

    fn attend(&self, edge: u32, (): &mut (), hands: &mut Hands<u32, u32>) {
        self.run(edge, &mut (), hands);
    }
}

/// A pool of one worker that is busy with job 0.
fn busy_pool(inbox: usize) -> (Seat<u32, u32, Recorder, Quiet, Nobody>, Recorder) {
    let recorder = Recorder::default();
    let pool = Arc::new(Pool::new(inbox, HANDSHAKE_TURN, Quiet::default()));
    let mut pool = Seat::new(pool, 1024, recorder.clone(), Nobody).expect("a number");
    pool.resize(1).1.expect("a thread");
    pool.dispatch(Lane::Established, 0).expect("room");
    recorder.wait(|state| state.order == [0]);
    (pool, recorder)
}

/// H38: handshakes that came first delay an established link by at most one handshake.
#[test]
fn h38_established_links_go_before_a_flood_of_handshakes() {
    let (pool, recorder) = busy_pool(256);
    for job in 100..300 {
        pool.dispatch(Lane::Handshake, job).expect("room");
    }
    for job in 1..=3 {
        pool.dispatch(Lane::Established, job).expect("room");
    }
    recorder.change(|state| state.is_open = true);
    let order = recorder.wait(|state| state.order.len() == 204);
    let last = order.iter().position(|job| *job == 3).expect("it ran");
    assert!(last <= 4, "behind {last} jobs: {:?}", &order[..=last]);
}

/// The second lane gets its turn, however much there is in the first.
#[test]
fn a_flood_of_established_links_does_not_starve_handshakes() {
    let (pool, recorder) = busy_pool(256);
    for job in 1..=200 {
        pool.dispatch(Lane::Established, job).expect("room");
    }
    for job in 300..303 {
        pool.dispatch(Lane::Handshake, job).expect("room");
    }
    recorder.change(|state| state.is_open = true);
    let order = recorder.wait(|state| state.order.len() == 204);
    for (count, job) in (1..).zip(300..303) {
        let place = order.iter().position(|ran| *ran == job).expect("it ran");
        assert!(place <= count * HANDSHAKE_TURN as usize + 1, "{job} ran after {place}");
    }
}

/// R3: a full lane gives the job back and keeps no trace of it; the other lane still takes jobs.
#[test]
fn r3_a_full_lane_gives_the_job_back() {
    let (pool, recorder) = busy_pool(2);
    for job in 1..=2 {
        pool.dispatch(Lane::Established, job).expect("room");
    }
    let Err(Refused(job)) = pool.dispatch(Lane::Established, 3) else {
        panic!("the lane holds two");
    };
    assert_eq!((job, pool.inbox_len()), (3, 2));
    pool.dispatch(Lane::Handshake, 4).expect("the other lane has room");
    recorder.change(|state| state.is_open = true);
    let mut order = recorder.wait(|state| state.order.len() == 4);
    order.sort_unstable();
    assert_eq!(order, [0, 1, 2, 4], "the refused job left no trace");
}

/// R4: without workers every job comes back.
#[test]
fn r4_without_workers_every_job_comes_back() {
    let pool: Pool<u32, u32, Recorder, _, _> = Pool::new(8, HANDSHAKE_TURN, Quiet::default());
    let pool = Seat::new(Arc::new(pool), 8, Recorder::default(), Nobody).expect("a number");
    assert!(matches!(pool.dispatch(Lane::Established, 1), Err(Refused(1))));
    assert_eq!((pool.workers(), pool.active(), pool.inbox_len()), (0, 0, 0));
}
