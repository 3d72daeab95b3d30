//! What comes in: framing, the good packets before a fault, budgets, shared buffers, what is left unfinished, and the
//! time of the last read.

use std::io::ErrorKind;

use clusterbus_engine::limits::ANONYMOUS_FREE_BYTES;
use clusterbus_engine::{Event, LinkId, limits};

use crate::support::packets::{self, ping, pings, publish, refused};
use crate::support::{Fault, Mode, Peer, Rig, Side, WORKERS_TLS, certs, four_ways, peer_listener};

/// R5: however a stream is cut into pieces, the packets are the same and in order, and none is reported before it is
/// whole.
#[test]
fn r5_a_split_at_every_byte_gives_the_same_packets() {
    four_ways(|mode| {
        let stream: Vec<u8> = [publish(1, 30), ping(2, 0), publish(3, 0)].concat();
        let first_whole_at = publish(1, 30).len();
        let mut rig = Rig::new(mode);
        let link = rig.link();
        // TLS moves the boundaries itself, so one in seven is enough there.
        let stride = if mode.tls { 7 } else { 1 };
        for split in (1..stream.len()).step_by(stride) {
            rig.log.clear();
            link.peer.send(&stream[..split]);
            rig.until("the first piece", |_| link.socket.unread_len() == 0);
            rig.settle();
            let whole = rig.numbers(link.id);
            assert_eq!(whole.is_empty(), split < first_whole_at, "split at {split}: {whole:?}");
            link.peer.send(&stream[split..]);
            rig.until("all packets", |rig| rig.numbers(link.id).len() >= 3);
            assert_eq!(rig.numbers(link.id), [1, 2, 3], "split at {split}");
            let bytes: Vec<u8> =
                rig.packets(link.id).iter().flat_map(|packet| packet.bytes().to_vec()).collect();
            assert!(bytes == stream, "split at {split}");
        }
    });
}

/// R5: the same when every read brings a single byte.
#[test]
fn r5_one_byte_at_a_time() {
    four_ways(|mode| {
        let mut rig = Rig::new(mode);
        let link = rig.link();
        link.socket.split(Side::Recv, 1);
        link.peer.send(&[publish(1, 9), ping(2, 0), publish(3, 0)].concat());
        rig.until("all packets", |rig| rig.numbers(link.id).len() >= 3);
        assert_eq!(rig.numbers(link.id), [1, 2, 3]);
    });
}

/// R6, H1, H2, H3, H34: after two packets comes half of a third and an end, or bytes that are no packet: first the two
/// packets are handed over, then the link is lost, once.
#[test]
fn r6_the_good_prefix_comes_before_the_end() {
    let no_length = [&b"RCmb"[..], &8u32.to_be_bytes()].concat();
    let too_long = [&b"RCmb"[..], &u32::MAX.to_be_bytes()].concat();
    let half = ping(3, 0)[..1000].to_vec();
    four_ways(|mode| {
        for (kind, tail, fault) in [
            ("eof", &half, Some(Fault::End)),
            ("error", &half, Some(Fault::Error(ErrorKind::ConnectionReset))),
            ("bad-signature", &b"RCmX".to_vec(), None),
            ("bad-length", &no_length, None),
            ("bad-length", &too_long, None),
        ] {
            let mut rig = Rig::new(mode);
            let link = rig.link();
            let wire = link.peer.encrypted(&[pings(1, 2), tail.clone()].concat());
            link.socket.deliver(&wire);
            if let Some(fault) = fault {
                link.socket.break_after(Side::Recv, wire.len(), fault);
            }
            rig.until("the end", |rig| !rig.lost(link.id).is_empty());
            rig.settle();
            assert_eq!(rig.numbers(link.id), [1, 2], "{kind}");
            assert_eq!(rig.lost(link.id).len(), 1, "{kind}");
            assert_eq!(rig.lost(link.id)[0].0, kind);
            assert!(rig.story(link.id).ends_with("pl"), "{}", rig.story(link.id));
            assert_eq!(rig.stat(&format!("links_lost_{}", kind.replace('-', "_"))), 1);
        }
    });
}

/// R6: the TLS records before one that does not decrypt are good.
#[test]
fn r6_a_bad_tls_record_does_not_hide_the_good_ones_before_it() {
    for io_threads in [1, 3] {
        let mut rig = Rig::new(Mode { io_threads, ..WORKERS_TLS });
        let link = rig.link();
        let mut wire = link.peer.encrypted(&pings(1, 2));
        let mut broken = link.peer.encrypted(&ping(3, 0));
        broken[40] ^= 1;
        wire.extend(broken);
        link.socket.deliver(&wire);
        rig.until("the end", |rig| !rig.lost(link.id).is_empty());
        assert_eq!(rig.numbers(link.id), [1, 2]);
        assert_eq!(rig.lost(link.id)[0].0, "tls");
    }
}

/// R6: a TLS peer that sends close_notify has ended the stream.
#[test]
fn r6_close_notify_is_an_end() {
    for io_threads in [1, 3] {
        let mut rig = Rig::new(Mode { io_threads, ..WORKERS_TLS });
        let link = rig.link();
        link.peer.send(&pings(1, 2));
        link.peer.close_notify();
        rig.until("the end", |rig| !rig.lost(link.id).is_empty());
        assert_eq!(rig.numbers(link.id), [1, 2]);
        assert_eq!(rig.lost(link.id)[0].0, "eof");
    }
}

/// H3: a length over the limit ends the link before any of the body has come.
#[test]
fn h3_a_length_over_the_cap_ends_the_link_from_its_first_eight_bytes() {
    four_ways(|mode| {
        let mut rig = Rig::new(mode);
        let link = rig.link();
        let over = clusterbus_wire::MAX_PACKET_LEN_BYTES as u32 + 1;
        link.peer.send(&[&b"RCmb"[..], &over.to_be_bytes()].concat());
        rig.until("the end", |rig| !rig.lost(link.id).is_empty());
        assert_eq!(rig.lost(link.id)[0].0, "bad-length");
    });
}

/// H4, H5: refused packets are all counted, and several close the link; the good packets among them are handed over.
#[test]
fn h4_refused_packets_are_counted_and_several_close_the_link() {
    four_ways(|mode| {
        let mut rig = Rig::new(mode);
        let link = rig.link();
        let allowed = limits::DROPPED_CLOSES as usize - 1;
        let mut stream = ping(1, 0);
        (0..allowed).for_each(|_| stream.extend(refused()));
        stream.extend(ping(2, 0));
        link.peer.send(&stream);
        rig.until("both", |rig| rig.numbers(link.id).len() == 2);
        rig.settle();
        assert!(rig.lost(link.id).is_empty(), "one refused packet below the limit keeps the link");
        assert_eq!(rig.stat("packets_dropped"), allowed as u64);
        link.peer.send(&[refused(), ping(3, 0)].concat());
        rig.until("the end", |rig| !rig.lost(link.id).is_empty());
        assert_eq!(rig.lost(link.id)[0].0, "bad-packets");
        assert_eq!(rig.numbers(link.id), [1, 2, 3]);
        assert_eq!(rig.stat("dropped_version"), u64::from(limits::DROPPED_CLOSES));
    });
}

#[test]
fn h4_a_flood_of_refused_packets_is_listed_in_part_and_counted_in_full() {
    four_ways(|mode| {
        let mut rig = Rig::new(mode);
        let link = rig.link();
        let count = 40;
        link.socket.deliver(&link.peer.encrypted(&refused().repeat(count)));
        rig.until("the end", |rig| !rig.lost(link.id).is_empty());
        assert_eq!(rig.stat("packets_dropped"), count as u64);
        let listed = rig.log.iter().map(|event| match event {
            Event::Packets { dropped, .. } => dropped.len(),
            _ => 0,
        });
        assert_eq!(listed.sum::<usize>(), limits::DROPPED_LISTED);
        assert_eq!(rig.stat("dropped_version"), count as u64, "the count by kind is complete too");
    });
}

/// R7: a flood on one link leaves room for a packet on another, which is reported before the flood has been read.
#[test]
fn r7_a_flood_starves_nobody() {
    four_ways(|mode| {
        let mut rig = Rig::new(mode);
        let (flood, quiet) = (rig.link(), rig.link());
        let count = 8 * limits::READ_BUDGET_BYTES as u64 / 2256;
        flood.socket.deliver(&flood.peer.encrypted(&pings(0, count)));
        quiet.socket.deliver(&quiet.peer.encrypted(&ping(1, 0)));
        let unread = flood.socket.unread_len();
        rig.tell_edges();
        rig.engine.flush();
        let taken = unread - flood.socket.unread_len();
        // On the main thread the flood gets one job, which reads exactly its budget.
        assert!(mode.io_threads > 1 || taken == limits::READ_BUDGET_BYTES, "{taken}");
        rig.until("the quiet link's packet", |rig| !rig.numbers(quiet.id).is_empty());
        rig.until("the flood", |rig| rig.stat("packets_received") == count + 1);
        rig.settle();
        assert!(rig.numbers(flood.id).iter().copied().eq(0..count), "in order");
        assert!(rig.lost(flood.id).is_empty());
        let order = rig.log.iter().filter_map(|event| match event {
            Event::Packets { link, .. } => Some(*link == quiet.id),
            _ => None,
        });
        let place = order.clone().position(|is_quiet| is_quiet).expect("it came");
        assert!(place + 1 < order.count(), "the whole flood was reported first");
    });
}

/// R23: any bytes set the time of the last read, even if they complete no packet; a send does not.
#[test]
fn r23_the_last_read_is_published() {
    four_ways(|mode| {
        let mut rig = Rig::new(mode);
        let link = rig.link();
        if !mode.tls {
            assert_eq!(rig.engine.last_read_ms(link.id), None, "nothing was ever read");
        }
        link.peer.send(b"RC");
        rig.until("a read", |rig| link.socket.unread_len() == 0 && rig.stat("jobs_in_flight") == 0);
        rig.settle();
        let first = rig.engine.last_read_ms(link.id).expect("two bytes were read");
        assert!(first < 10_000, "{first}");
        rig.until("time", |rig| {
            rig.engine.last_read_ms(link.id).is_some_and(|age| age >= first + 20)
        });
        assert!(rig.engine.send(link.id, crate::support::message(ping(1, 0))));
        rig.until("the message", |_| link.peer.received_len() == 2256);
        assert!(rig.engine.last_read_ms(link.id).expect("still") >= 20, "a send does not count");
        link.peer.send(b"mb");
        rig.until("a read", |rig| rig.engine.last_read_ms(link.id).is_some_and(|age| age < 20));
    });
}

/// R32: the packets of one read are slices of one buffer, one right after the other.
#[test]
fn r32_packets_of_one_read_share_one_buffer() {
    four_ways(|mode| {
        let mut rig = Rig::new(mode);
        let link = rig.link();
        link.socket.deliver(&link.peer.encrypted(&pings(0, 5)));
        rig.until("all packets", |rig| rig.numbers(link.id).len() == 5);
        let packets = rig.packets(link.id);
        assert_eq!(rig.story(link.id).matches('p').count(), 1, "one job read them");
        for pair in packets.windows(2) {
            let end = pair[0].bytes().as_ptr() as usize + pair[0].bytes().len();
            assert_eq!(end, pair[1].bytes().as_ptr() as usize, "copied, or in another buffer");
        }
    });
}

/// R10: the bytes of good packets are counted by class.
#[test]
fn r10_received_bytes_are_counted_by_class() {
    four_ways(|mode| {
        let mut rig = Rig::new(mode);
        let link = rig.link();
        let parts = [ping(1, 3), publish(2, 100), packets::module(3, 50), ping(4, 0)];
        link.peer.send(&parts.concat());
        rig.until("all packets", |rig| rig.numbers(link.id).len() == 4);
        assert_eq!(rig.stat("bytes_received_cluster"), (parts[0].len() + parts[3].len()) as u64);
        assert_eq!(rig.stat("bytes_received_pubsub"), parts[1].len() as u64);
        assert_eq!(rig.stat("bytes_received_module"), parts[2].len() as u64);
        assert_eq!(rig.stat("packets_received"), 4);
        let (threaded, main) = (rig.stat("threaded_reads"), rig.stat("main_reads"));
        assert_eq!((threaded > 0, main > 0), (mode.io_threads > 1, mode.io_threads == 1));
        rig.engine.reset_stats();
        assert_eq!(rig.stat("bytes_received_cluster") + rig.stat("packets_received"), 0, "R24");
    });
}

/// The largest packet that is allowed comes through, in many reads and jobs.
#[test]
fn the_largest_packet_comes_through() {
    four_ways(|mode| {
        let mut rig = Rig::new(mode);
        let link = rig.link();
        let padding = clusterbus_wire::MAX_PACKET_LEN_BYTES - 32;
        link.peer.send(&[publish(1, padding), ping(2, 0)].concat());
        rig.until("both", |rig| rig.numbers(link.id).len() == 2);
        assert_eq!(rig.numbers(link.id), [1, 2]);
        assert_eq!(rig.packets(link.id)[0].bytes().len(), clusterbus_wire::MAX_PACKET_LEN_BYTES);
    });
}

/// What links of nobody known leave unfinished comes out of one budget.
const BUDGET_BYTES: usize = 4 << 20;
const LONG_BYTES: usize = 3 << 20;

fn budget_rig(mode: Mode) -> Rig {
    Rig::with(mode, |config| config.max_anonymous_bytes = BUDGET_BYTES)
}

fn held_bytes(rig: &Rig) -> usize {
    rig.stat("anonymous_bytes") as usize
}

/// All but the last byte of a long packet.
fn most_of_a_packet() -> Vec<u8> {
    let mut bytes = publish(1, LONG_BYTES);
    bytes.pop();
    bytes
}

/// Waits until the budget holds most of one long packet.
fn until_held(rig: &mut Rig) {
    rig.until("what is held", |rig| held_bytes(rig) >= LONG_BYTES - ANONYMOUS_FREE_BYTES);
    rig.settle();
    assert!(held_bytes(rig) < BUDGET_BYTES);
}

/// A second long packet does not fit until the first is whole; short ones are heard meanwhile.
#[test]
fn h30_a_full_budget_ends_links_with_long_packets_and_no_others() {
    four_ways(|mode| {
        let mut rig = budget_rig(mode);
        let (first, second) = (rig.link(), rig.link());
        first.peer.send(&most_of_a_packet());
        until_held(&mut rig);
        let of_first = held_bytes(&rig);
        second.peer.send(&[ping(7, 0), most_of_a_packet()].concat());
        rig.until("the second is lost", |rig| !rig.lost(second.id).is_empty());
        assert_eq!(rig.lost(second.id)[0].0, "anonymous-bytes");
        assert_eq!(rig.stat("links_lost_anonymous_bytes"), 1);
        assert_eq!(rig.numbers(second.id), [7], "what was whole before is handed over");
        assert_eq!(held_bytes(&rig), of_first, "what was refused is given back");
        let honest = rig.link();
        let heartbeat = ping(8, 600);
        for piece in heartbeat.chunks(20_000) {
            honest.peer.send(piece);
            rig.settle();
        }
        rig.until("a heartbeat in pieces", |rig| rig.numbers(honest.id) == [8]);
        first.peer.send(&[0]);
        rig.until("the first is whole", |rig| rig.numbers(first.id) == [1]);
        assert_eq!(held_bytes(&rig), 0);
        honest.peer.send(&most_of_a_packet());
        until_held(&mut rig);
        assert_eq!(rig.lost(honest.id), [], "there is room again");
    });
}

/// The budget has room again when a link ends, and when its node becomes known, read from or not.
#[test]
fn h30_links_that_end_or_become_known_hold_nothing() {
    four_ways(|mode| {
        let mut rig = budget_rig(mode);
        let link = rig.link();
        link.peer.send(&most_of_a_packet());
        until_held(&mut rig);
        rig.close_and_free(&link);
        assert_eq!(held_bytes(&rig), 0);
        let known = rig.link();
        known.peer.send(&most_of_a_packet());
        until_held(&mut rig);
        rig.engine.bind(known.id, *b"0123456789abcdef0123456789abcdef01234567");
        assert_eq!(held_bytes(&rig), 0);
        known.peer.send(&[0]);
        rig.until("the packet", |rig| rig.numbers(known.id) == [1]);
        known.peer.send(&most_of_a_packet());
        rig.settle();
        assert_eq!(held_bytes(&rig), 0);
        assert_eq!(rig.lost(known.id), []);
    });
}

/// A link becomes known while its receiving half is away.
#[test]
fn h30_a_link_that_becomes_known_while_it_is_read_holds_nothing() {
    four_ways(|mode| {
        if mode.io_threads == 1 {
            return;
        }
        let mut rig = Rig::with(mode, |config| {
            config.max_anonymous_bytes = BUDGET_BYTES;
            config.io_threads_always_active = true;
        });
        let link = rig.link();
        link.socket.hold(Side::Recv);
        link.peer.send(&most_of_a_packet()[..500_000]);
        rig.tell_edges();
        rig.engine.flush();
        link.socket.wait_inside(Side::Recv);
        rig.engine.bind(link.id, *b"0123456789abcdef0123456789abcdef01234567");
        link.socket.release(Side::Recv);
        rig.until("the part is read", |_| link.socket.unread_len() == 0);
        rig.settle();
        assert_eq!(held_bytes(&rig), 0);
    });
}

/// Links that were accepted count, and dials whose node is not known yet.
#[test]
fn h30_links_over_tcp_count_both_ways() {
    four_ways(|mode| {
        let mut rig = budget_rig(mode);
        let (_, port) = rig.listen();
        let accepted = rig.dial(port);
        accepted.send(&most_of_a_packet());
        until_held(&mut rig);
        accepted.end();
        rig.until("its end", |rig| rig.accepted().iter().any(|link| !rig.lost(*link).is_empty()));
        assert_eq!(held_bytes(&rig), 0);
        let (dialled, peer) = dialled(&mut rig);
        peer.send(&most_of_a_packet());
        until_held(&mut rig);
        peer.send(&[0]);
        rig.until("the packet", |rig| rig.numbers(dialled) == [1]);
        assert_eq!(held_bytes(&rig), 0);
    });
}

/// A link that the engine has dialled over TCP, and its peer.
fn dialled(rig: &mut Rig) -> (LinkId, Peer) {
    let (listener, address) = peer_listener();
    let tls = rig.mode.tls;
    let link = rig.engine.connect(address, 5, tls, None, None).expect("a socket");
    let (stream, _) = listener.accept().expect("the engine dialled");
    let peer = Peer::over_tcp(stream, tls.then(|| certs().server(&certs().peer)));
    rig.adopt(&peer);
    rig.until("the link is up", |rig| rig.story(link) == "c");
    (link, peer)
}
