//! Encodes messages.
//!
//! Owns the fields that follow from a message's content: length, type, counts, the extension flag. Refuses a message
//! that a receiver's check would refuse; never panics.

use thiserror::Error;
use zerocopy::IntoBytes;

use crate::header::Header;
use crate::kind::MessageType;
use crate::layout::{
    ExtensionHeadLayout, FailLayout, HeaderLayout, LightHeaderLayout, ModuleHeadLayout,
    PublishHeadLayout, UpdateLayout,
};
use crate::message::{Heartbeat, Message, MessageRef};
use crate::numbers::{
    GOSSIP_ENTRY_LEN_BYTES, HEADER_LEN_BYTES, LIGHT_HEADER_LEN_BYTES, LIGHT_TYPE_BIT,
    MAX_PACKET_LEN_BYTES, MFLAG_EXTENSIONS, NODE_ID_LEN_BYTES, PROTOCOL_VERSION, SIGNATURE,
    SLOT_BITMAP_LEN_BYTES,
};

/// Why a message cannot be sent; the fault is the caller's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum EncodeError {
    /// More entries than a 16-bit count can hold.
    #[error("{field}: {count} is over 65535")]
    Count {
        /// `gossip` or `extensions`.
        field: &'static str,
        /// How many there are.
        count: usize,
    },
    /// The message would be longer than [`MAX_PACKET_LEN_BYTES`].
    #[error("message: {len} bytes are over the cap of {cap}", cap = MAX_PACKET_LEN_BYTES)]
    Length {
        /// How many bytes it would have.
        len: usize,
    },
    /// An unknown message must not have the number of a known type.
    #[error("type: {number} is a known message type or over 32767")]
    Type {
        /// The number that it has.
        number: u16,
    },
}

/// The counts that go into the header.
struct Counts {
    gossip: u16,
    extensions: u16,
}

impl Message {
    /// Encodes the message.
    ///
    /// # Errors
    /// What cannot be sent; see [`EncodeError`].
    pub fn encode(&self) -> Result<Vec<u8>, EncodeError> {
        MessageRef::from(self).encode()
    }
}

impl MessageRef<'_> {
    /// The length of the encoded message. Checks whether the message can be sent without encoding it.
    ///
    /// # Errors
    /// What cannot be sent; see [`EncodeError`].
    pub fn encoded_len(self) -> Result<usize, EncodeError> {
        self.counts()?;
        let header_len =
            if self.header().is_some() { HEADER_LEN_BYTES } else { LIGHT_HEADER_LEN_BYTES };
        let body_len = match self {
            MessageRef::Heartbeat(heartbeat) => {
                let extensions =
                    heartbeat.extensions.iter().map(|extension| extension.encoded_len());
                heartbeat.gossip.len() * GOSSIP_ENTRY_LEN_BYTES + extensions.sum::<usize>()
            }
            MessageRef::Fail(_) => size_of::<FailLayout>(),
            MessageRef::Publish(publish) => {
                size_of::<PublishHeadLayout>() + publish.channel.len() + publish.message.len()
            }
            MessageRef::Update(_) => size_of::<UpdateLayout>(),
            MessageRef::Module(module) => size_of::<ModuleHeadLayout>() + module.data.len(),
            MessageRef::HeaderOnly(_) => 0,
            MessageRef::Unknown(unknown) => unknown.data.len(),
        };
        match header_len + body_len {
            len if len > MAX_PACKET_LEN_BYTES => Err(EncodeError::Length { len }),
            len => Ok(len),
        }
    }

    fn counts(self) -> Result<Counts, EncodeError> {
        let count = |field, count: usize| {
            u16::try_from(count).map_err(|_| EncodeError::Count { field, count })
        };
        match self {
            MessageRef::Heartbeat(Heartbeat { gossip, extensions, .. }) => Ok(Counts {
                gossip: count("gossip", gossip.len())?,
                extensions: count("extensions", extensions.len())?,
            }),
            MessageRef::Unknown(unknown)
                if unknown.number & LIGHT_TYPE_BIT != 0
                    || MessageType::from_number(unknown.number).is_some() =>
            {
                Err(EncodeError::Type { number: unknown.number })
            }
            _ => Ok(Counts { gossip: 0, extensions: 0 }),
        }
    }

    /// Encodes the message.
    ///
    /// # Errors
    /// What cannot be sent; see [`EncodeError`].
    pub fn encode(self) -> Result<Vec<u8>, EncodeError> {
        let len = self.encoded_len()?;
        let counts = self.counts()?;
        // `encoded_len` has checked that this fits.
        let totlen = len as u32;
        let mut out = Vec::with_capacity(len);
        match self.header() {
            Some(header) => write_header(&mut out, header, totlen, self.number(), &counts),
            None => write_light_header(&mut out, totlen, self.number()),
        }
        self.write_body(&mut out);
        debug_assert_eq!(out.len(), len);
        Ok(out)
    }

    fn write_body(self, out: &mut Vec<u8>) {
        match self {
            MessageRef::Heartbeat(heartbeat) => {
                for entry in &heartbeat.gossip {
                    out.extend_from_slice(entry.to_layout().as_bytes());
                }
                for extension in &heartbeat.extensions {
                    let head = ExtensionHeadLayout {
                        length: (extension.encoded_len() as u32).into(),
                        extension_type: extension.number().into(),
                        unused: 0.into(),
                    };
                    out.extend_from_slice(head.as_bytes());
                    out.extend_from_slice(extension.data());
                }
            }
            MessageRef::Fail(fail) => out.extend_from_slice(fail.node_id.as_bytes()),
            MessageRef::Publish(publish) => {
                let head = PublishHeadLayout {
                    channel_len: (publish.channel.len() as u32).into(),
                    message_len: (publish.message.len() as u32).into(),
                };
                out.extend_from_slice(head.as_bytes());
                out.extend_from_slice(&publish.channel);
                out.extend_from_slice(&publish.message);
            }
            MessageRef::Update(update) => {
                out.extend_from_slice(&update.config_epoch.to_be_bytes());
                out.extend_from_slice(update.node_id.as_bytes());
                out.extend_from_slice(update.slots.as_bytes());
            }
            MessageRef::Module(module) => {
                let head = ModuleHeadLayout {
                    module_id: module.module_id.into(),
                    len: (module.data.len() as u32).into(),
                    module_type: module.module_type,
                };
                out.extend_from_slice(head.as_bytes());
                out.extend_from_slice(&module.data);
            }
            MessageRef::HeaderOnly(_) => {}
            MessageRef::Unknown(unknown) => out.extend_from_slice(&unknown.data),
        }
    }
}

fn write_header(out: &mut Vec<u8>, header: &Header, totlen: u32, number: u16, counts: &Counts) {
    let mut mflags = header.mflags;
    if counts.extensions > 0 {
        mflags[0] |= MFLAG_EXTENSIONS;
    }
    let mut layout = HeaderLayout {
        sig: SIGNATURE,
        totlen: totlen.into(),
        ver: PROTOCOL_VERSION.into(),
        port: header.port.into(),
        message_type: number.into(),
        count: counts.gossip.into(),
        current_epoch: header.current_epoch.into(),
        config_epoch: header.config_epoch.into(),
        offset: header.offset.into(),
        sender: *header.sender.as_bytes(),
        myslots: [0; SLOT_BITMAP_LEN_BYTES],
        replicaof: header.replicaof.map_or([0; NODE_ID_LEN_BYTES], |id| *id.as_bytes()),
        myip: *header.myip.as_field(),
        extensions: counts.extensions.into(),
        unused: [0; 30],
        pport: header.pport.into(),
        cport: header.cport.into(),
        flags: header.flags.into(),
        state: header.state,
        mflags,
    };
    layout.myslots.copy_from_slice(header.myslots.as_bytes());
    out.extend_from_slice(layout.as_bytes());
}

fn write_light_header(out: &mut Vec<u8>, totlen: u32, number: u16) {
    let layout = LightHeaderLayout {
        sig: SIGNATURE,
        totlen: totlen.into(),
        ver: PROTOCOL_VERSION.into(),
        unused_port: 0.into(),
        message_type: (number | LIGHT_TYPE_BIT).into(),
        unused_count: 0.into(),
    };
    out.extend_from_slice(layout.as_bytes());
}

const _: () = assert!(MAX_PACKET_LEN_BYTES <= u32::MAX as usize);
