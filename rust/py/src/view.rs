//! `Version`, `NodeTimes`, `ExpectedHeartbeat`, `NodeRow` and `View`: the node table that the main loop publishes to the workers. Thin: the rules are
//! in the engine's `gossip`, and the values come from the state.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use clusterbus_engine as engine;
use clusterbus_wire::layout::{GossipLayout, HeaderLayout};
use clusterbus_wire::{
    GOSSIP_PERCENT, HEADER_LEN_BYTES, IpText, NODE_ID_LEN_BYTES, NodeId, SLOT_BITMAP_LEN_BYTES,
};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedStr;
use pyo3::types::{PyBytes, PyTuple};
use zerocopy::FromBytes;

use crate::errors::{ConfigError, invalid_field};
use crate::verdict::Verdict;
use crate::wire::{Packet, Uint};

/// The version of the state, which workers read.
#[pyclass(frozen, module = "clusterbus._core")]
pub struct Version {
    version: Arc<engine::Version>,
}

#[pymethods]
impl Version {
    #[new]
    fn new() -> Self {
        Self { version: Arc::default() }
    }

    /// The number of the present version.
    #[getter]
    fn number(&self) -> u64 {
        self.version.number()
    }

    /// From now on the state has another version.
    #[pyo3(name = "move")]
    fn advance(&self) {
        self.version.advance();
    }
}

/// What changes about one node without a new view; shared with the workers.
#[pyclass(frozen, module = "clusterbus._core")]
pub struct NodeTimes {
    pub(crate) times: Arc<engine::NodeTimes>,
}

#[pymethods]
impl NodeTimes {
    #[new]
    fn new() -> Self {
        Self { times: Arc::default() }
    }

    /// Sets what our gossip says about the node from now on, unix milliseconds; 0 means never.
    fn set_own(&self, ping_sent_ms: u64, pong_received_ms: u64) {
        self.times.set_own(whole_seconds(ping_sent_ms), whole_seconds(pong_received_ms));
    }

    /// The greatest PONG time that quiet packets gave for the node since `forget_gossiped`, unix milliseconds.
    #[getter]
    fn gossiped_pong_ms(&self) -> u64 {
        u64::from(self.times.gossiped_pong_s()) * 1000
    }

    fn forget_gossiped(&self) {
        self.times.forget_gossiped();
    }

    /// The replication offset in the node's last heartbeat, quiet or not.
    #[getter]
    fn repl_offset(&self) -> u64 {
        self.times.repl_offset()
    }

    fn set_repl_offset(&self, offset: u64) {
        self.times.set_repl_offset(offset);
    }

    /// When a quiet packet of the node last repeated all of its failure reports, unix milliseconds.
    #[getter]
    fn reports_repeated_ms(&self) -> u64 {
        self.times.reports_repeated_ms()
    }

    /// (average, greatest): how many microseconds PINGs to the node take until their PONG is read.
    #[getter]
    fn round_trip_us(&self) -> Option<(u64, u64)> {
        self.round_trip_at(Instant::now())
    }

    /// The same of many nodes: all averages, and all that are greatest. Two lists of numbers give Python's garbage
    /// collector nothing to look at, as thousands of pairs would.
    #[staticmethod]
    fn round_trips_us(nodes: Vec<PyRef<'_, NodeTimes>>) -> (Vec<Option<u64>>, Vec<Option<u64>>) {
        let now = Instant::now();
        nodes.iter().map(|node| node.round_trip_at(now).unzip()).unzip()
    }
}

impl NodeTimes {
    fn round_trip_at(&self, now: Instant) -> Option<(u64, u64)> {
        let times = self.times.round_trip_times_at(now)?;
        Some((times.average_us, times.greatest_us))
    }
}

fn whole_seconds(ms: u64) -> u32 {
    u32::try_from(ms / 1000).unwrap_or(u32::MAX)
}

/// One node of a view.
#[pyclass(frozen, module = "clusterbus._core")]
pub struct NodeRow {
    row: engine::NodeRow,
}

#[pymethods]
impl NodeRow {
    #[new]
    #[pyo3(signature = (*, times, node_id, ip, port, pport, cport, flags, is_gossiped, has_reports, takes_extensions,
        expected = None))]
    #[expect(clippy::too_many_arguments, reason = "keyword-only in Python")]
    fn new(
        times: &NodeTimes,
        node_id: &str,
        ip: &str,
        port: u16,
        pport: u16,
        cport: u16,
        flags: u16,
        is_gossiped: bool,
        has_reports: bool,
        takes_extensions: bool,
        expected: Option<&ExpectedHeartbeat>,
    ) -> PyResult<Self> {
        let entry = GossipLayout {
            node_id: id_bytes("node_id", node_id)?,
            ping_sent_s: 0.into(),
            pong_received_s: 0.into(),
            ip: *IpText::new("ip", ip).map_err(invalid_field)?.as_field(),
            port: port.into(),
            cport: cport.into(),
            flags: flags.into(),
            pport: pport.into(),
            unused: 0.into(),
        };
        let expected = expected.map(|expected| expected.expected.clone());
        let times = times.times.clone();
        let traits = engine::NodeTraits { is_gossiped, has_reports, takes_extensions };
        Ok(Self { row: engine::NodeRow::new(entry, traits, expected, times) })
    }
}

/// What a heartbeat of a node looks like when it says nothing new in its header and extensions.
#[pyclass(frozen, module = "clusterbus._core")]
pub struct ExpectedHeartbeat {
    expected: Arc<engine::ExpectedHeartbeat>,
}

#[pymethods]
impl ExpectedHeartbeat {
    #[new]
    #[pyo3(signature = (*, config_epoch, myslots, replicaof, flags, flags_mask, extensions, extensions_len,
        reports, is_unsettled = false))]
    #[expect(clippy::too_many_arguments, reason = "keyword-only in Python")]
    fn new(
        config_epoch: Option<u64>,
        myslots: &[u8],
        replicaof: Option<&str>,
        flags: u16,
        flags_mask: u16,
        extensions: &[u8],
        extensions_len: u16,
        reports: Vec<PyRef<'_, NodeTimes>>,
        is_unsettled: bool,
    ) -> PyResult<Self> {
        if config_epoch.is_some() && myslots.len() != SLOT_BITMAP_LEN_BYTES {
            return Err(ConfigError::new_err("myslots: expected 2048 bytes"));
        }
        let replicaof = replicaof.map(|id| id_bytes("replicaof", id)).transpose()?;
        let reports = reports.iter().map(|times| times.times.clone());
        let expected = engine::ExpectedHeartbeat {
            config_epoch,
            myslots: Bytes::copy_from_slice(myslots),
            replicaof: replicaof.unwrap_or([0; NODE_ID_LEN_BYTES]),
            flags: flags & flags_mask,
            flags_mask,
            extensions: Bytes::copy_from_slice(extensions),
            extensions_len,
            reports: engine::Reports::new(reports),
            is_unsettled,
        };
        Ok(Self { expected: Arc::new(expected) })
    }
}

/// The node table at one version of the state.
#[pyclass(frozen, module = "clusterbus._core")]
pub struct View {
    pub(crate) view: Arc<engine::View>,
}

#[pymethods]
impl View {
    /// `heartbeat` is an encoded PING of ours, without gossip and with all our extensions. With `previous`, `rows` are
    /// only those that changed since, and the nodes in `gone` are left out.
    #[new]
    #[pyo3(signature = (*, version, now_ms, heartbeat, current_epoch, table_len, rows,
        gossip_percent = GOSSIP_PERCENT, previous = None, gone = Vec::new()),
        text_signature = "(*, version, now_ms, heartbeat, current_epoch, table_len, rows, \
        gossip_percent=10, previous=None, gone=())")]
    #[expect(clippy::too_many_arguments, reason = "keyword-only in Python")]
    fn new(
        version: &Version,
        now_ms: u64,
        heartbeat: &[u8],
        current_epoch: u64,
        table_len: usize,
        rows: Vec<PyRef<'_, NodeRow>>,
        gossip_percent: usize,
        previous: Option<PyRef<'_, Self>>,
        gone: Vec<PyBackedStr>,
    ) -> PyResult<Self> {
        let no_heartbeat = || ConfigError::new_err("heartbeat: expected an encoded PING");
        let (header, rest) =
            heartbeat.split_at_checked(HEADER_LEN_BYTES).ok_or_else(no_heartbeat)?;
        let layout = HeaderLayout::ref_from_bytes(header).map_err(|_| no_heartbeat())?;
        if layout.count.get() != 0 {
            return Err(no_heartbeat());
        }
        let header = engine::ViewHeader {
            template: Bytes::copy_from_slice(header),
            extensions: Bytes::copy_from_slice(rest),
            extensions_len: layout.extensions.get(),
            current_epoch,
            table_len,
            gossip_percent,
        };
        let rows = rows.iter().map(|row| row.row.clone()).collect();
        let view = match previous {
            None => engine::View::new(version.version.clone(), now_ms, header, rows),
            Some(previous) => {
                let gone: Vec<_> =
                    gone.iter().map(|id| id_bytes("gone", id)).collect::<PyResult<_>>()?;
                previous.view.changed(now_ms, header, rows, &gone)
            }
        };
        Ok(Self { view })
    }

    #[getter]
    fn version(&self) -> u64 {
        self.view.version
    }

    #[getter]
    fn is_current(&self) -> bool {
        self.view.is_current()
    }

    /// What is news in a heartbeat that came from `peer_ip`, at `now_ms`; notes the times that its gossip brings. None
    /// if all of it must be looked at.
    fn compare(
        &self,
        py: Python<'_>,
        packet: &Packet,
        peer_ip: &str,
        now_ms: u64,
    ) -> PyResult<Option<Py<Verdict>>> {
        let peer_ip = IpText::new("peer_ip", peer_ip).map_err(invalid_field)?;
        let verdict = self.view.compare(packet.inner(), peer_ip.as_field(), now_ms);
        verdict.map(|verdict| Verdict::of(py, verdict)).transpose()
    }

    /// The places of a heartbeat's gossip entries that are news at `now_ms`, whatever its header says; notes the times
    /// that the others bring. None if all entries must be looked at.
    fn gossip_news<'py>(
        &self,
        py: Python<'py>,
        packet: &Packet,
        now_ms: u64,
    ) -> PyResult<Option<Bound<'py, PyTuple>>> {
        let news = self.view.gossip_news(packet.inner(), now_ms);
        news.map(|news| PyTuple::new(py, news)).transpose()
    }

    /// Keeps the replication offset of a quiet heartbeat that takes effect.
    fn note_offset(&self, packet: &Packet) {
        self.view.note_offset(packet.inner());
    }

    /// Whether the view has a row for the node; without one no heartbeat to the node can be encoded.
    fn knows(&self, node_id: &str) -> PyResult<bool> {
        Ok(self.view.knows(&id_bytes("node_id", node_id)?))
    }

    /// A heartbeat as the workers encode it; `seed` alone decides which nodes it mentions.
    fn encode<'py>(
        &self,
        py: Python<'py>,
        message_type: u16,
        receiver: &str,
        seed: Uint<u64>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let receiver = id_bytes("receiver", receiver)?;
        let message = self.view.encode_heartbeat(message_type, &receiver, seed.named("seed")?);
        Ok(PyBytes::new(py, &message))
    }
}

pub(crate) fn id_bytes(field: &'static str, id: &str) -> PyResult<[u8; NODE_ID_LEN_BYTES]> {
    let id = NodeId::new(id.as_bytes());
    id.map(|id| *id.as_bytes()).map_err(|error| ConfigError::new_err(format!("{field}: {error}")))
}
