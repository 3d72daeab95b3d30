//! Real sockets: listening, dialling, limits, deadlines, and what happens without file descriptors.

use std::fs::File;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use clusterbus_engine::{EndReason, Event, LossReason};

use crate::support::packets::{self, ping, pings};
use crate::support::{Mode, Peer, Rig, WORKERS_PLAIN, certs, four_ways, message, peer_listener};

/// R17: an accepted link is known by its listener; it carries traffic both ways and is closed only when it is freed.
#[test]
fn r17_links_are_known_by_whose_they_are() {
    four_ways(|mode| {
        let mut rig = Rig::new(mode);
        let (first, _) = rig.listen();
        let (second, port) = rig.listen();
        assert_ne!(first, second);
        let peer = rig.dial(port);
        rig.until("the link", |rig| rig.accepted().len() == 1);
        let accepted = rig.accepted()[0];
        assert!(matches!(rig.log[0], Event::Accepted { listener, .. } if listener == second));
        peer.send(&pings(0, 3));
        rig.engine.send(accepted, message(ping(9, 0)));
        rig.until("traffic", |rig| {
            rig.numbers(accepted) == [0, 1, 2] && peer.received_len() == 2256
        });
        peer.end();
        rig.until("the end", |rig| !rig.lost(accepted).is_empty());
        assert!(rig.log.iter().any(|event| matches!(
            event,
            Event::Lost { owner: 0, reason: LossReason::End(EndReason::Eof), .. }
        )));
        rig.engine.close(accepted);
        rig.until("the drain", |rig| rig.drained(accepted) == 1);
        assert!(!peer.is_ended(), "the socket is open until the link is freed");
        rig.engine.free(accepted);
        rig.until("the peer's end", |_| peer.is_ended());
    });
}

/// A dial that is refused is reported as lost, with its owner number.
#[test]
fn a_refused_dial_is_lost() {
    four_ways(|mode| {
        let mut rig = Rig::new(mode);
        let (listener, address) = peer_listener();
        drop(listener);
        let link = rig.engine.connect(address, 5, mode.tls, None, None).expect("a socket");
        rig.until("the loss", |rig| !rig.lost(link).is_empty());
        assert_eq!(rig.lost(link)[0].0, "connect");
        assert!(matches!(rig.log[0], Event::Lost { owner: 5, .. }));
        rig.settle();
        assert_eq!(rig.story(link), "l");
    });
}

/// A dial goes out from the source address it is given, or fails at once.
#[test]
fn a_dial_has_a_source_address() {
    let mut rig = Rig::new(WORKERS_PLAIN);
    let (listener, address) = peer_listener();
    let source = Ipv4Addr::new(127, 0, 0, 77);
    rig.engine.connect(address, 5, false, Some(source.into()), None).expect("loopback is 127/8");
    let (_, from) = listener.accept().expect("the engine dialled");
    assert_eq!(from.ip(), source);
    let not_ours = Ipv4Addr::new(192, 0, 2, 1);
    assert!(rig.engine.connect(address, 5, false, Some(not_ours.into()), None).is_err());
    assert_eq!(rig.stat("links"), 1);
}

/// R6: a peer accepts, sends and closes before the engine looks: there is only one edge, and everything is still
/// reported.
#[test]
fn r6_a_peer_that_left_before_we_looked_is_heard_out() {
    for io_threads in [1, 3] {
        for _ in 0..20 {
            let mut rig = Rig::new(Mode { io_threads, tls: false });
            let (listener, address) = peer_listener();
            let link = rig.engine.connect(address, 5, false, None, None).expect("a socket");
            let (mut stream, _) = listener.accept().expect("the engine dialled");
            stream.write_all(&pings(1, 2)).expect("room for two");
            drop(stream);
            rig.until("the end", |rig| !rig.lost(link).is_empty());
            assert_eq!(rig.story(link), "cpl");
            assert_eq!(rig.numbers(link), [1, 2]);
        }
    }
}

/// R6: the same on the accepting side.
#[test]
fn r6_a_peer_that_left_before_it_was_accepted_is_heard_out() {
    for io_threads in [1, 3] {
        let mut rig = Rig::new(Mode { io_threads, tls: false });
        let (_, port) = rig.listen();
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("a listener");
        stream.write_all(&pings(1, 2)).expect("room for two");
        drop(stream);
        rig.until("the end", |rig| rig.stat("links_lost_eof") == 1);
        let link = rig.accepted()[0];
        assert_eq!(rig.story(link), "apl");
        assert_eq!(rig.numbers(link), [1, 2]);
    }
}

/// P7: a peer that takes no more bytes, and so acknowledges none, loses its link by the kernel's timeout; a change of
/// the timeout reaches links that are up.
#[test]
fn p7_the_kernel_ends_a_link_that_does_not_move() {
    for io_threads in [1, 3] {
        let timeout = Duration::from_millis(400);
        for change_later in [false, true] {
            let mut rig = Rig::with(Mode { io_threads, tls: false }, |config| {
                if !change_later {
                    config.unacknowledged_timeout = timeout;
                }
            });
            let (listener, address) = peer_listener();
            let link = rig.engine.connect(address, 5, false, None, None).expect("a socket");
            let (_deaf, _) = listener.accept().expect("the engine dialled");
            rig.until("the link", |rig| rig.story(link) == "c");
            if change_later {
                rig.engine.set_unacknowledged_timeout(timeout);
            }
            let begun = Instant::now();
            for number in 0..64 {
                rig.engine.send(link, message(packets::publish(number, 1024 * 1024)));
            }
            rig.until("the loss", |rig| !rig.lost(link).is_empty());
            assert!(begun.elapsed() >= timeout);
            assert_eq!(rig.lost(link)[0].0, "error");
        }
    }
}

/// H33: a reset in the middle of traffic or of a handshake ends the link, once.
#[test]
fn h33_a_reset_ends_the_link() {
    four_ways(|mode| {
        let mut rig = Rig::new(mode);
        let (listener, address) = peer_listener();
        let link = rig.engine.connect(address, 5, mode.tls, None, None).expect("a socket");
        let (stream, _) = listener.accept().expect("the engine dialled");
        socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).expect("a live socket");
        if mode.tls {
            drop(stream);
        } else {
            rig.until("the link", |rig| rig.story(link) == "c");
            rig.engine.send(link, message(ping(1, 0)));
            rig.step();
            drop(stream);
        }
        rig.until("the end", |rig| !rig.lost(link).is_empty());
        rig.engine.send(link, message(ping(2, 0)));
        rig.settle();
        assert_eq!(rig.lost(link).len(), 1);
        assert!(["error", "connect"].contains(&rig.lost(link)[0].0), "{:?}", rig.lost(link));
    });
}

/// H30: inbound and outbound links together are limited; when one is freed there is room for another.
#[test]
fn h30_links_are_capped() {
    four_ways(|mode| {
        let mut rig = Rig::with(mode, |config| config.max_links = 3);
        let (_, port) = rig.listen();
        let peers: Vec<_> = (0..3).map(|_| rig.dial(port)).collect();
        rig.until("three links", |rig| rig.accepted().len() == 3);
        let fourth = rig.dial(port);
        rig.until("the refusal", |rig| rig.stat("accepts_refused_max_links") == 1);
        rig.until("the end", |_| fourth.is_ended());
        assert!(
            rig.engine
                .connect(SocketAddr::from(([127, 0, 0, 1], port)), 1, false, None, None)
                .is_err()
        );
        let link = rig.accepted()[0];
        rig.engine.close(link);
        rig.until("the drain", |rig| rig.drained(link) == 1);
        rig.engine.free(link);
        rig.dial(port);
        rig.until("another link", |rig| rig.accepted().len() == 4);
        drop(peers);
    });
}

/// H31: an inbound link without a whole packet is given up in time. Half a packet does not save it, a whole one does.
#[test]
fn h31_the_first_packet_is_waited_for_only_so_long() {
    four_ways(|mode| {
        let wait = Duration::from_millis(300);
        let mut rig = Rig::with(mode, |config| config.first_packet_timeout = wait);
        let (_, port) = rig.listen();
        let (silent, half, speaks) = (rig.dial(port), rig.dial(port), rig.dial(port));
        rig.until("three links", |rig| rig.accepted().len() == 3);
        half.send(&ping(1, 0)[..2255]);
        speaks.send(&ping(2, 0));
        rig.until("two losses", |rig| rig.stat("links_lost_first_packet_timeout") == 2);
        let kept: Vec<_> =
            rig.accepted().into_iter().filter(|link| rig.lost(*link).is_empty()).collect();
        assert_eq!(kept.len(), 1);
        assert_eq!(rig.numbers(kept[0]), [2]);
        drop((silent, half));
    });
}

/// H31: a dial that gets no answer at all is given up in time, counted from the dial.
#[test]
fn h31_a_dial_without_an_answer_is_given_up() {
    four_ways(|mode| {
        let wait = Duration::from_millis(200);
        let mut rig = Rig::with(mode, |config| config.handshake_timeout = wait);
        let deaf = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)
            .expect("a socket");
        deaf.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).expect("a port");
        deaf.listen(0).expect("Linux takes a backlog of 0 as 1");
        let address = deaf.local_addr().expect("bound").as_socket().expect("IPv4");
        let fills_the_backlog = TcpStream::connect(address).expect("the backlog has room for one");
        let dialled = std::time::Instant::now();
        let link = rig.engine.connect(address, 1, mode.tls, None, None).expect("a socket");
        rig.until("the loss", |rig| !rig.lost(link).is_empty());
        assert_eq!(rig.lost(link)[0].0, "connect");
        assert!(dialled.elapsed() >= wait);
        drop(fills_the_backlog);
    });
}

/// A closed listener accepts nobody, and the links that came through it stay.
#[test]
fn a_closed_listener_takes_nobody() {
    four_ways(|mode| {
        let mut rig = Rig::new(mode);
        let (listener, port) = rig.listen();
        let peer = rig.dial(port);
        rig.until("the link", |rig| rig.accepted().len() == 1);
        rig.engine.stop_listening(listener);
        assert_eq!(rig.engine.listener_port(listener), None);
        assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err());
        peer.send(&ping(1, 0));
        let link = rig.accepted()[0];
        rig.until("its packet", |rig| rig.numbers(link) == [1]);
        rig.engine.stop_listening(listener);
        rig.engine.stop_listening(99);
    });
}

/// Listening on a port that is taken is an error.
#[test]
fn a_port_that_is_taken_is_an_error() {
    let mut rig = Rig::new(WORKERS_PLAIN);
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let address = taken.local_addr().expect("bound");
    assert!(rig.engine.listen(address, false, 16).is_err());
}

/// IPv6 links report IPv6 addresses.
#[test]
fn ipv6_works() {
    let mut rig = Rig::new(WORKERS_PLAIN);
    let Ok(listener) = rig.engine.listen("[::1]:0".parse().expect("an address"), false, 16) else {
        println!("no IPv6 here");
        return;
    };
    let port = rig.engine.listener_port(listener).expect("ours");
    let stream = TcpStream::connect(("::1", port)).expect("the engine listens");
    let peer = Peer::over_tcp(stream, None);
    rig.adopt(&peer);
    rig.until("the link", |rig| rig.accepted().len() == 1);
    assert!(
        matches!(rig.log[0], Event::Accepted { peer: address, .. } if address == peer.local_addr())
    );
}

/// A burst of connections larger than one step accepts comes in whole, without a further edge.
#[test]
fn a_burst_of_connections_is_accepted_whole() {
    for io_threads in [1, 3] {
        let mut rig = Rig::new(Mode { io_threads, tls: false });
        let (_, port) = rig.listen();
        let count = 2 * clusterbus_engine::limits::ACCEPTS_PER_POLL - 8;
        let peers: Vec<_> = (0..count).map(|_| rig.dial(port)).collect();
        peers.iter().for_each(|peer| peer.send(&ping(1, 0)));
        rig.until("all", |rig| rig.stat("packets_received") == count as u64);
        assert_eq!(rig.accepted().len(), count);
    }
}

/// R7, H38: an established link is served during a storm of handshakes.
#[test]
fn h38_a_storm_of_handshakes_leaves_heartbeats_alone() {
    for io_threads in [1, 3] {
        let mut rig = Rig::new(Mode { io_threads, tls: true });
        let (_, port) = rig.listen();
        let steady = rig.dial(port);
        rig.until("the link", |rig| rig.accepted().len() == 1);
        let link = rig.accepted()[0];
        let mut storm = Vec::new();
        for number in 0..40 {
            storm.push(rig.dial_with(port, Some(certs().client(Some(&certs().peer)))));
            steady.send(&ping(number, 0));
            rig.until("the heartbeat", |rig| rig.numbers(link).len() as u64 == number + 1);
            rig.engine.send(link, message(ping(number, 0)));
        }
        rig.until("the storm", |rig| rig.accepted().len() == 41);
        rig.until("all answers", |_| packets::split(&steady.received()).len() == 40);
    }
}

const CHILD: &str = "CLUSTERBUS_TEST_CHILD";

/// H43: runs `h43_child` in a process of its own, with a low limit on descriptors.
#[test]
fn h43_without_descriptors_accepting_pauses() {
    let child = Command::new("sh")
        .args(["-c", "ulimit -n 100; exec \"$0\" \"$@\""])
        .arg(std::env::current_exe().expect("this binary"))
        .args(["--exact", "listening::h43_child", "--ignored", "--nocapture", "--test-threads=1"])
        .env(CHILD, "1")
        .output()
        .expect("a child process");
    let text = String::from_utf8_lossy(&child.stdout);
    assert!(child.status.success() && text.contains("h43 held"), "{text}");
}

#[test]
#[ignore = "run by h43_without_descriptors_accepting_pauses in a process of its own"]
fn h43_child() {
    assert!(std::env::var_os(CHILD).is_some(), "uses up all descriptors of its process");
    for io_threads in [1, 3] {
        let mut rig = Rig::new(Mode { io_threads, tls: false });
        let (_, port) = rig.listen();
        let served = rig.dial(port);
        rig.until("a link", |rig| rig.accepted().len() == 1);
        let link = rig.accepted()[0];
        let late = rig.dial(port);
        let mut hoard = Vec::new();
        while let Ok(file) = File::open("/dev/null") {
            hoard.push(file);
        }
        rig.until("the pause", |rig| rig.stat("accept_paused") == 1);
        assert!(rig.stat("accepts_refused_no_descriptors") >= 1);
        for number in 0..5 {
            served.send(&ping(number, 0));
            rig.until("service", |rig| rig.numbers(link).len() as u64 == number + 1);
        }
        assert_eq!(rig.accepted().len(), 1);
        hoard.clear();
        rig.until("the late one", |rig| rig.accepted().len() == 2);
        late.send(&ping(9, 0));
        let link = rig.accepted()[1];
        rig.until("its packet", |rig| rig.numbers(link) == [9]);
        assert_eq!(rig.stat("accept_paused"), 0);
    }
    println!("h43 held");
}
