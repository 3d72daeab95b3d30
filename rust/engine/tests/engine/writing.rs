//! What goes out: queued messages, partial sends, counters, one copy for many links, and the send-buffer limit.

use std::io::ErrorKind;

use bytes::Bytes;
use clusterbus_engine::{OutMessage, limits};

use crate::support::packets::{self, module, ping, publish};
use crate::support::{Fault, Mode, Rig, Side, WORKERS_PLAIN, four_ways, message};

fn sent_total(rig: &Rig) -> u64 {
    ["cluster", "pubsub", "module"]
        .map(|class| rig.stat(&format!("bytes_sent_{class}")))
        .iter()
        .sum()
}

/// R9, H33: the socket fills up after each byte of two messages in turn. Nothing is lost, doubled or reordered, and a
/// full socket is not an error.
#[test]
fn r9_a_partial_send_keeps_its_place_at_every_byte() {
    four_ways(|mode| {
        let mut rig = Rig::new(mode);
        let link = rig.link();
        let stream = [publish(1, 40), ping(2, 0)].concat();
        let stride = if mode.tls { 7 } else { 1 };
        for room in (0..=stream.len()).step_by(stride) {
            link.socket.stall_sends();
            let before = link.socket.sent_len();
            rig.engine.send(link.id, message(publish(1, 40)));
            rig.engine.send(link.id, message(ping(2, 0)));
            link.socket.grant(room);
            rig.until("the part", |_| link.socket.sent_len() == before + room);
            rig.settle();
            link.socket.grant(usize::MAX);
            rig.until("the rest", |_| link.peer.received_len() >= stream.len());
            assert!(link.peer.take_received() == stream, "room for {room}");
            rig.settle();
            assert_eq!(rig.engine.send_queue(link.id), (0, 0));
        }
        assert!(rig.lost(link.id).is_empty());
    });
}

/// R9, R10: the socket takes one byte per call, and every counter equals what it took.
#[test]
fn r10_sent_bytes_are_those_the_socket_took() {
    four_ways(|mode| {
        let mut rig = Rig::new(mode);
        let link = rig.link();
        link.socket.split(Side::Send, 1);
        let parts = [ping(1, 1), publish(2, 10), module(3, 5), ping(4, 0)];
        for part in &parts {
            assert!(rig.engine.send(link.id, message(part.clone())));
        }
        rig.until("all", |_| link.peer.received_len() == parts.concat().len());
        rig.settle();
        assert!(link.peer.received() == parts.concat());
        assert_eq!(rig.stat("bytes_sent_cluster"), (parts[0].len() + parts[3].len()) as u64);
        assert_eq!(rig.stat("bytes_sent_pubsub"), parts[1].len() as u64);
        assert_eq!(rig.stat("bytes_sent_module"), parts[2].len() as u64);
        assert_eq!(rig.stat("messages_sent_cluster"), 2);
        assert_eq!(rig.stat("messages_sent_pubsub"), 1);
        assert_eq!(rig.stat("messages_sent_module"), 1);
        let (threaded, main) = (rig.stat("threaded_writes"), rig.stat("main_writes"));
        assert_eq!((threaded > 0, main > 0), (mode.io_threads > 1, mode.io_threads == 1));
    });
}

/// R10: the counters are right while a message is partly sent. (Plain only: bytes that TLS holds back count as sent.)
#[test]
fn r10_half_a_message_counts_half() {
    for io_threads in [1, 3] {
        let mut rig = Rig::new(Mode { io_threads, tls: false });
        let link = rig.link();
        link.socket.stall_sends();
        rig.engine.send(link.id, message(publish(1, 68)));
        rig.engine.send(link.id, message(ping(2, 0)));
        for room in [1, 98, 1, 1, 1000] {
            link.socket.grant(room);
            let target = link.socket.sent_len() + room;
            rig.until("the part", |_| link.socket.sent_len() == target);
            rig.settle();
            assert_eq!(sent_total(&rig), target as u64);
            let whole = u64::from(target >= 100);
            assert_eq!(rig.stat("messages_sent_pubsub"), whole);
            // A message counts as unsent, in full, until it is wholly sent.
            let held = if whole == 1 { (1, 2256) } else { (2, 2356) };
            assert_eq!(rig.engine.send_queue(link.id), held);
        }
    }
}

/// R9: messages queued while a write job is away are sent by a later job, in order.
#[test]
fn r9_messages_queued_meanwhile_go_later() {
    for tls in [false, true] {
        let mut rig = Rig::new(Mode { io_threads: 3, tls });
        let link = rig.link();
        link.socket.hold(Side::Send);
        rig.engine.send(link.id, message(ping(1, 0)));
        rig.engine.flush();
        link.socket.wait_inside(Side::Send);
        for number in 2..=5 {
            assert!(rig.engine.send(link.id, message(ping(number, 0))));
        }
        rig.step();
        assert_eq!(rig.engine.send_queue(link.id), (5, 5 * 2256));
        assert_eq!(rig.stat("jobs_in_flight"), 1, "no second job of the same kind");
        link.socket.release(Side::Send);
        rig.until("all", |_| link.peer.received_len() == 5 * 2256);
        let numbers: Vec<_> = packets::split(&link.peer.received())
            .iter()
            .map(|frame| packets::number_of(frame))
            .collect();
        assert_eq!(numbers, [1, 2, 3, 4, 5]);
        rig.settle();
        assert_eq!(rig.engine.send_queue(link.id), (0, 0));
    }
}

/// R9: a hard error ends the link, once, and the link takes no message after it.
#[test]
fn r9_a_hard_error_ends_the_link() {
    four_ways(|mode| {
        for after in [0, 1, 1000] {
            let mut rig = Rig::new(mode);
            let link = rig.link();
            link.socket.break_after(Side::Send, after, Fault::Error(ErrorKind::BrokenPipe));
            rig.engine.send(link.id, message(ping(1, 0)));
            rig.until("the end", |rig| !rig.lost(link.id).is_empty());
            rig.settle();
            assert_eq!(rig.lost(link.id).len(), 1);
            assert_eq!(rig.lost(link.id)[0].0, "error");
            assert!(rig.lost(link.id)[0].1.contains("writing"), "{:?}", rig.lost(link.id));
            assert!(!rig.engine.send(link.id, message(ping(2, 0))));
        }
    });
}

/// R9: a socket that takes 0 bytes without an error must not keep a thread busy for ever.
#[test]
fn r9_a_socket_that_takes_nothing_ends_the_link() {
    four_ways(|mode| {
        let mut rig = Rig::new(mode);
        let link = rig.link();
        link.socket.break_after(Side::Send, 0, Fault::End);
        rig.engine.send(link.id, message(ping(1, 0)));
        rig.until("the end", |rig| !rig.lost(link.id).is_empty());
        assert_eq!(rig.lost(link.id)[0].0, "error");
    });
}

/// A message without bytes starts no job, and is harmless between other messages.
#[test]
fn an_empty_message_is_no_work() {
    four_ways(|mode| {
        let mut rig = Rig::new(mode);
        let link = rig.link();
        assert!(rig.engine.send(link.id, message(vec![])));
        assert!(!rig.engine.flush() && rig.stat("jobs_in_flight") == 0);
        for bytes in [vec![], ping(1, 0), vec![], ping(2, 0), vec![]] {
            assert!(rig.engine.send(link.id, message(bytes)));
        }
        rig.until("both", |_| link.peer.received_len() == 2 * 2256);
        rig.settle();
        assert_eq!(rig.engine.send_queue(link.id), (0, 0));
    });
}

/// R11: every link sends a broadcast's bytes from the same memory, which is freed when all have sent them.
#[test]
fn r11_a_broadcast_is_stored_once() {
    for io_threads in [1, 3] {
        let mut rig = Rig::new(Mode { io_threads, tls: false });
        let links: Vec<_> = (0..20).map(|_| rig.link()).collect();
        let data = Bytes::from(ping(1, 20));
        let place = data.as_ptr() as usize;
        let one = OutMessage::new(data.clone());
        let ids: Vec<_> = links.iter().map(|link| link.id).collect();
        rig.engine.broadcast(&ids, &one, usize::MAX);
        drop(one);
        for link in &links {
            assert_eq!(rig.engine.send_queue(link.id), (1, data.len()), "unsent on each link");
        }
        assert!(!data.is_unique());
        rig.until("all", |_| links.iter().all(|link| link.peer.received_len() == data.len()));
        rig.settle();
        for link in &links {
            assert_eq!(link.socket.send_pointers(), [place]);
            assert!(link.peer.received() == data);
        }
        assert!(data.is_unique(), "some link still holds it");
    }
}

/// One job sends a broadcast on all links of it, within a limit; each link's half is home when its part is done.
#[test]
fn r11_one_job_sends_a_broadcast() {
    let mut rig = Rig::all_active(WORKERS_PLAIN);
    let links: Vec<_> = (0..limits::SENDS_TOGETHER + 1).map(|_| rig.link()).collect();
    let ids: Vec<_> = links.iter().map(|link| link.id).collect();
    let (all_but_one, last) = (&ids[..limits::SENDS_TOGETHER], &links[limits::SENDS_TOGETHER - 1]);
    last.socket.hold(Side::Send);
    rig.engine.broadcast(all_but_one, &message(ping(9, 0)), usize::MAX);
    rig.engine.flush();
    last.socket.wait_inside(Side::Send);
    assert_eq!(rig.stat("jobs_in_flight"), 1, "one job for all of them");
    rig.engine.send(ids[0], message(ping(8, 0)));
    rig.until("a second message", |_| links[0].peer.received_len() == 2 * 2256);
    last.socket.release(Side::Send);
    rig.settle();
    for (link, received) in links.iter().zip([4512].into_iter().chain([2256; 63]).chain([0])) {
        assert_eq!(link.peer.received_len(), received);
    }
}

/// H40: a link with more unsent than the caller allows does not get a broadcast, nor is it given up.
#[test]
fn h40_a_broadcast_spares_links_that_do_not_read() {
    four_ways(|mode| {
        let mut rig = Rig::new(mode);
        let (slow, quick, ended) = (rig.link(), rig.link(), rig.link());
        slow.socket.stall_sends();
        rig.engine.send(slow.id, message(ping(1, 0)));
        rig.engine.close(ended.id);
        let one = message(ping(2, 0));
        for (most, spared, unsent) in [(2255, 1, 1), (2256, 0, 2)] {
            assert_eq!(rig.engine.broadcast(&[slow.id, quick.id, ended.id], &one, most), spared);
            assert_eq!(rig.engine.send_queue(slow.id).0, unsent);
        }
        assert!(rig.lost(slow.id).is_empty());
    });
}

/// R11: each link that is up gets a broadcast, also over TLS.
#[test]
fn r11_a_broadcast_reaches_the_links_that_are_up() {
    four_ways(|mode| {
        let mut rig = Rig::new(mode);
        let links: Vec<_> = (0..4).map(|_| rig.link()).collect();
        rig.engine.close(links[1].id);
        let ids: Vec<_> = links.iter().map(|link| link.id).collect();
        rig.engine.broadcast(&ids, &message(ping(9, 0)), usize::MAX);
        let others = [0, 2, 3].map(|index: usize| links[index].clone());
        rig.until("all", |_| others.iter().all(|link| link.peer.received_len() == 2256));
        assert_eq!(links[1].peer.received_len(), 0);
    });
}

/// R18, H40: a link at the limit is kept, one a byte over it is lost and counted; 0 means no limit; received bytes do
/// not count.
#[test]
fn r18_the_send_buffer_limit_at_its_edge() {
    four_ways(|mode| {
        let limit = 2 * 2256;
        let mut rig = Rig::with(mode, |config| config.link_sendbuf_limit_bytes = limit);
        let (at, over, fed) = (rig.link(), rig.link(), rig.link());
        for link in [&at, &over] {
            link.socket.stall_sends();
            assert!(rig.engine.send(link.id, message(ping(1, 0))));
            assert!(rig.engine.send(link.id, message(ping(2, 0))));
        }
        assert_eq!(rig.engine.send_queue(at.id), (2, limit));
        rig.engine.send(over.id, message(vec![0]));
        // A partial packet of twice the limit, on the receiving side.
        fed.peer.send(&publish(1, 4 * limit)[..2 * limit]);
        rig.until("the loss", |rig| !rig.lost(over.id).is_empty());
        rig.settle();
        assert_eq!(rig.lost(over.id)[0].0, "sendbuf-limit");
        assert!(rig.lost(at.id).is_empty() && rig.lost(fed.id).is_empty());
        assert_eq!(rig.stat("sendbuf_limit_exceeded"), 1);
        assert!(!rig.engine.send(over.id, message(ping(3, 0))));

        rig.engine.set_link_sendbuf_limit(0);
        for number in 3..40 {
            assert!(rig.engine.send(at.id, message(ping(number, 0))));
        }
        rig.settle();
        assert!(rig.lost(at.id).is_empty());
        at.socket.grant(usize::MAX);
        rig.until("all", |_| at.peer.received_len() == 39 * 2256);
    });
}

/// R7: a link with much to send does not keep others from sending.
#[test]
fn r7_a_long_queue_starves_nobody() {
    for tls in [false, true] {
        let mut rig = Rig::new(Mode { io_threads: 1, tls });
        let (long, short) = (rig.link(), rig.link());
        for number in 0..1000 {
            rig.engine.send(long.id, message(ping(number, 0)));
        }
        rig.engine.send(short.id, message(ping(1, 0)));
        let before = long.socket.sent_len();
        rig.engine.flush();
        rig.tell_edges();
        assert_eq!(short.peer.received_len(), 2256);
        let sent = long.socket.sent_len() - before;
        assert!(sent > 0 && sent <= limits::WRITE_BUDGET_BYTES + 4096, "{sent}");
        rig.until("the rest", |_| long.peer.received_len() == 1000 * 2256);
    }
}

/// R7: one write job sends at most its budget of bytes, and one call at most its number of buffers.
#[test]
fn r7_a_write_job_keeps_its_budget() {
    let mut rig = Rig::new(Mode { io_threads: 1, ..WORKERS_PLAIN });
    let link = rig.link();
    let big = 3 * limits::WRITE_BUDGET_BYTES;
    rig.engine.send(link.id, message(publish(1, big)));
    rig.engine.flush();
    assert_eq!(link.socket.sent_len(), limits::WRITE_BUDGET_BYTES, "exactly the budget");
    rig.settle();
    let before = link.socket.send_sizes().len();
    for number in 0..limits::WRITE_BUFFERS as u64 + 6 {
        rig.engine.send(link.id, message(publish(number, 0)));
    }
    rig.settle();
    let buffers: Vec<_> =
        link.socket.send_sizes()[before..].iter().map(|(buffers, _)| *buffers).collect();
    assert_eq!(buffers, [limits::WRITE_BUFFERS, 6]);
}
