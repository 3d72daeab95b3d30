//! The pool seen through the engine: fallback to the main thread, no workers at all, draining, resizing, panics, and
//! how many workers are active.

use std::time::Duration;

use clusterbus_engine::{EngineConfig, Received};

use crate::support::packets::{self, ping, pings};
use crate::support::{
    FOUR_WAYS, Fault, MemoryLink, Mode, Rig, Side, WORKERS_PLAIN, four_ways, message,
};

fn one_worker(config: &mut EngineConfig) {
    config.io_threads = 2;
    config.inbox_jobs = 1;
}

/// Holds the only worker inside a read and fills the inbox, which has room for one job.
fn block_worker_and_inbox(rig: &mut Rig) -> (MemoryLink, MemoryLink) {
    let (held, waiting) = (rig.link(), rig.link());
    held.socket.hold(Side::Recv);
    held.peer.send(&ping(1, 0));
    rig.tell_edges();
    rig.engine.flush();
    held.socket.wait_inside(Side::Recv);
    waiting.peer.send(&ping(2, 0));
    rig.tell_edges();
    rig.engine.flush();
    assert_eq!((rig.stat("inbox_len"), rig.stat("jobs_in_flight")), (1, 2));
    (held, waiting)
}

/// R3, H41: when the inbox is full and no worker is free, reads, writes and TLS jobs run on the main thread at once,
/// are counted once each, and leave nothing behind.
#[test]
fn r3_a_full_inbox_means_the_main_thread_at_once() {
    for tls in [false, true] {
        let mut rig = Rig::with(Mode { io_threads: 2, tls }, one_worker);
        let (reads, writes) = (rig.link(), rig.link());
        let (held, waiting) = block_worker_and_inbox(&mut rig);
        rig.engine.reset_stats();

        reads.peer.send(&pings(5, 2));
        rig.tell_edges();
        rig.engine.flush();
        let events = rig.engine.poll(Some(Duration::ZERO)).expect("no wait");
        rig.log.extend(events);
        assert_eq!(rig.numbers(reads.id), [5, 6], "done in the same step");
        assert_eq!(rig.stat("main_thread_fallbacks"), 1);
        assert_eq!((rig.stat("main_reads"), rig.stat("threaded_reads")), (1, 0));

        rig.engine.send(writes.id, message(ping(7, 0)));
        rig.engine.flush();
        rig.tell_edges();
        assert_eq!(writes.peer.received(), ping(7, 0));
        assert_eq!(rig.engine.send_queue(writes.id), (0, 0));
        assert_eq!(rig.stat("main_thread_fallbacks"), 2);
        assert_eq!((rig.stat("main_writes"), rig.stat("threaded_writes")), (1, 0));

        // A partial send on the main thread keeps its place, and a worker may send the rest.
        writes.socket.stall_sends();
        writes.socket.grant(100);
        rig.tell_edges();
        rig.engine.send(writes.id, message(ping(8, 0)));
        rig.engine.flush();
        rig.tell_edges();
        let fallbacks = rig.stat("main_thread_fallbacks");
        assert!(fallbacks >= 3, "{fallbacks}");
        assert_eq!(rig.stat("jobs_in_flight"), 2, "the refused dispatches left nothing behind");
        assert_eq!(rig.stat("inbox_len"), 1);
        for link in [&held, &waiting] {
            assert!(rig.numbers(link.id).is_empty());
        }

        held.socket.release(Side::Recv);
        rig.until("the held packets", |rig| {
            rig.numbers(held.id) == [1] && rig.numbers(waiting.id) == [2]
        });
        writes.socket.grant(usize::MAX);
        rig.until("the rest", |_| writes.peer.received_len() == 2 * 2256);
        assert!(writes.peer.received() == [ping(7, 0), ping(8, 0)].concat());
        rig.settle();
        assert_eq!(rig.stat("main_thread_fallbacks"), fallbacks, "no fallback when there is room");
    }
}

/// R4: with `io-threads 1` every job runs on the main thread, and none counts as a fallback.
#[test]
fn r4_the_main_thread_alone_never_falls_back() {
    for tls in [false, true] {
        let mut rig = Rig::with(Mode { io_threads: 1, tls }, |config| config.inbox_jobs = 1);
        let links: Vec<_> = (0..5).map(|_| rig.link()).collect();
        for link in &links {
            link.peer.send(&pings(0, 3));
            rig.engine.send(link.id, message(ping(9, 0)));
        }
        rig.until("all", |rig| {
            links
                .iter()
                .all(|link| rig.numbers(link.id) == [0, 1, 2] && link.peer.received_len() == 2256)
        });
        for name in ["main_thread_fallbacks", "threaded_reads", "threaded_writes", "workers"] {
            assert_eq!(rig.stat(name), 0, "{name}");
        }
        assert!(rig.stat("main_reads") > 0 && rig.stat("main_writes") > 0);
    }
}

/// R1: with workers and room in the inbox nothing runs on the main thread.
#[test]
fn r1_workers_do_the_work() {
    for tls in [false, true] {
        let mut rig = Rig::new(Mode { io_threads: 3, tls });
        let links: Vec<_> = (0..5).map(|_| rig.link()).collect();
        for link in &links {
            link.peer.send(&pings(0, 3));
            rig.engine.send(link.id, message(ping(9, 0)));
        }
        rig.until("all", |rig| {
            links
                .iter()
                .all(|link| rig.numbers(link.id) == [0, 1, 2] && link.peer.received_len() == 2256)
        });
        for name in ["main_thread_fallbacks", "main_reads", "main_writes"] {
            assert_eq!(rig.stat(name), 0, "{name}");
        }
        let used = rig.stat("used_active_time_us_io_thread_1");
        rig.until("a figure of used time", |rig| {
            links[0].peer.send(&ping(4, 0));
            rig.stat("used_active_time_us_io_thread_1") > used
        });
    }
}

/// R20, H41: many jobs and an outbox with room for one: `drain` empties the outbox while it waits, and the next poll
/// returns the events.
#[test]
fn r20_drain_with_an_outbox_of_one() {
    for tls in [false, true] {
        for io_threads in [2, 4] {
            let mut rig = Rig::with(Mode { io_threads, tls }, |config| {
                config.outbox_completions = 1;
            });
            let links: Vec<_> = (0..32).map(|_| rig.link()).collect();
            for round in 0..10 {
                for link in &links {
                    link.peer.send(&ping(round, 0));
                    rig.engine.send(link.id, message(ping(round, 0)));
                }
                rig.tell_edges();
                rig.engine.flush();
                rig.engine.drain().expect("the kernel waits");
                assert_eq!((rig.stat("jobs_in_flight"), rig.stat("inbox_len")), (0, 0));
            }
            rig.settle();
            for link in &links {
                assert!(rig.numbers(link.id).iter().copied().eq(0..10));
                assert_eq!(link.peer.received_len(), 10 * 2256);
            }
        }
    }
}

#[test]
fn r20_drain_with_nothing_to_do_returns() {
    four_ways(|mode| Rig::new(mode).engine.drain().expect("nothing to wait for"));
}

/// R21, R22, R35: the number of threads changes at every step while 32 peers ask and are answered. No answer is lost,
/// doubled or out of order, and no link is lost.
#[test]
fn r22_resizing_under_load_loses_nothing() {
    for mode in FOUR_WAYS {
        println!("{mode:?}");
        let mut rig = Rig::with(mode, |config| config.outbox_completions = 4);
        let links: Vec<_> = (0..32).map(|_| rig.link()).collect();
        let rounds = 40;
        for link in &links {
            link.peer.send(&ping(0, 0));
        }
        let sizes = [1, 4, 2, 3, 1, 2, 4, 1, 3];
        let mut asked = vec![0; links.len()];
        let mut step = 0;
        rig.until("all answers", |rig| {
            rig.engine.resize(sizes[step % sizes.len()]).expect("threads can be had");
            step += 1;
            answer_pings(rig);
            let mut done = true;
            for (link, asked) in links.iter().zip(&mut asked) {
                // The next question is sent when the answer to the last one is there.
                if *asked < rounds && link.peer.received_len() == (*asked as usize + 1) * 2256 {
                    *asked += 1;
                    link.peer.send(&ping(*asked, 0));
                }
                done &= link.peer.received_len() == (rounds as usize + 1) * 2256;
            }
            done
        });
        for link in &links {
            let answers = packets::split(&link.peer.received());
            let numbers = answers.iter().map(|frame| packets::number_of(frame));
            assert!(numbers.eq(0..=rounds), "lost or out of order");
            assert!(rig.lost(link.id).is_empty());
            assert_eq!(link.socket.overlaps(), 0, "R13: never two jobs of a kind");
        }
        assert!(step > sizes.len(), "every size was used");
    }
}

/// Sends every received packet back on its link.
fn answer_pings(rig: &mut Rig) {
    for event in std::mem::take(&mut rig.log) {
        match event {
            clusterbus_engine::Event::Packets { link, packets, .. } => {
                for Received { packet, .. } in packets {
                    assert!(rig.engine.send(link, message(packet.bytes().to_vec())));
                }
            }
            other => rig.log.push(other),
        }
    }
}

/// R35: the main thread runs the jobs that wait when the last worker stops, at once.
#[test]
fn r35_the_last_worker_goes_and_its_jobs_stay() {
    for tls in [false, true] {
        let mut rig =
            Rig::with(Mode { io_threads: 2, tls }, |config| config.outbox_completions = 1);
        let links: Vec<_> = (0..16).map(|_| rig.link()).collect();
        for link in &links {
            link.peer.send(&ping(3, 0));
        }
        rig.tell_edges();
        rig.engine.flush();
        rig.engine.resize(1).expect("no thread is started");
        assert_eq!((rig.stat("workers"), rig.stat("inbox_len")), (0, 0));
        rig.settle();
        for link in &links {
            assert_eq!(rig.numbers(link.id), [3]);
        }
        assert_eq!(rig.stat("main_thread_fallbacks"), 0);
    }
}

/// A size out of range is taken as the nearest one in range.
#[test]
fn r35_sizes_are_clamped() {
    let mut rig = Rig::new(WORKERS_PLAIN);
    rig.engine.resize(0).expect("the main thread is enough");
    assert_eq!(rig.stat("workers"), 0);
    rig.engine.resize(100_000).expect("the maximum can be had");
    assert_eq!(rig.stat("workers"), clusterbus_engine::limits::IO_THREADS_MAX as u64 - 1);
    rig.engine.resize(2).expect("fewer");
    assert_eq!(rig.stat("workers"), 1);
}

/// R36, H41: a panic in a job is counted and ends only that job's link; the thread it ran on goes on.
#[test]
fn r36_a_panic_costs_one_link() {
    four_ways(|mode| {
        for side in [Side::Recv, Side::Send] {
            let mut rig = Rig::new(mode);
            let (bad, good) = (rig.link(), rig.link());
            for count in 1..=3 {
                let bad = if count == 1 { bad.clone() } else { rig.link() };
                bad.socket.break_after(side, 0, Fault::Panic);
                bad.peer.send(&ping(1, 0));
                rig.engine.send(bad.id, message(ping(1, 0)));
                rig.until("the loss", |rig| !rig.lost(bad.id).is_empty());
                rig.settle();
                assert_eq!(rig.lost(bad.id).len(), 1);
                assert_eq!(rig.lost(bad.id)[0].0, "panic");
                assert!(rig.lost(bad.id)[0].1.contains("told to panic"));
                assert_eq!(rig.stat("job_panics"), count);
                rig.close_and_free(&bad);
                assert_eq!(rig.drained(bad.id), 1);

                good.peer.send(&ping(count, 0));
                rig.engine.send(good.id, message(ping(count, 0)));
                rig.until("the good link", |rig| {
                    rig.numbers(good.id).len() as u64 == count
                        && good.peer.received_len() as u64 == count * 2256
                });
            }
            assert_eq!(rig.stat("workers"), mode.io_threads as u64 - 1);
        }
    });
}

/// Waiting jobs make more workers active; a time without waiting jobs makes fewer active, down to the one that waits
/// for edges.
#[test]
fn active_workers_follow_the_load() {
    let mut rig = Rig::new(Mode { io_threads: 4, tls: false });
    let links: Vec<_> = (0..12).map(|_| rig.link()).collect();
    assert!(rig.stat("active_workers") <= 1);
    for link in &links {
        link.socket.hold(Side::Recv);
        link.peer.send(&ping(1, 0));
    }
    rig.tell_edges();
    rig.engine.flush();
    assert_eq!(rig.stat("active_workers"), 3);
    for link in &links {
        link.socket.release(Side::Recv);
    }
    rig.until("all packets", |rig| links.iter().all(|link| rig.numbers(link.id) == [1]));
    rig.until("rest", |rig| {
        let wait = rig.engine.poll(Some(Duration::from_millis(50)));
        wait.expect("the kernel waits");
        rig.stat("active_workers") == 1
    });
    assert_eq!(rig.stat("workers"), 3, "the others are on the bench, not stopped");
    links[0].peer.send(&ping(2, 0));
    rig.until("a packet", |rig| rig.numbers(links[0].id) == [1, 2]);
    assert_eq!((rig.stat("active_workers"), rig.stat("main_reads")), (1, 0));
}

/// With `io-threads-always-active` all workers are active from the start and after each resize, until it is switched
/// off.
#[test]
fn always_active_pins_all_workers() {
    let mut rig = Rig::with(WORKERS_PLAIN, |config| config.io_threads_always_active = true);
    assert_eq!(rig.stat("active_workers"), 2);
    rig.engine.resize(5).expect("threads");
    assert_eq!(rig.stat("active_workers"), 4);
    rig.engine.resize(2).expect("fewer");
    assert_eq!(rig.stat("active_workers"), 1);
    rig.engine.resize(5).expect("more");
    rig.engine.set_always_active(false);
    rig.until("rest", |rig| {
        let wait = rig.engine.poll(Some(Duration::from_millis(50)));
        wait.expect("the kernel waits");
        rig.stat("active_workers") == 1
    });
    rig.engine.set_always_active(true);
    assert_eq!(rig.stat("active_workers"), 4);
}
