//! The message classes, one for each kind of message in the wire crate, and `encode`.
//!
//! A constructor refuses whatever could not be encoded, so `encode` has nothing left to refuse.

use bytes::Bytes;
use clusterbus_wire::{
    self as wire, EncodeError, HeaderOnlyKind, HeartbeatKind, MessageRef, MessageType,
};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::arguments::Uint;
use super::parts::{Extension, GossipEntry, Header};
use crate::errors::{ConfigError, cannot_encode, invalid_field};

macro_rules! message_classes {
    ($($(#[$doc:meta])* $name:ident;)*) => {
        $(
            $(#[$doc])*
            #[pyclass(frozen, eq, hash, module = "clusterbus._core")]
            #[derive(PartialEq, Eq, Hash)]
            pub struct $name(pub wire::$name);

            impl $name {
                /// Wraps the message if it can be sent.
                fn checked(message: wire::$name) -> PyResult<Self> {
                    MessageRef::from(&message).encoded_len().map_err(cannot_encode)?;
                    Ok($name(message))
                }
            }
        )*

        fn encode_class(message: &Bound<'_, PyAny>) -> Option<Result<Vec<u8>, EncodeError>> {
            $(if let Ok(message) = message.cast::<$name>() {
                return Some(MessageRef::from(&message.get().0).encode());
            })*
            None
        }
    };
}

message_classes! {
    /// PING, PONG or MEET (`type` 0, 1, 2).
    Heartbeat;
    /// FAIL: a quorum agreed that a node has failed.
    Fail;
    /// PUBLISH or PUBLISHSHARD. `header=None` is the light form.
    Publish;
    /// UPDATE: a newer configuration of the node that owns some slots.
    Update;
    /// MODULE. `header=None` is the light form.
    ModuleMessage;
    /// FAILOVER_AUTH_REQUEST, FAILOVER_AUTH_ACK or MFSTART (`type` 5, 6, 8).
    HeaderOnly;
    /// A message of a type that this version does not know.
    Unknown;
}

/// Encodes a message for the wire.
#[pyfunction]
pub fn encode<'py>(message: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
    match encode_class(message) {
        Some(bytes) => Ok(PyBytes::new(message.py(), &bytes.map_err(cannot_encode)?)),
        None => {
            let name = message.get_type().name()?;
            Err(PyTypeError::new_err(format!("expected a message, not {name}")))
        }
    }
}

/// A decoded message as an object of its class.
pub fn to_python(py: Python<'_>, message: wire::Message) -> PyResult<Bound<'_, PyAny>> {
    Ok(match message {
        wire::Message::Heartbeat(message) => Bound::new(py, Heartbeat(message))?.into_any(),
        wire::Message::Fail(message) => Bound::new(py, Fail(message))?.into_any(),
        wire::Message::Publish(message) => Bound::new(py, Publish(message))?.into_any(),
        wire::Message::Update(message) => Bound::new(py, Update(message))?.into_any(),
        wire::Message::Module(message) => Bound::new(py, ModuleMessage(message))?.into_any(),
        wire::Message::HeaderOnly(message) => Bound::new(py, HeaderOnly(message))?.into_any(),
        wire::Message::Unknown(message) => Bound::new(py, Unknown(message))?.into_any(),
    })
}

fn header_repr(header: Option<&wire::Header>) -> String {
    header.map_or("None".into(), |header| format!("<of {}>", header.sender))
}

#[pymethods]
impl Heartbeat {
    #[new]
    #[pyo3(
        signature = (r#type, header, gossip = Vec::new(), extensions = Vec::new()),
        text_signature = "(type, header, gossip=(), extensions=())"
    )]
    fn new(
        r#type: Uint<u16>,
        header: &Header,
        gossip: Vec<Bound<'_, GossipEntry>>,
        extensions: Vec<Bound<'_, Extension>>,
    ) -> PyResult<Self> {
        let kind = MessageType::from_number(r#type.named("type")?)
            .and_then(HeartbeatKind::from_message_type)
            .ok_or_else(|| ConfigError::new_err("type: expected 0 (PING), 1 (PONG) or 2 (MEET)"))?;
        let gossip = gossip.iter().map(|entry| entry.get().0).collect();
        let extensions = extensions.iter().map(|extension| extension.get().0.clone()).collect();
        Self::checked(wire::Heartbeat::new(kind, header.0.clone(), gossip, extensions))
    }

    #[getter]
    fn r#type(&self) -> u16 {
        self.0.kind.message_type().number()
    }

    #[getter]
    fn header(&self) -> Header {
        Header(self.0.header.clone())
    }

    #[getter]
    fn gossip(&self) -> Vec<GossipEntry> {
        self.0.gossip.iter().copied().map(GossipEntry).collect()
    }

    #[getter]
    fn extensions(&self) -> Vec<Extension> {
        self.0.extensions.iter().cloned().map(Extension).collect()
    }

    fn __repr__(&self) -> String {
        let header = header_repr(Some(&self.0.header));
        let (gossip, extensions) = (self.0.gossip.len(), self.0.extensions.len());
        let number = self.r#type();
        format!(
            "Heartbeat(type={number}, header={header}, gossip=<{gossip}>, extensions=<{extensions}>)"
        )
    }
}

#[pymethods]
impl Fail {
    #[new]
    fn new(header: &Header, node_id: &str) -> PyResult<Self> {
        let node_id = super::arguments::node_id("node_id", node_id)?;
        Self::checked(wire::Fail { header: header.0.clone(), node_id })
    }

    #[getter]
    fn r#type(&self) -> u16 {
        MessageType::Fail.number()
    }

    #[getter]
    fn header(&self) -> Header {
        Header(self.0.header.clone())
    }

    #[getter]
    fn node_id(&self) -> &str {
        self.0.node_id.as_str()
    }

    fn __repr__(&self) -> String {
        format!("Fail(header={}, node_id='{}')", header_repr(Some(&self.0.header)), self.0.node_id)
    }
}

#[pymethods]
impl Publish {
    #[new]
    #[pyo3(signature = (header, channel, message, sharded = false))]
    fn new(
        header: Option<&Header>,
        channel: &[u8],
        message: &[u8],
        sharded: bool,
    ) -> PyResult<Self> {
        Self::checked(wire::Publish {
            header: header.map(|header| header.0.clone()),
            channel: Bytes::copy_from_slice(channel),
            message: Bytes::copy_from_slice(message),
            sharded,
        })
    }

    #[getter]
    fn r#type(&self) -> u16 {
        MessageRef::from(&self.0).number()
    }

    #[getter]
    fn header(&self) -> Option<Header> {
        self.0.header.clone().map(Header)
    }

    #[getter]
    fn channel(&self) -> &[u8] {
        &self.0.channel
    }

    #[getter]
    fn message(&self) -> &[u8] {
        &self.0.message
    }

    #[getter]
    fn sharded(&self) -> bool {
        self.0.sharded
    }

    fn __repr__(&self) -> String {
        format!(
            "Publish(header={}, channel=<{} bytes>, message=<{} bytes>, sharded={})",
            header_repr(self.0.header.as_ref()),
            self.0.channel.len(),
            self.0.message.len(),
            if self.0.sharded { "True" } else { "False" },
        )
    }
}

#[pymethods]
impl Update {
    #[new]
    fn new(
        header: &Header,
        config_epoch: Uint<u64>,
        node_id: &str,
        slots: &[u8],
    ) -> PyResult<Self> {
        Self::checked(wire::Update {
            header: header.0.clone(),
            config_epoch: config_epoch.named("config_epoch")?,
            node_id: super::arguments::node_id("node_id", node_id)?,
            slots: wire::SlotBitmap::new("slots", slots).map_err(invalid_field)?,
        })
    }

    #[getter]
    fn r#type(&self) -> u16 {
        MessageType::Update.number()
    }

    #[getter]
    fn header(&self) -> Header {
        Header(self.0.header.clone())
    }

    #[getter]
    fn config_epoch(&self) -> u64 {
        self.0.config_epoch
    }

    #[getter]
    fn node_id(&self) -> &str {
        self.0.node_id.as_str()
    }

    #[getter]
    fn slots(&self) -> &[u8] {
        self.0.slots.as_bytes()
    }

    fn __repr__(&self) -> String {
        format!(
            "Update(header={}, config_epoch={}, node_id='{}', slots=<{} slots>)",
            header_repr(Some(&self.0.header)),
            self.0.config_epoch,
            self.0.node_id,
            self.0.slots.count(),
        )
    }
}

#[pymethods]
impl ModuleMessage {
    #[new]
    #[pyo3(signature = (header, module_id, module_type, data))]
    fn new(
        header: Option<&Header>,
        module_id: Uint<u64>,
        module_type: Uint<u8>,
        data: &[u8],
    ) -> PyResult<Self> {
        Self::checked(wire::ModuleMessage {
            header: header.map(|header| header.0.clone()),
            module_id: module_id.named("module_id")?,
            module_type: module_type.named("module_type")?,
            data: Bytes::copy_from_slice(data),
        })
    }

    #[getter]
    fn r#type(&self) -> u16 {
        MessageType::Module.number()
    }

    #[getter]
    fn header(&self) -> Option<Header> {
        self.0.header.clone().map(Header)
    }

    #[getter]
    fn module_id(&self) -> u64 {
        self.0.module_id
    }

    #[getter]
    fn module_type(&self) -> u8 {
        self.0.module_type
    }

    #[getter]
    fn data(&self) -> &[u8] {
        &self.0.data
    }

    fn __repr__(&self) -> String {
        format!(
            "ModuleMessage(header={}, module_id={:#x}, module_type={}, data=<{} bytes>)",
            header_repr(self.0.header.as_ref()),
            self.0.module_id,
            self.0.module_type,
            self.0.data.len(),
        )
    }
}

#[pymethods]
impl HeaderOnly {
    #[new]
    fn new(r#type: Uint<u16>, header: &Header) -> PyResult<Self> {
        let kind = MessageType::from_number(r#type.named("type")?)
            .and_then(HeaderOnlyKind::from_message_type)
            .ok_or_else(|| {
                ConfigError::new_err(
                    "type: expected 5 (FAILOVER_AUTH_REQUEST), 6 (FAILOVER_AUTH_ACK) or 8 (MFSTART)",
                )
            })?;
        Self::checked(wire::HeaderOnly { kind, header: header.0.clone() })
    }

    #[getter]
    fn r#type(&self) -> u16 {
        self.0.kind.message_type().number()
    }

    #[getter]
    fn header(&self) -> Header {
        Header(self.0.header.clone())
    }

    fn __repr__(&self) -> String {
        format!("HeaderOnly(type={}, header={})", self.r#type(), header_repr(Some(&self.0.header)))
    }
}

#[pymethods]
impl Unknown {
    #[new]
    fn new(r#type: Uint<u16>, header: &Header, data: &[u8]) -> PyResult<Self> {
        Self::checked(wire::Unknown {
            number: r#type.named("type")?,
            header: header.0.clone(),
            data: Bytes::copy_from_slice(data),
        })
    }

    #[getter]
    fn r#type(&self) -> u16 {
        self.0.number
    }

    #[getter]
    fn header(&self) -> Header {
        Header(self.0.header.clone())
    }

    #[getter]
    fn data(&self) -> &[u8] {
        &self.0.data
    }

    fn __repr__(&self) -> String {
        let header = header_repr(Some(&self.0.header));
        format!(
            "Unknown(type={}, header={header}, data=<{} bytes>)",
            self.0.number,
            self.0.data.len()
        )
    }
}
