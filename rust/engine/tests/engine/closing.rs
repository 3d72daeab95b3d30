//! The end of links: no socket closes while a job has it, everything is freed, and old ids reach no link.

use std::sync::Arc;
use std::time::Instant;

use clusterbus_engine::LinkId;

use crate::support::packets::{ping, pings};
use crate::support::{
    DEADLINE, FOUR_WAYS, Mode, Rig, Side, WORKERS_PLAIN, four_ways, message, peer_listener,
};

/// How many handles of a memory socket are not the engine's: the test's, the rig's, and that of the peer they share.
const OWN_HANDLES: usize = 3;

/// R15, H42: a link that is closed while jobs are away drains once, when the last is home, and reports nothing else.
#[test]
fn r15_a_link_drains_after_its_last_job() {
    for tls in [false, true] {
        let mut rig = Rig::all_active(Mode { io_threads: 3, tls });
        let link = rig.link();
        let held: &[Side] = if tls { &[Side::Recv] } else { &[Side::Recv, Side::Send] };
        for side in held {
            link.socket.hold(*side);
        }
        link.peer.send(&pings(1, 2));
        rig.engine.send(link.id, message(ping(1, 0)));
        rig.engine.send(link.id, message(ping(2, 0)));
        rig.tell_edges();
        rig.engine.flush();
        for side in held {
            link.socket.wait_inside(*side);
        }
        rig.engine.send(link.id, message(ping(3, 0)));
        rig.log.clear();
        rig.engine.close(link.id);
        rig.engine.close(link.id);
        assert!(!rig.engine.send(link.id, message(ping(4, 0))), "a closing link takes no messages");
        rig.engine.free(link.id);
        rig.engine.edge(link.id, true, true);
        for side in held {
            for _ in 0..3 {
                rig.step();
            }
            assert_eq!(rig.drained(link.id), 0, "{side:?} is still away");
            assert_eq!(rig.stat("links"), 1);
            assert!(
                Arc::strong_count(&link.socket) > OWN_HANDLES,
                "the socket stays open as long as a job has it"
            );
            link.socket.release(*side);
        }
        rig.until("the drain", |rig| rig.drained(link.id) > 0);
        rig.settle();
        assert_eq!(rig.story(link.id), "d", "what the jobs brought home is dropped");
        rig.engine.close(link.id);
        rig.settle();
        assert_eq!(rig.drained(link.id), 1);
        // The socket is open until the link is freed; then only the test, the rig and the peer hold it.
        assert!(Arc::strong_count(&link.socket) > OWN_HANDLES);
        rig.engine.free(link.id);
        rig.engine.free(link.id);
        assert_eq!(Arc::strong_count(&link.socket), OWN_HANDLES);
        assert_eq!((rig.stat("links"), rig.stat("jobs_in_flight")), (0, 0));
    }
}

/// R15: a link without jobs drains at once, before or after it was lost.
#[test]
fn r15_a_resting_link_drains_at_once() {
    four_ways(|mode| {
        for lost in [false, true] {
            let mut rig = Rig::new(mode);
            let link = rig.link();
            if lost {
                link.peer.end();
                rig.until("the end", |rig| !rig.lost(link.id).is_empty());
                assert_eq!(rig.drained(link.id), 0, "the main loop has not closed it");
                rig.engine.free(link.id);
                assert_eq!(rig.stat("links"), 1, "only a drained link is freed");
            }
            rig.engine.close(link.id);
            rig.until("the drain", |rig| rig.drained(link.id) == 1);
            rig.engine.free(link.id);
            assert_eq!(rig.stat("links"), 0);
        }
    });
}

/// R15: the id of a link that is gone reaches no link, not even the next one in the same slot.
#[test]
fn r15_a_slot_is_used_again_under_a_new_id() {
    four_ways(|mode| {
        let mut rig = Rig::new(mode);
        let old = rig.link();
        rig.close_and_free(&old);
        let new = rig.link();
        assert_ne!(old.id, new.id);
        assert_eq!(old.id.as_u64() as u32, new.id.as_u64() as u32, "the same slot");
        for stale in [old.id, LinkId::from_u64(0), LinkId::from_u64(u64::MAX)] {
            assert!(!rig.engine.send(stale, message(ping(1, 0))));
            assert_eq!(rig.engine.broadcast(&[stale], &message(ping(1, 0)), 0), 0);
            assert_eq!(rig.engine.last_read_ms(stale), None);
            assert_eq!(rig.engine.send_queue(stale), (0, 0));
            rig.engine.edge(stale, true, true);
            rig.engine.close(stale);
            rig.engine.free(stale);
        }
        rig.settle();
        assert_eq!(rig.drained(new.id), 0);
        new.peer.send(&ping(5, 0));
        rig.engine.send(new.id, message(ping(6, 0)));
        rig.until("traffic", |rig| rig.numbers(new.id) == [5] && new.peer.received_len() == 2256);
        assert_eq!(rig.stat("links"), 1);
    });
}

/// R15: over a thousand links come and go; slots are reused and nothing is left.
#[test]
fn r15_churn_leaves_nothing() {
    for io_threads in [1, 3] {
        let mut rig = Rig::new(Mode { io_threads, tls: false });
        let mut sockets = Vec::new();
        for round in 0..300 {
            let links: Vec<_> = (0..4).map(|_| rig.attach()).collect();
            for link in &links {
                link.peer.send(&ping(round, 0));
                rig.engine.send(link.id, message(ping(round, 0)));
            }
            rig.step();
            for link in &links {
                rig.close_and_free(link);
                assert!(link.id.as_u64() as u32 <= 3, "slots are reused");
                sockets.push(Arc::downgrade(&link.socket));
            }
        }
        rig.settle();
        assert_eq!(rig.stat("links"), 0);
        assert_eq!(sockets.iter().filter(|socket| socket.strong_count() > 0).count(), 0);
    }
}

/// R15: a dial that is closed before it is up drains at once, and nothing more is reported of it.
#[test]
fn r15_a_dial_can_be_closed_before_it_is_up() {
    four_ways(|mode| {
        let mut rig = Rig::new(mode);
        let (listener, address) = peer_listener();
        let link = rig.engine.connect(address, 1, mode.tls, None, None).expect("a socket");
        rig.engine.close(link);
        rig.until("the drain", |rig| rig.drained(link) == 1);
        rig.engine.free(link);
        let (stream, _) = listener.accept().expect("the engine dialled");
        let peer = crate::support::Peer::over_tcp(stream, None);
        rig.adopt(&peer);
        rig.until("the peer's end", |_| peer.is_ended());
        assert_eq!(rig.story(link), "d");
    });
}

/// Shutdown closes every socket, including those in completions in the outbox and in waiting jobs.
#[test]
fn shutdown_closes_every_socket() {
    for mode in FOUR_WAYS {
        let mut rig = Rig::with(mode, |config| config.outbox_completions = 2);
        let links: Vec<_> = (0..12).map(|_| rig.link()).collect();
        for link in &links {
            link.peer.send(&ping(1, 0));
            rig.engine.send(link.id, message(ping(1, 0)));
        }
        rig.tell_edges();
        rig.engine.flush();
        // When every job has been taken, the outbox is full, because nobody collects completions.
        let deadline = Instant::now() + DEADLINE;
        while rig.stat("inbox_len") > 0 {
            assert!(Instant::now() < deadline);
            std::thread::yield_now();
        }
        rig.engine.shutdown();
        assert_eq!((rig.stat("links"), rig.stat("jobs_in_flight")), (0, 0));
        let counts = links.iter().map(|link| Arc::strong_count(&link.socket));
        assert!(
            counts.clone().all(|count| count == OWN_HANDLES),
            "{:?}",
            counts.collect::<Vec<_>>()
        );
    }
}

/// An engine that is dropped while jobs are away stops its threads and closes its sockets.
#[test]
fn dropping_an_engine_closes_every_socket() {
    let mut rig = Rig::with(WORKERS_PLAIN, |config| config.outbox_completions = 2);
    let links: Vec<_> = (0..12).map(|_| rig.link()).collect();
    for link in &links {
        link.peer.send(&ping(1, 0));
    }
    rig.tell_edges();
    rig.engine.flush();
    drop(rig);
    for link in &links {
        assert_eq!(Arc::strong_count(&link.socket), 2, "the test's handle and its peer's");
    }
}
