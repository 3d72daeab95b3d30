//! Header, gossip entry and extension: the values that messages are made of.

use bytes::Bytes;
use clusterbus_wire::{self as wire, ExtensionContent, ExtensionType, IpText, SlotBitmap};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::arguments::{Uint, node_id};
use crate::errors::{ConfigError, invalid_field};

/// The full message header.
#[pyclass(frozen, eq, hash, module = "clusterbus._core")]
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Header(pub wire::Header);

#[pymethods]
impl Header {
    #[new]
    #[pyo3(
        signature = (*, sender, port = Uint::default(), pport = Uint::default(), cport = Uint::default(),
            current_epoch = Uint::default(), config_epoch = Uint::default(), offset = Uint::default(),
            myslots = None, replicaof = None, myip = "", flags = Uint::default(), state = Uint::default(),
            mflags = Uint::default()),
        text_signature = "(*, sender, port=0, pport=0, cport=0, current_epoch=0, config_epoch=0, offset=0, \
            myslots=None, replicaof=None, myip='', flags=0, state=0, mflags=0)"
    )]
    #[expect(clippy::too_many_arguments, reason = "keyword-only in Python")]
    fn new(
        sender: &str,
        port: Uint<u16>,
        pport: Uint<u16>,
        cport: Uint<u16>,
        current_epoch: Uint<u64>,
        config_epoch: Uint<u64>,
        offset: Uint<u64>,
        myslots: Option<&[u8]>,
        replicaof: Option<&str>,
        myip: &str,
        flags: Uint<u16>,
        state: Uint<u8>,
        mflags: Uint<u32>,
    ) -> PyResult<Self> {
        let myslots = myslots.map(|bitmap| SlotBitmap::new("myslots", bitmap)).transpose();
        Ok(Header(wire::Header {
            sender: node_id("sender", sender)?,
            port: port.named("port")?,
            pport: pport.named("pport")?,
            cport: cport.named("cport")?,
            current_epoch: current_epoch.named("current_epoch")?,
            config_epoch: config_epoch.named("config_epoch")?,
            offset: offset.named("offset")?,
            myslots: myslots.map_err(invalid_field)?.unwrap_or_default(),
            replicaof: replicaof.map(|id| node_id("replicaof", id)).transpose()?,
            myip: IpText::new("myip", myip).map_err(invalid_field)?,
            flags: flags.named("flags")?,
            state: state.named("state")?,
            mflags: mflags_bytes(mflags)?,
        }))
    }

    #[getter]
    fn sender(&self) -> &str {
        self.0.sender.as_str()
    }

    #[getter]
    fn port(&self) -> u16 {
        self.0.port
    }

    #[getter]
    fn pport(&self) -> u16 {
        self.0.pport
    }

    #[getter]
    fn cport(&self) -> u16 {
        self.0.cport
    }

    #[getter]
    fn current_epoch(&self) -> u64 {
        self.0.current_epoch
    }

    #[getter]
    fn config_epoch(&self) -> u64 {
        self.0.config_epoch
    }

    #[getter]
    fn offset(&self) -> u64 {
        self.0.offset
    }

    #[getter]
    fn myslots<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, self.0.myslots.as_bytes())
    }

    #[getter]
    fn replicaof(&self) -> Option<&str> {
        self.0.replicaof.as_ref().map(wire::NodeId::as_str)
    }

    #[getter]
    fn myip(&self) -> &str {
        self.0.myip.as_str()
    }

    #[getter]
    fn flags(&self) -> u16 {
        self.0.flags
    }

    #[getter]
    fn state(&self) -> u8 {
        self.0.state
    }

    #[getter]
    fn mflags(&self) -> u32 {
        mflags_number(self.0.mflags)
    }

    fn __repr__(&self) -> String {
        let header = &self.0;
        let replicaof = header.replicaof.map_or("None".into(), |id| format!("'{id}'"));
        format!(
            "Header(sender='{}', port={}, pport={}, cport={}, current_epoch={}, config_epoch={}, offset={}, \
             myslots=<{} slots>, replicaof={replicaof}, myip='{}', flags={:#x}, state={}, mflags={:#x})",
            header.sender,
            header.port,
            header.pport,
            header.cport,
            header.current_epoch,
            header.config_epoch,
            header.offset,
            header.myslots.count(),
            header.myip,
            header.flags,
            header.state,
            self.mflags(),
        )
    }
}

/// The three bytes of `mflags` as one number; the first byte is the lowest.
pub fn mflags_number(mflags: [u8; 3]) -> u32 {
    u32::from_le_bytes([mflags[0], mflags[1], mflags[2], 0])
}

fn mflags_bytes(mflags: Uint<u32>) -> PyResult<[u8; 3]> {
    match mflags.named("mflags")?.to_le_bytes() {
        [first, second, third, 0] => Ok([first, second, third]),
        _ => Err(ConfigError::new_err("mflags: expected an unsigned number of 24 bits")),
    }
}

/// What one node says about another.
#[pyclass(frozen, eq, hash, module = "clusterbus._core")]
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct GossipEntry(pub wire::GossipEntry);

#[pymethods]
impl GossipEntry {
    #[new]
    #[pyo3(
        signature = (*, node_id, ping_sent_s = Uint::default(), pong_received_s = Uint::default(), ip = "",
            port = Uint::default(), cport = Uint::default(), flags = Uint::default(), pport = Uint::default()),
        text_signature = "(*, node_id, ping_sent_s=0, pong_received_s=0, ip='', port=0, cport=0, flags=0, pport=0)"
    )]
    #[expect(clippy::too_many_arguments, reason = "keyword-only in Python")]
    fn new(
        node_id: &str,
        ping_sent_s: Uint<u32>,
        pong_received_s: Uint<u32>,
        ip: &str,
        port: Uint<u16>,
        cport: Uint<u16>,
        flags: Uint<u16>,
        pport: Uint<u16>,
    ) -> PyResult<Self> {
        Ok(GossipEntry(wire::GossipEntry {
            node_id: super::arguments::node_id("node_id", node_id)?,
            ping_sent_s: ping_sent_s.named("ping_sent_s")?,
            pong_received_s: pong_received_s.named("pong_received_s")?,
            ip: IpText::new("ip", ip).map_err(invalid_field)?,
            port: port.named("port")?,
            cport: cport.named("cport")?,
            flags: flags.named("flags")?,
            pport: pport.named("pport")?,
        }))
    }

    #[getter]
    fn node_id(&self) -> &str {
        self.0.node_id.as_str()
    }

    #[getter]
    fn ping_sent_s(&self) -> u32 {
        self.0.ping_sent_s
    }

    #[getter]
    fn pong_received_s(&self) -> u32 {
        self.0.pong_received_s
    }

    #[getter]
    fn ip(&self) -> &str {
        self.0.ip.as_str()
    }

    #[getter]
    fn port(&self) -> u16 {
        self.0.port
    }

    #[getter]
    fn cport(&self) -> u16 {
        self.0.cport
    }

    #[getter]
    fn flags(&self) -> u16 {
        self.0.flags
    }

    #[getter]
    fn pport(&self) -> u16 {
        self.0.pport
    }

    fn __repr__(&self) -> String {
        let entry = &self.0;
        format!(
            "GossipEntry(node_id='{}', ping_sent_s={}, pong_received_s={}, ip='{}', port={}, cport={}, \
             flags={:#x}, pport={})",
            entry.node_id,
            entry.ping_sent_s,
            entry.pong_received_s,
            entry.ip,
            entry.port,
            entry.cport,
            entry.flags,
            entry.pport,
        )
    }
}

/// One heartbeat extension.
#[pyclass(frozen, eq, hash, module = "clusterbus._core")]
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Extension(pub wire::Extension);

impl Extension {
    fn text_extension(kind: ExtensionType, text: &str) -> PyResult<Self> {
        wire::Extension::text_of(kind, text).map(Extension).map_err(invalid_field)
    }

    fn port_extension(kind: ExtensionType, port: Uint<u16>) -> PyResult<Self> {
        let port = port.named(kind.name())?;
        wire::Extension::port_of(kind, port).map(Extension).map_err(invalid_field)
    }
}

#[pymethods]
impl Extension {
    #[new]
    fn new(r#type: Uint<u16>, data: &[u8]) -> PyResult<Self> {
        let data = Bytes::copy_from_slice(data);
        let extension = wire::Extension::new(r#type.named("type")?, data);
        extension.map(Extension).map_err(invalid_field)
    }

    #[getter]
    fn r#type(&self) -> u16 {
        self.0.number()
    }

    #[getter]
    fn data(&self) -> &[u8] {
        self.0.data()
    }

    /// The text of a string extension (hostname, human nodename, client IPs, zone); None for others.
    #[getter]
    fn text(&self) -> Option<&str> {
        match self.0.content() {
            ExtensionContent::Text(text) => Some(text),
            _ => None,
        }
    }

    /// (node id, ttl in seconds) of a forgotten-node extension; None for others.
    #[getter]
    fn forgotten_node(&self) -> Option<(String, u64)> {
        match self.0.content() {
            ExtensionContent::ForgottenNode { node_id, ttl_s } => {
                Some((node_id.to_string(), ttl_s))
            }
            _ => None,
        }
    }

    /// The id of a shard-id extension; None for others.
    #[getter]
    fn shard_id(&self) -> Option<String> {
        match self.0.content() {
            ExtensionContent::ShardId(shard_id) => Some(shard_id.to_string()),
            _ => None,
        }
    }

    /// The port of a client-port or client-TLS-port extension; None for others.
    #[getter]
    fn port(&self) -> Option<u16> {
        match self.0.content() {
            ExtensionContent::Port(port) => Some(port),
            _ => None,
        }
    }

    #[staticmethod]
    fn hostname_of(hostname: &str) -> PyResult<Self> {
        Self::text_extension(ExtensionType::Hostname, hostname)
    }

    #[staticmethod]
    fn nodename_of(nodename: &str) -> PyResult<Self> {
        Self::text_extension(ExtensionType::HumanNodename, nodename)
    }

    #[staticmethod]
    fn forgotten_node_of(node_id: &str, ttl_s: Uint<u64>) -> PyResult<Self> {
        let node_id = super::arguments::node_id("node_id", node_id)?;
        Ok(Extension(wire::Extension::forgotten_node_of(node_id, ttl_s.named("ttl_s")?)))
    }

    #[staticmethod]
    fn shard_id_of(shard_id: &str) -> PyResult<Self> {
        Ok(Extension(wire::Extension::shard_id_of(node_id("shard_id", shard_id)?)))
    }

    #[staticmethod]
    fn client_ipv4_of(ip: &str) -> PyResult<Self> {
        Self::text_extension(ExtensionType::ClientIpv4, ip)
    }

    #[staticmethod]
    fn client_ipv6_of(ip: &str) -> PyResult<Self> {
        Self::text_extension(ExtensionType::ClientIpv6, ip)
    }

    #[staticmethod]
    fn client_port_of(port: Uint<u16>) -> PyResult<Self> {
        Self::port_extension(ExtensionType::ClientPort, port)
    }

    #[staticmethod]
    fn client_tls_port_of(port: Uint<u16>) -> PyResult<Self> {
        Self::port_extension(ExtensionType::ClientTlsPort, port)
    }

    #[staticmethod]
    fn availability_zone_of(zone: &str) -> PyResult<Self> {
        Self::text_extension(ExtensionType::AvailabilityZone, zone)
    }

    fn __repr__(&self) -> String {
        let number = self.0.number();
        match self.0.content() {
            ExtensionContent::Text(text) => format!("Extension(type={number}, text='{text}')"),
            ExtensionContent::ForgottenNode { node_id, ttl_s } => {
                format!("Extension(type={number}, forgotten_node=('{node_id}', {ttl_s}))")
            }
            ExtensionContent::ShardId(shard_id) => {
                format!("Extension(type={number}, shard_id='{shard_id}')")
            }
            ExtensionContent::Port(port) => format!("Extension(type={number}, port={port})"),
            ExtensionContent::Unknown => {
                format!("Extension(type={number}, data=<{} bytes>)", self.0.data().len())
            }
        }
    }
}
