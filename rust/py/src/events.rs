//! The engine's events as Python sees them: frozen, one class each. Built on the main thread, once per batch.

use clusterbus_engine::{Event, QuietHeartbeat};
use pyo3::prelude::*;

use crate::wire::Packet;

/// A peer's connection is up, its TLS handshake done.
#[pyclass(frozen, get_all, module = "clusterbus._core")]
pub struct LinkAccepted {
    link: u64,
    listener: u64,
    ip: String,
    port: u16,
    local_ip: String,
}

/// Our dial came up, its TLS handshake done.
#[pyclass(frozen, get_all, module = "clusterbus._core")]
pub struct LinkConnected {
    link: u64,
    owner: u64,
    local_ip: String,
}

/// Whole packets of one link, in order, and the errors of those refused among them.
#[pyclass(frozen, get_all, module = "clusterbus._core")]
pub struct PacketsReceived {
    link: u64,
    packets: Vec<Py<Packet>>,
    dropped: Vec<String>,
}

/// Heartbeats that say nothing new to the state of one version: to be checked against it, and then answered together.
#[pyclass(frozen, module = "clusterbus._core")]
pub struct QuietHeartbeats {
    version: u64,
    pub(crate) heartbeats: Vec<QuietHeartbeat>,
}

#[pymethods]
impl QuietHeartbeats {
    #[getter]
    fn version(&self) -> u64 {
        self.version
    }

    /// How many are PINGs.
    #[getter]
    fn pings_len(&self) -> usize {
        self.heartbeats.iter().filter(|heartbeat| !heartbeat.is_pong).count()
    }

    /// The links of the PONGs.
    #[getter]
    fn pongs(&self) -> Vec<u64> {
        let pongs = self.heartbeats.iter().filter(|heartbeat| heartbeat.is_pong);
        pongs.map(|heartbeat| heartbeat.link.as_u64()).collect()
    }

    /// (link, packet) of each, for a state of another version.
    #[getter]
    fn packets(&self) -> Vec<(u64, Packet)> {
        let each = self.heartbeats.iter();
        each.map(|heartbeat| (heartbeat.link.as_u64(), Packet::new(heartbeat.packet.clone())))
            .collect()
    }
}

/// The link cannot go on; the main loop answers with `close(link)`.
#[pyclass(frozen, get_all, module = "clusterbus._core")]
pub struct LinkLost {
    link: u64,
    owner: u64,
    kind: &'static str,
    detail: String,
}

/// A closed link's last job is home; the main loop answers with `free(link)`.
#[pyclass(frozen, get_all, module = "clusterbus._core")]
pub struct LinkDrained {
    link: u64,
}

/// An inbound connection ended before it became a link.
#[pyclass(frozen, get_all, module = "clusterbus._core")]
pub struct AcceptRefused {
    listener: u64,
    ip: String,
    port: u16,
    kind: &'static str,
    detail: String,
}

fn text<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(String::new, |value| value.to_string())
}

/// One event, as a Python object.
pub fn to_python(py: Python<'_>, event: Event) -> PyResult<Py<PyAny>> {
    Ok(match event {
        Event::Accepted { link, listener, peer, local_ip } => {
            let event = LinkAccepted {
                link: link.as_u64(),
                listener,
                ip: peer.ip().to_string(),
                port: peer.port(),
                local_ip: text(local_ip),
            };
            Py::new(py, event)?.into_any()
        }
        Event::Connected { link, owner, local_ip } => {
            let event = LinkConnected { link: link.as_u64(), owner, local_ip: text(local_ip) };
            Py::new(py, event)?.into_any()
        }
        Event::Packets { link, packets, dropped } => {
            let packets = packets.into_iter().map(|packet| Py::new(py, Packet::new(packet)));
            let event = PacketsReceived {
                link: link.as_u64(),
                packets: packets.collect::<PyResult<_>>()?,
                dropped: dropped.iter().map(ToString::to_string).collect(),
            };
            Py::new(py, event)?.into_any()
        }
        Event::Quiet { version, heartbeats } => {
            Py::new(py, QuietHeartbeats { version, heartbeats })?.into_any()
        }
        Event::Lost { link, owner, kind, detail } => {
            Py::new(py, LinkLost { link: link.as_u64(), owner, kind, detail })?.into_any()
        }
        Event::Drained { link } => Py::new(py, LinkDrained { link: link.as_u64() })?.into_any(),
        Event::Refused { listener, peer, kind, detail } => {
            let (ip, port) = (peer.ip().to_string(), peer.port());
            Py::new(py, AcceptRefused { listener, ip, port, kind, detail })?.into_any()
        }
    })
}
