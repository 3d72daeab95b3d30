//! The check of the structure, row by row, on packets broken by hand; every captured packet passes it.

mod support;

use clusterbus_wire::{
    Checked, MessageClass, MessageType, PacketError, check_packet, message_class_of, peek_frame_len,
};
use support::{CAPTURES, RawPacket, all_captured, captured};

fn refused(packet: &RawPacket) -> &'static str {
    refused_bytes(&packet.bytes())
}

fn refused_bytes(bytes: &[u8]) -> &'static str {
    check_packet(bytes).expect_err("must be refused").name()
}

fn extensions_hold(packet: &RawPacket) -> bool {
    check_packet(&packet.bytes()).expect("must pass").extensions_hold
}

#[test]
fn every_captured_packet_passes() {
    for name in CAPTURES {
        let mut counts = [[0; 2]; 11];
        for frame in captured(name) {
            let checked = check_packet(&frame).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(checked.class, message_class_of(&frame));
            counts[usize::from(checked.message_type)][usize::from(checked.is_light)] += 1;
        }
        for (message_type, [full, light]) in MessageType::ALL.iter().zip(counts) {
            println!("{name}: {} {full} full, {light} light", message_type.name());
        }
        assert!(counts[0][0] > 50 && counts[1][0] > 50 && counts[3][0] >= 4, "{counts:?}");
    }
}

#[test]
fn a_frame_must_be_exactly_one_message() {
    let bytes = RawPacket::full(8).bytes();
    assert_eq!(
        check_packet(&bytes),
        Ok(Checked {
            message_type: 8,
            is_light: false,
            class: MessageClass::Cluster,
            extensions_hold: false
        })
    );
    assert_eq!(refused_bytes(&bytes[..2255]), "frame_length");
    assert_eq!(refused_bytes(&bytes[..3]), "frame_length");
    assert_eq!(refused_bytes(&[bytes.as_slice(), &[0]].concat()), "frame_length");
    assert_eq!(refused_bytes(b"RCmc"), "frame");
}

#[test]
fn h4_totlen_must_equal_the_computed_length() {
    for number in [0, 1, 2, 3, 5, 6, 7, 8] {
        let longer = RawPacket::full(number).with_body(&[0; 5000]);
        assert_eq!(refused(&longer), "length", "type {number}");
    }
    assert_eq!(refused(&RawPacket::full(3).with_body(&[b'a'; 39])), "length");
    assert_eq!(refused(&RawPacket::full(7).with_body(&[b'a'; 2095])), "length");
    let publish = RawPacket::full(4).with_body(&[0, 0, 0, 1, 0, 0, 0, 1]);
    assert_eq!(refused(&publish.clone().with_body(b"abc")), "length");
    assert!(check_packet(&publish.with_body(b"ab").bytes()).is_ok());
    assert_eq!(refused(&RawPacket::full(4).with_body(&[0; 7])), "length");
    assert_eq!(refused(&RawPacket::light(9).with_body(&[0; 12])), "length");
}

#[test]
fn h5_only_version_1_is_spoken() {
    for ver in [0, 2, 0x100, u16::MAX] {
        assert_eq!(refused(&RawPacket::full(0).with_u16(8, ver)), "version");
        assert_eq!(refused(&RawPacket::light(4).with_u16(8, ver)), "version");
    }
}

#[test]
fn h6_a_lying_gossip_count_is_refused() {
    let packet = RawPacket::full(0).with_gossip(3, b"10.0.0.1");
    assert!(check_packet(&packet.bytes()).is_ok());
    for count in [4, 1000, u16::MAX] {
        assert_eq!(refused(&packet.clone().with_u16(14, count)), "gossip_count");
    }
    assert_eq!(refused(&packet.with_u16(14, 2)), "length");
}

#[test]
fn h7_extension_lengths_have_a_minimum() {
    let ping = RawPacket::full(0);
    for length in [0, 1, 7] {
        assert_eq!(
            refused(&ping.clone().with_extension_claiming(0, length, &[0; 8])),
            "extension_length"
        );
        assert_eq!(
            refused(&ping.clone().with_extension_claiming(99, length, &[0; 8])),
            "extension_length"
        );
    }
    for (number, short) in
        [(0, 0), (1, 0), (2, 40), (3, 32), (4, 0), (5, 0), (6, 0), (7, 0), (8, 0)]
    {
        let packet = ping.clone().with_extension(number, &vec![0; short]);
        assert_eq!(refused(&packet), "extension_length", "type {number}");
        let packet = ping.clone().with_extension(number, &vec![0; short + 8]);
        assert!(check_packet(&packet.bytes()).is_ok(), "type {number}");
    }
}

#[test]
fn h8_extension_lengths_are_multiples_of_8() {
    for extra in 1..8 {
        let packet = RawPacket::full(0).with_extension(0, &vec![0; 8 + extra]);
        assert_eq!(refused(&packet), "extension_alignment");
    }
}

#[test]
fn h9_an_extension_stays_inside_the_packet_and_64_kib() {
    let ping = RawPacket::full(0);
    for length in [24, 65_536, 65_544, 0x1_0000_0010, u32::MAX as u64 - 7] {
        let packet = ping.clone().with_extension_claiming(0, length as u32, &[0; 8]);
        // The fourth length is 16 in 32 bits, which is the true length of this extension.
        let sound = length as u32 == 16;
        assert_eq!(check_packet(&packet.bytes()).is_ok(), sound, "{length:#x}");
    }
    // 65,552 would be 16, the true length, if lengths were cut to 16 bits.
    let cut = ping.clone().with_extension_claiming(0, 65_552, &[0; 8]);
    assert_eq!(refused(&cut), "extension_overrun");
    let largest = ping.clone().with_extension(99, &vec![0; 65_528]);
    assert!(extensions_hold(&largest));
    assert_eq!(refused(&ping.clone().with_extension(99, &vec![0; 65_536])), "extension_overrun");
    let missing = ping.clone().with_extension(0, &[0; 8]).with_u16(2214, 2);
    assert_eq!(refused(&missing), "extension_overrun");
    let half_a_head = ping.with_extension(0, &[0; 8]).with_body(&[0; 4]).with_u16(2214, 2);
    assert_eq!(refused(&half_a_head), "extension_overrun");
}

#[test]
fn h10_extensions_count_only_when_flag_and_number_agree() {
    let packet = RawPacket::full(0).with_gossip(1, b"10.0.0.1").with_extension(0, b"host\0\0\0\0");
    assert!(extensions_hold(&packet));
    assert!(!extensions_hold(&packet.clone().with_byte(2253, 0)), "count and data, no flag");
    assert!(!extensions_hold(&packet.clone().with_u16(2214, 0)), "flag and data, count 0");
    let bare = RawPacket::full(0).with_gossip(1, b"10.0.0.1");
    assert!(!extensions_hold(&bare.clone().with_byte(2253, 4)), "flag, nothing else");
    assert!(!extensions_hold(&bare.clone().with_u16(2214, 3)), "count, nothing else");
    // Extensions that are left out must still have a valid structure and be as many as announced.
    let unflagged = packet.clone().with_byte(2253, 0);
    assert_eq!(refused(&unflagged.clone().with_u16(2214, 2)), "extension_overrun");
    assert_eq!(refused(&packet.with_u16(2214, 0).with_byte(2253, 0)), "length");
}

#[test]
fn h11_a_string_extension_ends_with_nul() {
    for number in [0, 1, 4, 5, 8] {
        let packet = RawPacket::full(0).with_extension(number, b"12345678");
        assert_eq!(refused(&packet), "extension_text");
    }
    assert!(extensions_hold(&RawPacket::full(0).with_extension(99, b"12345678")));
}

#[test]
fn h14_an_unknown_type_of_any_length_passes() {
    for number in [11, 12, 99, 0x7fff] {
        for len in [0, 1, 70_000] {
            let packet = RawPacket::full(number).with_body(&vec![7; len]);
            let checked = check_packet(&packet.bytes()).expect("must pass");
            assert_eq!((checked.message_type, checked.class), (number, MessageClass::Cluster));
        }
    }
}

#[test]
fn h15_an_unknown_extension_is_walked_over() {
    let packet =
        RawPacket::full(2).with_extension(77, &[255; 24]).with_extension(0, b"host\0\0\0\0");
    assert!(extensions_hold(&packet));
}

#[test]
fn h16_the_light_bit_belongs_to_three_types() {
    for number in (0..=12).chain([99, 0x7fff]) {
        let body: &[u8] = if number == 9 { &[0; 13] } else { &[0; 8] };
        let light = RawPacket::light(number).with_body(body);
        if [4, 9, 10].contains(&number) {
            assert!(check_packet(&light.bytes()).expect("must pass").is_light);
        } else {
            assert_eq!(refused(&light), "light_type", "type {number}");
        }
    }
}

#[test]
fn h18_payload_lengths_cannot_overflow() {
    let publish = |channel: u32, message: u32| {
        RawPacket::light(4).with_body(&channel.to_be_bytes()).with_body(&message.to_be_bytes())
    };
    for (channel, message) in
        [(u32::MAX, 1), (u32::MAX, u32::MAX), (1, 0), (0x8000_0000, 0x8000_0000)]
    {
        assert_eq!(refused(&publish(channel, message)), "payload_length");
    }
    let module = RawPacket::full(9).with_body(&[0; 8]).with_body(&u32::MAX.to_be_bytes());
    assert_eq!(refused(&module.with_body(&[1])), "payload_length");
}

#[test]
fn ids_that_are_no_ids_refuse_the_packet() {
    assert_eq!(refused(&RawPacket::full(0).with_byte(40, b'G')), "node_id");
    assert_eq!(refused(&RawPacket::full(0).with_byte(40, 0)), "node_id");
    assert_eq!(refused(&RawPacket::full(0).with_byte(2128, b'a')), "node_id");
    assert_eq!(refused(&RawPacket::full(3).with_body(&[0; 40])), "node_id");
    assert_eq!(refused(&RawPacket::full(7).with_body(&[0; 2096])), "node_id");
}

#[test]
fn kinds_are_numbered_and_named_for_counters() {
    let version = PacketError::Version { ver: 2 };
    assert_eq!(PacketError::NAMES[version.index()], "version");
    assert_eq!(version.to_string(), "ver: 2, expected 1");
    let mut names = PacketError::NAMES.to_vec();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), PacketError::NAMES.len());
}

/// Truncates real packets and flips single bits in them; nothing panics, and both verdicts come up.
#[test]
fn h48_truncated_and_flipped_real_packets_never_panic() {
    let (mut sound, mut broken) = (0, 0);
    for frame in all_captured() {
        for len in (0..frame.len()).filter(|len| len % 7 == 0 || *len < 64 || *len > 2200) {
            let cut = &frame[..len];
            assert!(matches!(peek_frame_len(cut), Ok(None | Some(_))));
            assert!(check_packet(cut).is_err());
        }
        for at in (0..80).chain(2128..frame.len()).filter(|at| *at < frame.len()) {
            let mut flipped = frame.clone();
            flipped[at] ^= 1 << (at % 8);
            match check_packet(&flipped) {
                Ok(_) => sound += 1,
                Err(error) => {
                    broken += 1;
                    assert!(!error.to_string().is_empty());
                }
            }
        }
    }
    assert!(sound > 1000 && broken > 1000, "{sound} {broken}");
}
