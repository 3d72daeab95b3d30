//! The engine's events as Python sees them: one frozen class for each. Made on the main thread, one batch at a time.
//!
//! Python can make them too, so that what stands in for the engine (the simulator) reports the same events.

use clusterbus_engine::{Event, LossReason, PeerIdentity, Received, RefusalReason};
use pyo3::prelude::*;

use crate::errors::ConfigError;
use crate::verdict::Verdict;
use crate::wire::Packet;

/// A peer's connection is up; if it is a TLS connection, its handshake is done.
#[pyclass(frozen, get_all, module = "clusterbus._core")]
pub struct LinkAccepted {
    link: u64,
    listener: u64,
    ip: String,
    port: u16,
    local_ip: String,
    certificate_key: String,
    certificate_names: Vec<String>,
}

#[pymethods]
impl LinkAccepted {
    #[new]
    #[pyo3(signature = (*, link, listener, ip, port, local_ip, certificate_key = String::new(),
            certificate_names = Vec::new()),
        text_signature = "(*, link, listener, ip, port, local_ip, certificate_key='', certificate_names=())")]
    fn new(
        link: u64,
        listener: u64,
        ip: String,
        port: u16,
        local_ip: String,
        certificate_key: String,
        certificate_names: Vec<String>,
    ) -> Self {
        Self { link, listener, ip, port, local_ip, certificate_key, certificate_names }
    }
}

/// Our dial is up; if it is a TLS connection, its handshake is done.
#[pyclass(frozen, get_all, module = "clusterbus._core")]
pub struct LinkConnected {
    link: u64,
    owner: u64,
    local_ip: String,
    certificate_key: String,
    certificate_names: Vec<String>,
}

#[pymethods]
impl LinkConnected {
    #[new]
    #[pyo3(signature = (*, link, owner, local_ip, certificate_key = String::new(),
            certificate_names = Vec::new()),
        text_signature = "(*, link, owner, local_ip, certificate_key='', certificate_names=())")]
    fn new(
        link: u64,
        owner: u64,
        local_ip: String,
        certificate_key: String,
        certificate_names: Vec<String>,
    ) -> Self {
        Self { link, owner, local_ip, certificate_key, certificate_names }
    }
}

/// Whole packets of one link, in order, what is news in each of them, and the errors of packets that were refused.
#[pyclass(frozen, get_all, module = "clusterbus._core")]
pub struct PacketsReceived {
    link: u64,
    packets: Vec<Py<Packet>>,
    verdicts: Vec<Option<Py<Verdict>>>,
    dropped: Vec<String>,
}

#[pymethods]
impl PacketsReceived {
    #[new]
    #[pyo3(signature = (*, link, packets, verdicts = Vec::new(), dropped = Vec::new()),
        text_signature = "(*, link, packets, verdicts=(), dropped=())")]
    fn new(
        link: u64,
        packets: Vec<Py<Packet>>,
        mut verdicts: Vec<Option<Py<Verdict>>>,
        dropped: Vec<String>,
    ) -> Self {
        verdicts.resize_with(packets.len(), || None);
        Self { link, packets, verdicts, dropped }
    }
}

/// Heartbeats that said nothing new and were taken without the main loop.
#[pyclass(frozen, get_all, module = "clusterbus._core")]
pub struct QuietHeartbeats {
    answered: u64,
    noted: u64,
    pongs: Vec<(u64, u64)>,
}

#[pymethods]
impl QuietHeartbeats {
    #[new]
    #[pyo3(signature = (*, answered, noted, pongs))]
    fn new(answered: u64, noted: u64, pongs: Vec<(u64, u64)>) -> Self {
        Self { answered, noted, pongs }
    }
}

/// The link cannot go on; the main loop answers with `close(link)`.
#[pyclass(frozen, module = "clusterbus._core")]
pub struct LinkLost {
    #[pyo3(get)]
    link: u64,
    #[pyo3(get)]
    owner: u64,
    reason: LossReason,
    #[pyo3(get)]
    detail: String,
}

#[pymethods]
impl LinkLost {
    #[new]
    #[pyo3(signature = (*, link, owner, kind, detail))]
    fn new(link: u64, owner: u64, kind: &str, detail: String) -> PyResult<Self> {
        let reason = LossReason::all().find(|reason| reason.name() == kind);
        let reason = reason.ok_or_else(|| no_such_kind(kind))?;
        Ok(Self { link, owner, reason, detail })
    }

    #[getter]
    fn kind(&self) -> &'static str {
        self.reason.name()
    }
}

/// The last job of a closed link has ended; the main loop answers with `free(link)`.
#[pyclass(frozen, get_all, module = "clusterbus._core")]
pub struct LinkDrained {
    link: u64,
}

#[pymethods]
impl LinkDrained {
    #[new]
    #[pyo3(signature = (*, link))]
    fn new(link: u64) -> Self {
        Self { link }
    }
}

/// An inbound connection ended before it became a link.
#[pyclass(frozen, module = "clusterbus._core")]
pub struct AcceptRefused {
    #[pyo3(get)]
    listener: u64,
    #[pyo3(get)]
    ip: String,
    #[pyo3(get)]
    port: u16,
    reason: RefusalReason,
    #[pyo3(get)]
    detail: String,
}

#[pymethods]
impl AcceptRefused {
    #[new]
    #[pyo3(signature = (*, listener, ip, port, kind, detail))]
    fn new(listener: u64, ip: String, port: u16, kind: &str, detail: String) -> PyResult<Self> {
        let reason = RefusalReason::all().find(|reason| reason.name() == kind);
        let reason = reason.ok_or_else(|| no_such_kind(kind))?;
        Ok(Self { listener, ip, port, reason, detail })
    }

    #[getter]
    fn kind(&self) -> &'static str {
        self.reason.name()
    }
}

fn no_such_kind(kind: &str) -> PyErr {
    ConfigError::new_err(format!("kind: no such reason: {kind}"))
}

fn text<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(String::new, |value| value.to_string())
}

/// The key in hexadecimal digits, and the names; nothing of a peer that showed no certificate.
fn certificate(identity: Option<Box<PeerIdentity>>) -> (String, Vec<String>) {
    identity.map_or_else(Default::default, |identity| {
        let key = identity.key_sha256.iter().map(|byte| format!("{byte:02x}")).collect();
        (key, identity.names)
    })
}

/// Makes the Python object of an event.
pub fn to_python(py: Python<'_>, event: Event) -> PyResult<Py<PyAny>> {
    Ok(match event {
        Event::Accepted { link, listener, peer, local_ip, identity } => {
            let (certificate_key, certificate_names) = certificate(identity);
            let event = LinkAccepted {
                link: link.as_u64(),
                listener,
                ip: peer.ip().to_string(),
                port: peer.port(),
                local_ip: text(local_ip),
                certificate_key,
                certificate_names,
            };
            Py::new(py, event)?.into_any()
        }
        Event::Connected { link, owner, local_ip, identity } => {
            let (certificate_key, certificate_names) = certificate(identity);
            let event = LinkConnected {
                link: link.as_u64(),
                owner,
                local_ip: text(local_ip),
                certificate_key,
                certificate_names,
            };
            Py::new(py, event)?.into_any()
        }
        Event::Packets { link, packets, dropped } => {
            let mut verdicts = Vec::with_capacity(packets.len());
            let packets = packets.into_iter().map(|Received { packet, verdict }| {
                verdicts.push(verdict.map(|verdict| Verdict::of(py, verdict)).transpose()?);
                Py::new(py, Packet::new(packet))
            });
            let packets = packets.collect::<PyResult<_>>()?;
            let event = PacketsReceived {
                link: link.as_u64(),
                packets,
                verdicts,
                dropped: dropped.iter().map(ToString::to_string).collect(),
            };
            Py::new(py, event)?.into_any()
        }
        Event::Quiet { answered, noted, pongs } => {
            let pongs = pongs.into_iter().map(|(link, at_ms)| (link.as_u64(), at_ms)).collect();
            Py::new(py, QuietHeartbeats { answered, noted, pongs })?.into_any()
        }
        Event::Lost { link, owner, reason, detail } => {
            Py::new(py, LinkLost { link: link.as_u64(), owner, reason, detail })?.into_any()
        }
        Event::Drained { link } => Py::new(py, LinkDrained { link: link.as_u64() })?.into_any(),
        Event::Refused { listener, peer, reason, detail } => {
            let (ip, port) = (peer.ip().to_string(), peer.port());
            Py::new(py, AcceptRefused { listener, ip, port, reason, detail })?.into_any()
        }
    })
}
