//! The two directions of one link: they run at once where they can, share fairly where they cannot, and neither hides
//! the other's result.

use std::io::ErrorKind;

use clusterbus_engine::Event;

use crate::support::packets::{self, ping, pings};
use crate::support::{
    Fault, Mode, Rig, Side, WORKERS_PLAIN, WORKERS_TLS, four_ways, message, peer_listener,
};

/// R13, R31: on a plain link reads start and end while a write is away.
#[test]
fn r31_a_read_ends_while_a_write_is_away() {
    let mut rig = Rig::all_active(WORKERS_PLAIN);
    let link = rig.link();
    link.socket.hold(Side::Send);
    rig.engine.send(link.id, message(ping(1, 0)));
    rig.engine.flush();
    link.socket.wait_inside(Side::Send);
    for number in 0..3 {
        link.peer.send(&ping(number, 0));
        rig.until("a packet", |rig| rig.numbers(link.id).len() as u64 == number + 1);
    }
    assert_eq!(link.peer.received_len(), 0, "the write is still away");
    link.socket.release(Side::Send);
    rig.until("the message", |_| link.peer.received_len() == 2256);
}

/// R13, R31: on a plain link writes start and end while a read is away.
#[test]
fn r31_a_write_ends_while_a_read_is_away() {
    let mut rig = Rig::all_active(WORKERS_PLAIN);
    let link = rig.link();
    link.socket.hold(Side::Recv);
    link.peer.send(&ping(1, 0));
    rig.tell_edges();
    rig.engine.flush();
    link.socket.wait_inside(Side::Recv);
    for count in 1..=3 {
        rig.engine.send(link.id, message(ping(count, 0)));
        rig.until("a message", |_| link.peer.received_len() as u64 == count * 2256);
    }
    assert!(rig.numbers(link.id).is_empty(), "the read is still away");
    link.socket.release(Side::Recv);
    rig.until("the packet", |rig| rig.numbers(link.id) == [1]);
}

/// R13: an edge that comes while the half is away is not lost and does not start a second job.
#[test]
fn r13_an_edge_while_the_half_is_away_is_remembered() {
    for tls in [false, true] {
        let mut rig = Rig::all_active(Mode { io_threads: 3, tls });
        let link = rig.link();
        link.socket.hold(Side::Recv);
        link.peer.send(&ping(1, 0));
        rig.tell_edges();
        rig.engine.flush();
        link.socket.wait_inside(Side::Recv);
        for number in 2..=4 {
            link.peer.send(&ping(number, 0));
            rig.tell_edges();
            rig.engine.flush();
            assert_eq!(rig.stat("jobs_in_flight"), 1);
        }
        link.socket.release(Side::Recv);
        rig.until("all", |rig| rig.numbers(link.id) == [1, 2, 3, 4]);
        assert_eq!(link.socket.overlaps(), 0);
    }
}

/// R13: a TLS link never has two jobs, whatever is asked of it; a plain link never has two of the same kind.
#[test]
fn r13_a_tls_link_has_one_job() {
    for mode in [WORKERS_PLAIN, WORKERS_TLS] {
        let mut rig = Rig::all_active(mode);
        let links: Vec<_> = (0..4).map(|_| rig.link()).collect();
        for number in 0..200 {
            for link in &links {
                link.peer.send(&ping(number, 0));
                rig.engine.send(link.id, message(ping(number, 0)));
            }
            rig.tell_edges();
            rig.engine.flush();
            if number % 3 == 0 {
                rig.step();
            }
        }
        rig.until("all", |rig| {
            links.iter().all(|link| {
                rig.numbers(link.id).len() == 200 && link.peer.received_len() == 200 * 2256
            })
        });
        for link in &links {
            assert!(rig.numbers(link.id).iter().copied().eq(0..200));
            assert_eq!(link.socket.overlaps(), 0);
            assert!(!mode.tls || link.socket.most_inside() == 1);
        }
    }
}

/// R13: what comes in is read even if the send queue never runs empty.
#[test]
fn r13_a_busy_send_queue_never_starves_reads() {
    four_ways(|mode| {
        let mut rig = Rig::new(mode);
        let link = rig.link();
        for number in 0..20 {
            let until_read = |rig: &mut Rig| rig.numbers(link.id).len() as u64 > number;
            link.peer.send(&ping(number, 0));
            let mut steps = 0;
            rig.until("a packet", |rig| {
                // Always enough for four jobs.
                while rig.engine.send_queue(link.id).1 < 256 * 1024 {
                    rig.engine.send(link.id, message(packets::publish(0, 60_000)));
                }
                steps += 1;
                until_read(rig)
            });
            assert!(mode.io_threads > 1 || steps <= 3, "{steps} steps for a packet");
        }
    });
}

/// R13: a flood that comes in does not keep messages from going out.
#[test]
fn r13_a_flood_of_reads_never_starves_writes() {
    four_ways(|mode| {
        let mut rig = Rig::new(mode);
        let link = rig.link();
        link.socket.deliver(&link.peer.encrypted(&pings(0, 4000)));
        rig.engine.send(link.id, message(ping(7, 0)));
        rig.until("the message", |_| link.peer.received_len() == 2256);
        assert!(link.socket.unread_len() > 0, "the flood was over first");
    });
}

/// R14: the peer ends its stream while a write is away: the end is reported at once, and the write is counted when it
/// is home.
#[test]
fn r14_the_end_of_reading_does_not_hide_a_write() {
    let mut rig = Rig::all_active(WORKERS_PLAIN);
    let link = rig.link();
    link.socket.hold(Side::Send);
    rig.engine.send(link.id, message(ping(1, 0)));
    rig.engine.flush();
    link.socket.wait_inside(Side::Send);
    link.peer.send(&pings(1, 2));
    link.peer.end();
    rig.until("the end", |rig| !rig.lost(link.id).is_empty());
    assert_eq!(rig.story(link.id), "pl");
    assert_eq!(rig.lost(link.id)[0].0, "eof");
    assert_eq!(rig.stat("bytes_sent_cluster"), 0);
    rig.engine.close(link.id);
    link.socket.release(Side::Send);
    rig.until("the drain", |rig| rig.drained(link.id) == 1);
    assert_eq!(rig.stat("bytes_sent_cluster"), 2256, "the write is counted");
    assert_eq!(rig.story(link.id), "pld");
}

/// R14, R6: writing fails while packets are unread: they are reported first, then one loss, which names both reasons if
/// there are two.
#[test]
fn r14_a_write_error_waits_for_what_was_received() {
    four_ways(|mode| {
        for ends in [false, true] {
            let mut rig = Rig::new(mode);
            let link = rig.link();
            link.socket.break_after(Side::Send, 10, Fault::Error(ErrorKind::BrokenPipe));
            // No edge is reported: only the failed write makes the engine read.
            link.socket.deliver(&link.peer.encrypted(&pings(1, 3)));
            if ends {
                link.socket.end();
            }
            link.socket.take_edges();
            rig.engine.send(link.id, message(ping(1, 0)));
            rig.until("the end", |rig| !rig.lost(link.id).is_empty());
            rig.settle();
            assert_eq!(rig.numbers(link.id), [1, 2, 3]);
            assert!(rig.story(link.id).ends_with("pl"), "{}", rig.story(link.id));
            let (kind, detail) = rig.lost(link.id).remove(0);
            assert_eq!(kind, if ends { "eof" } else { "error" });
            assert!(detail.contains("writing: "), "{detail}");
        }
    });
}

/// R14: an end of reading and a failed write, in jobs that overlap, make one `Lost`.
#[test]
fn r14_both_directions_fail_and_one_end_is_told() {
    let mut rig = Rig::all_active(WORKERS_PLAIN);
    let link = rig.link();
    link.socket.hold(Side::Send);
    link.socket.break_after(Side::Send, 0, Fault::Error(ErrorKind::ConnectionReset));
    link.socket.hold(Side::Recv);
    link.peer.end();
    rig.engine.send(link.id, message(ping(1, 0)));
    rig.tell_edges();
    rig.engine.flush();
    link.socket.wait_inside(Side::Send);
    link.socket.wait_inside(Side::Recv);
    link.socket.release(Side::Recv);
    link.socket.release(Side::Send);
    rig.until("the end", |rig| !rig.lost(link.id).is_empty());
    rig.settle();
    rig.close_and_free(&link);
    assert_eq!(rig.story(link.id), "ld");
}

/// R36, R14: both jobs of a link panic: two panics are counted, and there is one `Lost`.
#[test]
fn r36_both_halves_panic_and_one_end_is_told() {
    let mut rig = Rig::all_active(WORKERS_PLAIN);
    let link = rig.link();
    for side in [Side::Send, Side::Recv] {
        link.socket.hold(side);
        link.socket.break_after(side, 0, Fault::Panic);
    }
    rig.engine.send(link.id, message(ping(1, 0)));
    rig.tell_edges();
    rig.engine.flush();
    for side in [Side::Send, Side::Recv] {
        link.socket.wait_inside(side);
        link.socket.release(side);
    }
    rig.until("both panics", |rig| rig.stat("job_panics") == 2);
    assert_eq!(rig.lost(link.id).len(), 1);
    rig.close_and_free(&link);
    assert_eq!(rig.story(link.id), "ld");
}

/// R12: messages queued on a link in its TLS handshake start no job, count as no fallback, and are sent when the link
/// is up.
#[test]
fn r12_no_dispatch_inside_a_handshake() {
    for io_threads in [1, 3] {
        let mut rig = Rig::new(Mode { io_threads, tls: true });
        for _ in 0..2 {
            let link = rig.attach();
            // The first job is the handshake's own.
            rig.engine.flush();
            rig.engine.drain().expect("the kernel waits");
            for number in 0..5 {
                assert!(rig.engine.send(link.id, message(ping(number, 0))));
            }
            for _ in 0..3 {
                assert!(!rig.engine.flush(), "there is nothing to do");
                assert_eq!(rig.stat("jobs_in_flight"), 0, "no job is started");
            }
            let idle = |rig: &Rig| rig.stat("main_writes") + rig.stat("threaded_writes");
            let before = idle(&rig);
            rig.until("the messages", |_| link.peer.received_len() == 5 * 2256);
            let connected = rig
                .log
                .iter()
                .any(|e| matches!(e, Event::Connected { link: id, .. } if *id == link.id));
            assert!(connected);
            rig.settle();
            assert!(idle(&rig) > before);
            assert_eq!(rig.stat("main_thread_fallbacks"), 0);
        }
    }
}

/// R12: messages queued on a dial start no job; they are sent when the link is up.
#[test]
fn r12_no_dispatch_while_connecting() {
    four_ways(|mode| {
        let mut rig = Rig::new(mode);
        let (listener, address) = peer_listener();
        let link = rig.engine.connect(address, 3, mode.tls, None, None).expect("a socket");
        assert!(rig.engine.send(link, message(ping(1, 0))));
        // The engine has taken no edge from the kernel yet, so for it the link is still connecting.
        assert!(!rig.engine.flush());
        assert_eq!(rig.stat("jobs_in_flight") + rig.stat("main_writes"), 0);
        assert_eq!(rig.stat("main_thread_fallbacks"), 0);
        assert_eq!(rig.engine.send_queue(link), (1, 2256));
        let (stream, _) = listener.accept().expect("the engine dialled");
        let tls = mode.tls.then(|| crate::support::certs().server(&crate::support::certs().peer));
        let peer = crate::support::Peer::over_tcp(stream, tls);
        rig.adopt(&peer);
        rig.until("the message", |_| peer.received_len() == 2256);
        assert_eq!(rig.story(link), "c");
        assert_eq!(rig.stat("main_thread_fallbacks"), 0);
    });
}
