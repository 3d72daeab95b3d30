//! TLS over real sockets: who is let in, who is refused and why, on which thread, and that nothing waits for ever.

use std::io::Write;
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use clusterbus_engine::{ClientAuth, Event, TlsRules, TlsSetup};

use crate::support::certs::{Identity, node_identity, rules};
use crate::support::packets::{self, ping};
use crate::support::{Mode, Peer, Rig, certs, message, peer_listener};

const TLS_WAYS: [Mode; 2] = [Mode { io_threads: 1, tls: true }, Mode { io_threads: 3, tls: true }];

fn good_client(rig: &mut Rig, port: u16) -> Peer {
    rig.dial_with(port, Some(certs().client(Some(&certs().peer))))
}

/// Checks that the engine still serves: a good peer connects, asks and is answered.
fn assert_serves(rig: &mut Rig, port: u16) {
    let before = rig.accepted().len();
    let peer = good_client(rig, port);
    rig.until("a good peer's link", |rig| rig.accepted().len() > before);
    let link = *rig.accepted().last().expect("just accepted");
    peer.send(&ping(77, 0));
    rig.until("its packet", |rig| rig.numbers(link) == [77]);
    rig.engine.send(link, message(ping(78, 0)));
    rig.until("our answer", |_| packets::split(&peer.received()).len() == 1);
}

/// R16: TLS handshakes of accepted connections run on workers; one that comes in many pieces counts as one accept.
#[test]
fn r16_a_handshake_in_many_pieces_is_one_accept() {
    for mode in TLS_WAYS {
        let mut rig = Rig::new(mode);
        let (listener, port) = rig.listen();
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("the engine listens");
        stream.set_nodelay(true).expect("a live socket");
        let mut client = certs().client(Some(&certs().peer));
        let mut hello = Vec::new();
        client.write_tls(&mut hello).expect("a vector takes all");
        rig.until("the connection", |rig| rig.stat("handshakes") == 1);
        for byte in hello {
            (&stream).write_all(&[byte]).expect("a live socket");
            rig.step();
        }
        assert!(rig.accepted().is_empty());
        let peer = Peer::over_tcp(stream, Some(client));
        rig.adopt(&peer);
        rig.until("the link", |rig| rig.accepted().len() == 1);
        let counted = (rig.stat("threaded_accepts"), rig.stat("main_accepts"));
        assert_eq!(counted, if mode.io_threads > 1 { (1, 0) } else { (0, 1) });
        assert_eq!(rig.stat("handshakes"), 0);
        let Some(Event::Accepted { listener: number, peer: address, local_ip, .. }) =
            rig.log.first()
        else {
            panic!("{:?}", rig.log);
        };
        assert_eq!((*number, *address), (listener, peer.local_addr()));
        assert_eq!(*local_ip, Some(Ipv4Addr::LOCALHOST.into()));
        assert_serves(&mut rig, port);
    }
}

/// H21: who the peer is by its certificate comes with the link, of whoever dialled.
#[test]
fn h21_a_link_comes_with_the_key_and_the_names_of_its_peer() {
    for mode in TLS_WAYS {
        let mut rig = Rig::new(mode);
        let (_, port) = rig.listen();
        let _peer = good_client(&mut rig, port);
        rig.until("the link", |rig| rig.accepted().len() == 1);
        let (listener, address) = peer_listener();
        let link = rig.engine.connect(address, 42, true, None, None).expect("a socket");
        let (stream, _) = listener.accept().expect("the engine dialled");
        let peer = Peer::over_tcp(stream, Some(certs().server(&certs().named)));
        rig.adopt(&peer);
        rig.until("the link", |rig| rig.story(link) == "c");
        let identities: Vec<_> = rig
            .log
            .iter()
            .filter_map(|event| match event {
                Event::Accepted { identity, .. } | Event::Connected { identity, .. } => {
                    identity.as_deref()
                }
                _ => None,
            })
            .collect();
        let [accepted, dialled] = identities[..] else { panic!("{:?}", rig.log) };
        assert_eq!(accepted.names, ["localhost"]);
        assert_eq!(dialled.names, ["a.example.org", "*.b.example.org", "spiffe://example.org/c"]);
        assert_eq!(accepted.key_sha256, certs().peer.key_sha256());
        assert_eq!(dialled.key_sha256, certs().named.key_sha256());
        assert_ne!(accepted.key_sha256, dialled.key_sha256);
    }
}

/// R30: TLS handshakes of dials run on workers too.
#[test]
fn r30_a_dial_shakes_hands_on_a_worker() {
    for mode in TLS_WAYS {
        let mut rig = Rig::new(mode);
        let (listener, address) = peer_listener();
        let link = rig.engine.connect(address, 42, true, None, None).expect("a socket");
        let (stream, _) = listener.accept().expect("the engine dialled");
        let peer = Peer::over_tcp(stream, Some(certs().server(&certs().peer)));
        rig.adopt(&peer);
        rig.until("the link", |rig| rig.story(link) == "c");
        assert!(matches!(rig.log[0], Event::Connected { owner: 42, .. }), "R17: {:?}", rig.log[0]);
        let counted = (rig.stat("threaded_connects"), rig.stat("main_connects"));
        assert_eq!(counted, if mode.io_threads > 1 { (1, 0) } else { (0, 1) });
        rig.engine.send(link, message(ping(1, 0)));
        peer.send(&ping(2, 0));
        rig.until("traffic", |rig| peer.received_len() == 2256 && rig.numbers(link) == [2]);
    }
}

/// H36: a peer that shows no certificate or a bad one does not become a link; it gets an alert, and the engine goes on.
#[test]
fn h36_clients_without_a_good_certificate_are_refused() {
    let table: [(Option<&Identity>, &str); 4] = [
        (None, "no-certificate"),
        (Some(&certs().of_other_ca), "bad-certificate"),
        (Some(&certs().expired), "bad-certificate"),
        (Some(&certs().self_signed), "bad-certificate"),
    ];
    for mode in TLS_WAYS {
        let mut rig = Rig::new(mode);
        let (_, port) = rig.listen();
        for (identity, kind) in table {
            rig.log.clear();
            let peer = rig.dial_with(port, Some(certs().client(identity)));
            rig.until("the refusal", |rig| !rig.refused().is_empty());
            assert_eq!(rig.refused()[0].0, kind);
            rig.until("the alert", |_| peer.error().is_some());
            assert!(rig.accepted().is_empty());
            assert_eq!((rig.stat("links"), rig.stat("handshakes")), (0, 0));
        }
        assert_eq!(rig.stat("accepts_refused_bad_certificate"), 3);
        assert_eq!(rig.stat("accepts_refused_no_certificate"), 1);
        assert_serves(&mut rig, port);
    }
}

/// H36: a node that we dial must show a good certificate of our CA.
#[test]
fn h36_servers_without_a_good_certificate_are_left() {
    for mode in TLS_WAYS {
        let mut rig = Rig::new(mode);
        let (listener, address) = peer_listener();
        for identity in [&certs().of_other_ca, &certs().expired, &certs().self_signed] {
            let link = rig.engine.connect(address, 1, true, None, None).expect("a socket");
            let (stream, _) = listener.accept().expect("the engine dialled");
            let peer = Peer::over_tcp(stream, Some(certs().server(identity)));
            rig.adopt(&peer);
            rig.until("the loss", |rig| !rig.lost(link).is_empty());
            assert_eq!(rig.lost(link)[0].0, "bad-certificate");
            assert_eq!(rig.story(link), "l");
        }
    }
}

/// `tls-auth-clients no` asks for no certificate; `optional` accepts none at all, but no bad one.
#[test]
fn tls_auth_clients_off_and_optional() {
    for (client_auth, identity, comes_in) in [
        (ClientAuth::Off, None, true),
        (ClientAuth::Off, Some(&certs().of_other_ca), true),
        (ClientAuth::Optional, None, true),
        (ClientAuth::Optional, Some(&certs().peer), true),
        (ClientAuth::Optional, Some(&certs().of_other_ca), false),
    ] {
        let setup = certs().setup(&certs().node, client_auth);
        let mut rig = Rig::with(TLS_WAYS[1], |config| config.tls = Some(setup));
        let (_, port) = rig.listen();
        rig.dial_with(port, Some(certs().client(identity)));
        rig.until("an answer", |rig| !rig.log.is_empty());
        assert_eq!(rig.accepted().len(), usize::from(comes_in), "{client_auth:?}");
        assert_eq!(rig.refused().len(), usize::from(!comes_in), "{client_auth:?}");
    }
}

/// New keys apply to new connections; links that are up stay.
#[test]
fn keys_are_exchanged_at_run_time() {
    let mut rig = Rig::new(TLS_WAYS[1]);
    let (_, port) = rig.listen();
    assert_serves(&mut rig, port);
    let first = rig.accepted()[0];
    rig.engine.set_tls(Some(certs().setup(&certs().of_other_ca, ClientAuth::Required)));
    let peer = good_client(&mut rig, port);
    rig.until("the peer's refusal", |_| peer.error().is_some());
    assert!(
        peer.error().is_some_and(|error| error.contains("UnknownIssuer")),
        "{:?}",
        peer.error()
    );
    rig.engine.set_tls(None);
    let refused = rig.refused().len();
    drop(good_client(&mut rig, port));
    rig.until("a refusal", |rig| rig.refused().len() > refused);
    assert!(rig.engine.connect(([127, 0, 0, 1], port).into(), 1, true, None, None).is_err());
    rig.engine.set_tls(Some(crate::support::node_setup()));
    assert_serves(&mut rig, port);
    assert!(rig.lost(first).is_empty());
}

/// H35: TLS on a plain port and plain bytes on a TLS port end at once, each with a reason of its own.
#[test]
fn h35_tls_and_plain_do_not_mix() {
    for mode in TLS_WAYS {
        let mut rig = Rig::new(mode);
        let (_, plain_port) = rig.listen_with(false);
        let (_, tls_port) = rig.listen_with(true);
        good_client(&mut rig, plain_port);
        rig.until("the loss", |rig| rig.stat("links_lost_tls_on_plain") == 1);
        let plain = rig.dial_with(tls_port, None);
        plain.send(&ping(1, 0));
        rig.until("the refusal", |rig| rig.stat("accepts_refused_not_tls") == 1);
        rig.until("the end", |_| plain.is_ended());
        assert_serves(&mut rig, tls_port);
    }
}

/// H37: garbage, close_notify or an end inside a handshake is refused, and nothing is left. Where rustls ignores a
/// close_notify that is not authenticated, the deadline ends the handshake.
#[test]
fn h37_what_breaks_inside_a_handshake_is_refused() {
    let mut client = certs().client(Some(&certs().peer));
    let mut hello = Vec::new();
    client.write_tls(&mut hello).expect("a vector takes all");
    let close_notify = [0x15, 3, 3, 0, 2, 1, 0];
    let garbage_record = [&[0x16, 3, 3, 0, 100][..], &[0xff; 100]].concat();
    // A handshake message that claims 16 MiB, in records that keep coming.
    let mut endless = vec![0x16, 3, 3, 0x40, 0, 1, 0xff, 0xff, 0xff];
    endless.extend(vec![0; 0x4000 - 4]);
    let more = [&[0x16, 3, 3, 0x40, 0][..], &vec![0; 0x4000]].concat();
    endless.extend(more.repeat(8));
    for mode in TLS_WAYS {
        let mut rig = Rig::with(mode, |config| {
            config.handshake_timeout = Duration::from_millis(300);
        });
        let (_, port) = rig.listen();
        let cases: [(&[&[u8]], bool); 6] = [
            (&[&garbage_record], false),
            (&[&hello, &garbage_record], false),
            (&[&close_notify], false),
            (&[&hello, &close_notify], false),
            (&[&hello[..50]], true),
            (&[&endless], false),
        ];
        for (number, (pieces, ends)) in cases.into_iter().enumerate() {
            rig.log.clear();
            let peer = rig.dial_with(port, None);
            for piece in pieces {
                peer.send_raw(piece);
                rig.step();
            }
            if ends {
                peer.end();
            }
            rig.until("the refusal", |rig| !rig.refused().is_empty());
            assert!(rig.accepted().is_empty(), "case {number}");
            let kind = rig.refused()[0].0;
            assert!(
                ["tls", "tls-alert", "eof", "error", "handshake-timeout"].contains(&kind),
                "case {number}: {kind}"
            );
            rig.until("the end", |_| peer.is_ended());
            rig.settle();
            assert_eq!((rig.stat("links"), rig.stat("handshakes")), (0, 0), "case {number}");
        }
        assert_serves(&mut rig, port);
    }
}

/// H31: a handshake that takes too long is ended. H38: the handshakes at once are limited, and their room comes back.
#[test]
fn h31_h38_stalled_handshakes_are_capped_and_end() {
    for mode in TLS_WAYS {
        let mut rig = Rig::with(mode, |config| {
            config.max_handshakes = 4;
            config.handshake_timeout = Duration::from_millis(300);
        });
        let (_, port) = rig.listen();
        let stalled: Vec<_> = (0..4).map(|_| rig.dial_with(port, None)).collect();
        rig.until("four handshakes", |rig| rig.stat("handshakes") == 4);
        let fifth = rig.dial_with(port, None);
        rig.until("the refusal", |rig| rig.stat("accepts_refused_max_handshakes") == 1);
        rig.until("the end", |_| fifth.is_ended());
        rig.until("the deadline", |rig| rig.stat("accepts_refused_handshake_timeout") == 4);
        rig.until("the ends", |_| stalled.iter().all(Peer::is_ended));
        assert_eq!((rig.stat("handshakes"), rig.stat("links")), (0, 0));
        assert!(rig.accepted().is_empty());
        assert_serves(&mut rig, port);
    }
}

/// H31: a dial whose peer does not take part in the TLS handshake is given up.
#[test]
fn h31_a_dial_without_a_handshake_is_given_up() {
    for mode in TLS_WAYS {
        let wait = Duration::from_millis(200);
        let mut rig = Rig::with(mode, |config| config.handshake_timeout = wait);
        let (_listener, address) = peer_listener();
        let link = rig.engine.connect(address, 1, true, None, None).expect("a socket");
        rig.until("the loss", |rig| !rig.lost(link).is_empty());
        assert_eq!(rig.lost(link)[0].0, "handshake-timeout");
    }
}

/// An error about an unusable file starts with the directive that names the file.
#[test]
fn unusable_files_are_named() {
    let (node, ca) = (&certs().node, &certs().ca_pem);
    let other_key = &certs().peer.key_pem;
    for (cert, key, ca, directive) in [
        ("", &*node.key_pem, &**ca, "tls-cert-file"),
        (&node.cert_pem, "", ca, "tls-key-file"),
        (&node.cert_pem, &node.key_pem, "", "tls-ca-cert-file"),
        (&node.cert_pem, other_key, ca, "tls-key-file tls-key-file.pem: is not the key of"),
    ] {
        let rules = rules(cert, key, ca, ClientAuth::Required);
        let error = TlsSetup::new(&rules).expect_err("a file is unusable").to_string();
        assert!(error.starts_with(directive), "{error}");
    }
}

/// Only what the rules name is spoken: a peer of the other version, or with other suites, is refused, also by a node
/// that dials.
#[test]
fn versions_and_suites_are_those_of_the_rules() {
    let (node, ca) = (&certs().node, &certs().ca_pem);
    let all = rules(&node.cert_pem, &node.key_pem, ca, ClientAuth::Required);
    for tls13 in [false, true] {
        let mut only = all.clone();
        (only.tls12, only.tls13) = (!tls13, tls13);
        let mut rig = Rig::with(TLS_WAYS[0], |config| {
            config.tls = Some(TlsSetup::new(&only).expect("valid rules"));
        });
        let (_, port) = rig.listen();
        let refused = rig.dial_with(port, Some(certs().client_of(!tls13)));
        rig.until("the refusal", |_| refused.is_ended());
        assert!(rig.accepted().is_empty());
        let _taken = rig.dial_with(port, Some(certs().client_of(tls13)));
        rig.until("the link", |rig| rig.accepted().len() == 1);
    }
    let mut none = all.clone();
    none.suites = TlsRules::suites_of(false);
    none.tls12 = false;
    let error = TlsSetup::new(&none).expect_err("nothing is left").to_string();
    assert!(error.starts_with("tls-protocols"), "{error}");
    none.suites = vec!["TLS_NULL".to_owned()];
    assert!(TlsSetup::new(&none).expect_err("unknown").to_string().contains("TLS_NULL"));
}

/// A node shows its client certificate to those that it dials, and the other one to those who dial it.
#[test]
fn who_is_dialled_sees_the_client_certificate() {
    let mut rules =
        rules(&certs().node.cert_pem, &certs().node.key_pem, &certs().ca_pem, ClientAuth::Off);
    rules.client = Some(node_identity(&certs().peer.cert_pem, &certs().peer.key_pem));
    let setup = TlsSetup::new(&rules).expect("valid rules");
    let (server, client) = (&setup.server_certificate, &setup.client_certificate);
    assert!(server.is_some() && client.is_some() && server != client);
    let mut rig = Rig::with(TLS_WAYS[0], |config| config.tls = Some(setup.clone()));
    let (listener, address) = peer_listener();
    rig.engine.connect(address, 1, true, None, None).expect("a socket");
    let (stream, _) = listener.accept().expect("the dial");
    let peer = Peer::over_tcp(stream, Some(certs().server(&certs().node)));
    rig.adopt(&peer);
    rig.until("the certificate", |_| peer.certificate().is_some());
    let shown = peer.certificate().expect("just seen");
    assert_eq!(shown, certs().peer.leaf());
}

/// Asking for a TLS link without keys is an error; it does not make a plain link.
#[test]
fn no_keys_no_tls() {
    let mut rig = Rig::new(Mode { io_threads: 1, tls: false });
    let socket = std::sync::Arc::new(crate::support::MemorySocket::new());
    let side = Some(clusterbus_engine::TlsSide::Accepts);
    assert!(rig.engine.attach(socket, 1, side).is_err());
    assert_eq!(rig.stat("links"), 0);
}
