//! Captured packets and arbitrary messages come through encoding and decoding unchanged, and no bytes make anything
//! panic.

mod support;

use bytes::Bytes;
use clusterbus_wire::*;
use proptest::prelude::*;
use support::{CAPTURES, RawPacket, all_captured, captured, seeded};

/// Reads everything in a packet; a panic anywhere fails the test.
fn read_all(frame: &[u8]) -> Result<Message, PacketError> {
    let peeked = peek_frame_len(frame);
    let checked = check_packet(frame);
    assert_eq!(checked.is_err(), PacketRef::new(frame).is_err());
    let _ = message_class_of(frame);
    let checked = checked?;
    assert_eq!(peeked, Ok(Some(frame.len())));
    assert_eq!(Checked::of_checked(frame), Some(checked));
    let packet = Packet::new(Bytes::copy_from_slice(frame)).expect("it was checked");
    let packet = packet.packet_ref();
    assert_eq!(packet.header().is_none(), checked.is_light);
    let refused: Vec<Refused> = packet.refused().collect();
    let message = packet.decode().expect("a checked packet decodes");
    if let Message::Heartbeat(heartbeat) = &message {
        let bad = |entry: &&Refused| matches!(entry, Refused::Gossip { .. });
        let bad_entries = refused.iter().filter(bad).count();
        assert_eq!(heartbeat.gossip.len() + bad_entries, packet.gossip().len());
        let bad = |entry: &&Refused| matches!(entry, Refused::Extension { .. });
        let bad_extensions = refused.iter().filter(bad).count();
        assert_eq!(heartbeat.extensions.len() + bad_extensions, packet.extensions().count());
        for extension in &heartbeat.extensions {
            let _ = extension.content();
        }
        for entry in &heartbeat.gossip {
            assert!(!entry.ip.is_empty());
        }
    }
    assert_eq!(MessageRef::from(&message).number(), checked.message_type);
    let encoded = message.encode().expect("what was decoded can be encoded");
    assert_eq!(decode(&encoded).as_ref(), Ok(&message));
    Ok(message)
}

#[test]
fn every_captured_packet_encodes_back_to_its_bytes() {
    for name in CAPTURES {
        for (index, frame) in captured(name).into_iter().enumerate() {
            let packet = PacketRef::new(&frame).expect("captured packets are sound");
            assert_eq!(packet.refused().next(), None, "{name} packet {index}");
            let message = read_all(&frame).expect("captured packets are sound");
            assert!(
                message.encode().expect("encodes") == frame,
                "{name} packet {index}: {message:?}"
            );
        }
    }
}

#[test]
fn an_encoded_message_is_counted_once() {
    let id = NodeId::new(&support::SENDER).expect("an id");
    let heartbeat = |gossip, extensions| {
        Message::Heartbeat(Heartbeat {
            kind: HeartbeatKind::Ping,
            header: Header::new(id),
            gossip: vec![GossipEntry::new(id); gossip],
            extensions: vec![Extension::shard_id_of(id); extensions],
        })
    };
    assert!(heartbeat(65_535, 0).encode().is_ok());
    let count = |field, count| Err(EncodeError::Count { field, count });
    assert_eq!(heartbeat(65_536, 0).encode(), count("gossip", 65_536));
    assert_eq!(heartbeat(0, 65_536).encode(), count("extensions", 65_536));
    let publish = |len| {
        let message = Bytes::from(vec![0; len]);
        let (channel, sharded) = (Bytes::new(), false);
        Message::Publish(Publish { header: None, channel, message, sharded })
    };
    let room = MAX_PACKET_LEN_BYTES - 24;
    assert_eq!(publish(room).encode().map(|bytes| bytes.len()), Ok(MAX_PACKET_LEN_BYTES));
    let len = MAX_PACKET_LEN_BYTES + 1;
    assert_eq!(publish(room + 1).encode(), Err(EncodeError::Length { len }));
    for (number, good) in [(10, false), (11, true), (0x7fff, true), (0x8004, false)] {
        let (header, data) = (Header::new(id), Bytes::new());
        let unknown = Message::Unknown(Unknown { number, header, data });
        assert_eq!(unknown.encode().is_ok(), good, "{number}");
    }
}

#[test]
fn extensions_are_flagged_whatever_the_header_says() {
    let id = NodeId::new(&support::SENDER).expect("an id");
    let extensions = vec![Extension::shard_id_of(id)];
    let (kind, header, gossip) = (HeartbeatKind::Pong, Header::new(id), Vec::new());
    let unflagged = Message::Heartbeat(Heartbeat { kind, header, gossip, extensions });
    let bytes = unflagged.encode().expect("encodes");
    assert_eq!(PacketRef::new(&bytes).expect("sound").extensions().count(), 1);
}

#[test]
fn h10_the_flag_alone_is_kept_and_is_no_refusal() {
    // Valkey sends the flag alone to peers that it does not know to take extensions.
    let bytes = RawPacket::full(2).with_byte(2253, 4).bytes();
    let packet = PacketRef::new(&bytes).expect("sound");
    assert_eq!(packet.refused().next(), None);
    assert_eq!(packet.decode().map(|message| message.encode().expect("encodes")), Ok(bytes));
}

#[test]
fn h10_extensions_that_do_not_count_are_named_and_left_out() {
    let packet = RawPacket::full(0).with_gossip(1, b"10.0.0.1").with_extension(0, b"host\0\0\0\0");
    for broken in [packet.clone().with_byte(2253, 0), packet.with_u16(2214, 0)] {
        let bytes = broken.bytes();
        let packet = PacketRef::new(&bytes).expect("sound");
        assert_eq!(packet.extensions().count(), 0);
        let refused: Vec<String> = packet.refused().map(|refused| refused.to_string()).collect();
        assert_eq!(refused, ["extensions"]);
        let Ok(Message::Heartbeat(ping)) = packet.decode() else { panic!("a PING") };
        assert_eq!((ping.gossip.len(), ping.extensions.len()), (1, 0));
    }
}

#[test]
fn h12_h13_a_bad_part_is_named_and_left_out_and_the_rest_stays() {
    let mut packet = RawPacket::full(1)
        .with_gossip(1, b"10.0.0.1")
        .with_gossip(1, b"10.0.0.2\n")
        .with_gossip(1, b"")
        .with_gossip(1, &[b'1'; 46])
        .with_gossip(1, b"::1")
        .with_u16(14, 5)
        .with_extension(0, b"a\nb\0\0\0\0\0")
        .with_extension(1, b"good\0\0\0\0")
        .with_extension(3, &[b'X'; 40])
        .with_extension(8, b"z=1,y\0\0\0");
    packet.header[2168..2172].copy_from_slice(b"nope");
    packet.body[0] = b'!';
    let bytes = packet.bytes();
    let packet = PacketRef::new(&bytes).expect("sound");
    let refused: Vec<String> = packet.refused().map(|refused| refused.to_string()).collect();
    let want = [
        "myip",
        "gossip[0].node_id",
        "gossip[1].ip",
        "gossip[2].ip",
        "gossip[3].ip",
        "extensions[0].hostname",
        "extensions[2].shard_id",
        "extensions[3].availability_zone",
    ];
    assert_eq!(refused, want);
    assert!(packet.myip().is_empty());
    let Ok(Message::Heartbeat(pong)) = packet.decode() else { panic!("a PONG") };
    assert_eq!(pong.gossip.len(), 1);
    assert_eq!(pong.gossip[0].ip.as_str(), "::1");
    assert_eq!(pong.extensions.len(), 1);
    assert_eq!(pong.extensions[0].content(), ExtensionContent::Text("good"));
}

fn node_id() -> impl Strategy<Value = NodeId> {
    "[0-9a-f]{40}".prop_map(|text| NodeId::new(text.as_bytes()).expect("an id"))
}

fn ip() -> impl Strategy<Value = IpText> {
    any::<std::net::IpAddr>().prop_map(|ip| IpText::new("ip", &ip.to_string()).expect("an address"))
}

fn slots() -> impl Strategy<Value = SlotBitmap> {
    proptest::collection::vec(any::<u8>(), SLOT_BITMAP_LEN_BYTES)
        .prop_map(|bitmap| SlotBitmap::new("slots", &bitmap).expect("2048 bytes"))
}

fn payload() -> impl Strategy<Value = Bytes> {
    proptest::collection::vec(any::<u8>(), 0..200).prop_map(Bytes::from)
}

fn header() -> impl Strategy<Value = Header> {
    let ports = any::<(u16, u16, u16)>();
    let numbers = any::<(u64, u64, u64)>();
    let ids = (node_id(), proptest::option::of(node_id()));
    let small = any::<(u16, u8, [u8; 3])>();
    let myip = prop_oneof![Just(IpText::EMPTY), ip()];
    (ports, numbers, ids, small, myip, slots()).prop_map(
        |(
            (port, pport, cport),
            (current_epoch, config_epoch, offset),
            ids,
            small,
            myip,
            myslots,
        )| {
            let ((sender, replicaof), (flags, state, mflags)) = (ids, small);
            Header {
                sender,
                port,
                pport,
                cport,
                current_epoch,
                config_epoch,
                offset,
                myslots,
                replicaof,
                myip,
                flags,
                state,
                mflags,
            }
        },
    )
}

fn gossip_entry() -> impl Strategy<Value = GossipEntry> {
    (node_id(), ip(), any::<(u32, u32)>(), any::<(u16, u16, u16, u16)>()).prop_map(
        |(node_id, ip, (ping_sent_s, pong_received_s), (port, cport, flags, pport))| GossipEntry {
            node_id,
            ping_sent_s,
            pong_received_s,
            ip,
            port,
            cport,
            flags,
            pport,
        },
    )
}

fn extension() -> impl Strategy<Value = Extension> {
    let text = |kind| move |text: String| Extension::text_of(kind, &text).expect("good text");
    prop_oneof![
        "[a-zA-Z0-9._-]{0,255}".prop_map(text(ExtensionType::Hostname)),
        "[a-z0-9#:/-]{0,40}".prop_map(text(ExtensionType::HumanNodename)),
        "[a-z0-9#:/-]{0,40}".prop_map(text(ExtensionType::AvailabilityZone)),
        any::<std::net::Ipv4Addr>()
            .prop_map(|ip| ip.to_string())
            .prop_map(text(ExtensionType::ClientIpv4)),
        any::<std::net::Ipv6Addr>()
            .prop_map(|ip| ip.to_string())
            .prop_map(text(ExtensionType::ClientIpv6)),
        (node_id(), any::<u64>()).prop_map(|(id, ttl_s)| Extension::forgotten_node_of(id, ttl_s)),
        node_id().prop_map(Extension::shard_id_of),
        any::<u16>().prop_map(|port| {
            Extension::port_of(ExtensionType::ClientPort, port).expect("a port type")
        }),
        (9..=u16::MAX, proptest::collection::vec(any::<[u8; 8]>(), 0..5))
            .prop_map(|(number, words)| Extension::new(number, Bytes::from(words.concat()))
                .expect("unknown")),
    ]
}

fn message() -> impl Strategy<Value = Message> {
    use HeaderOnlyKind::{FailoverAuthAck, FailoverAuthRequest, ManualFailoverStart};
    use HeartbeatKind::{Meet, Ping, Pong};
    let optional_header = || proptest::option::of(header());
    let gossip = proptest::collection::vec(gossip_entry(), 0..6);
    let extensions = proptest::collection::vec(extension(), 0..6);
    let heartbeat_kind = prop_oneof![Just(Ping), Just(Pong), Just(Meet)];
    let header_only_kind =
        prop_oneof![Just(FailoverAuthRequest), Just(FailoverAuthAck), Just(ManualFailoverStart)];
    prop_oneof![
        (heartbeat_kind, header(), gossip, extensions).prop_map(
            |(kind, header, gossip, extensions)| {
                Message::Heartbeat(Heartbeat::new(kind, header, gossip, extensions))
            }
        ),
        (header(), node_id()).prop_map(|(header, node_id)| Message::Fail(Fail { header, node_id })),
        (optional_header(), payload(), payload(), any::<bool>()).prop_map(
            |(header, channel, message, sharded)| {
                Message::Publish(Publish { header, channel, message, sharded })
            }
        ),
        (header(), any::<u64>(), node_id(), slots()).prop_map(
            |(header, config_epoch, node_id, slots)| {
                Message::Update(Update { header, config_epoch, node_id, slots })
            }
        ),
        (optional_header(), any::<u64>(), any::<u8>(), payload()).prop_map(
            |(header, module_id, module_type, data)| {
                Message::Module(ModuleMessage { header, module_id, module_type, data })
            }
        ),
        (header_only_kind, header())
            .prop_map(|(kind, header)| Message::HeaderOnly(HeaderOnly { kind, header })),
        (11..0x8000_u16, header(), payload())
            .prop_map(|(number, header, data)| Message::Unknown(Unknown { number, header, data })),
    ]
}

proptest! {
    #![proptest_config(seeded::config(300))]

    #[test]
    fn a_message_survives_encoding_and_decoding(message in message()) {
        let bytes = message.encode().expect("small messages encode");
        prop_assert_eq!(bytes.len(), MessageRef::from(&message).encoded_len().expect("small"));
        prop_assert_eq!(PacketRef::new(&bytes).expect("sound").refused().next(), None);
        prop_assert_eq!(decode(&bytes), Ok(message));
    }

    #[test]
    fn h48_any_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..4000)) {
        let _ = read_all(&bytes);
    }

    #[test]
    fn h48_any_body_behind_a_good_header_never_panics(
        number in 0..16_u16,
        light in any::<bool>(),
        count in 0..4_u16,
        extensions in 0..4_u16,
        mflags in any::<u8>(),
        body in proptest::collection::vec(any::<u8>(), 0..600),
    ) {
        let packet = if light {
            RawPacket::light(number)
        } else {
            RawPacket::full(number).with_u16(14, count).with_u16(2214, extensions).with_byte(2253, mflags)
        };
        let _ = read_all(&packet.with_body(&body).bytes());
    }

    #[test]
    fn h48_extension_shaped_bytes_never_panic(
        parts in proptest::collection::vec((0..12_u16, 0..80_u32, "[\\x00-\\x7f]{0,72}"), 0..5),
    ) {
        let mut packet = RawPacket::full(0);
        for (number, length, data) in &parts {
            // Half of them claim their true length.
            let length = if length % 2 == 0 { 8 + data.len() as u32 } else { *length };
            packet = packet.with_extension_claiming(*number, length, data.as_bytes());
        }
        let _ = read_all(&packet.bytes());
    }

    #[test]
    fn h48_a_view_of_unchecked_bytes_never_panics(
        bytes in proptest::collection::vec(any::<u8>(), 0..3000),
        message_type in 0..12_u16,
    ) {
        let mut bytes = bytes;
        if let Some(field) = bytes.get_mut(12..14) {
            field.copy_from_slice(&message_type.to_be_bytes());
        }
        let packet = PacketRef::from_checked(&bytes);
        let _ = (packet.refused().count(), packet.extensions().count(), packet.decode(), packet.myip());
    }
}

/// Truncates real packets and flips bits in them; what passes the check can be read, decoded and encoded.
#[test]
fn h48_truncated_and_flipped_real_packets_read_or_are_refused() {
    let (mut sound, mut broken) = (0, 0);
    for (index, frame) in all_captured().into_iter().enumerate() {
        for at in (0..frame.len()).filter(|at| !(96..2128).contains(at)) {
            let mut flipped = frame.clone();
            flipped[at] ^= 1 << ((at + index) % 8);
            match read_all(&flipped) {
                Ok(_) => sound += 1,
                Err(_) => broken += 1,
            }
        }
        for len in (0..frame.len()).step_by(101) {
            assert!(read_all(&frame[..len]).is_err());
            // A truncated packet whose `totlen` is right.
            let mut cut = frame[..len].to_vec();
            if len >= 8 {
                cut[4..8].copy_from_slice(&(len as u32).to_be_bytes());
            }
            let _ = read_all(&cut);
        }
    }
    assert!(sound > 1000 && broken > 1000, "{sound} passed, {broken} refused");
}
