//! `Engine`: the engine crate for Python. Every method is for the main thread. A lock guards them: a
//! second thread does not wait for it but gets a StateError.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, TryLockError};
use std::time::Duration;

use bytes::Bytes;
use clusterbus_engine::{EngineConfig, LinkId, OutMessage, limits};
use pyo3::prelude::*;

use crate::errors::{ConfigError, StateError, refused_by_system};
use crate::events;
use crate::tls_config::TlsConfig;
use crate::view::{NodeTimes, View, id_bytes};

/// I/O threads, queues and sockets; see `_core.pyi` for each method.
#[pyclass(frozen, module = "clusterbus._core")]
pub struct Engine {
    inner: Arc<Mutex<clusterbus_engine::Engine>>,
    process_id: u32,
}

impl Drop for Engine {
    /// A forked process has the engine's memory but none of its threads, so it must not wait for them to end.
    fn drop(&mut self) {
        if std::process::id() != self.process_id {
            std::mem::forget(Arc::clone(&self.inner));
        }
    }
}

impl Engine {
    fn locked(&self) -> PyResult<MutexGuard<'_, clusterbus_engine::Engine>> {
        self.inner.try_lock().map_err(|error| {
            StateError::new_err(match error {
                TryLockError::WouldBlock => "the engine is in use by another thread",
                TryLockError::Poisoned(_) => "the engine broke down in an earlier call",
            })
        })
    }

    /// Runs a call that may block, detached from Python.
    fn detached<T: Send>(
        &self,
        py: Python<'_>,
        call: impl FnOnce(&mut clusterbus_engine::Engine) -> T + Send,
    ) -> PyResult<T> {
        py.detach(|| match self.inner.try_lock() {
            Ok(mut engine) => Some(call(&mut engine)),
            Err(_) => None,
        })
        .map_or_else(|| self.locked().and_then(|_| Err(in_use())), Ok)
    }
}

fn in_use() -> PyErr {
    StateError::new_err("the engine is in use by another thread")
}

fn address(ip: &str, port: u16) -> PyResult<SocketAddr> {
    Ok(SocketAddr::new(ip_address(ip)?, port))
}

fn ip_address(ip: &str) -> PyResult<IpAddr> {
    ip.parse().map_err(|_| ConfigError::new_err(format!("{ip:?} is no IP address")))
}

#[pymethods]
impl Engine {
    #[new]
    #[pyo3(signature = (*, io_threads = limits::IO_THREADS, shares_workers = false, io_threads_always_active = false,
        handshake_timeout_ms = limits::TLS_HANDSHAKE_TIMEOUT_MS, first_packet_timeout_ms = limits::FIRST_PACKET_TIMEOUT_MS,
        unacknowledged_timeout_ms = limits::UNACKNOWLEDGED_TIMEOUT_MS, lease_ms = limits::LEASE_MS,
        max_links = limits::LINKS_MAX, max_handshakes = limits::TLS_HANDSHAKES_MAX,
        max_anonymous_bytes = limits::ANONYMOUS_BYTES_MAX, link_sendbuf_limit_bytes = 0,
        inbox_jobs = limits::INBOX_JOBS, outbox_completions = limits::OUTBOX_COMPLETIONS, tls = None))]
    #[expect(clippy::too_many_arguments, reason = "keyword-only in Python")]
    fn new(
        io_threads: usize,
        shares_workers: bool,
        io_threads_always_active: bool,
        handshake_timeout_ms: u64,
        first_packet_timeout_ms: u64,
        unacknowledged_timeout_ms: u64,
        lease_ms: u64,
        max_links: usize,
        max_handshakes: usize,
        max_anonymous_bytes: usize,
        link_sendbuf_limit_bytes: usize,
        inbox_jobs: usize,
        outbox_completions: usize,
        tls: Option<&TlsConfig>,
    ) -> PyResult<Self> {
        let config = EngineConfig {
            io_threads,
            shares_workers,
            io_threads_always_active,
            handshake_timeout: Duration::from_millis(handshake_timeout_ms),
            first_packet_timeout: Duration::from_millis(first_packet_timeout_ms),
            unacknowledged_timeout: Duration::from_millis(unacknowledged_timeout_ms),
            lease: Duration::from_millis(lease_ms),
            max_links,
            max_handshakes,
            max_anonymous_bytes,
            link_sendbuf_limit_bytes,
            inbox_jobs,
            outbox_completions,
            tls: tls.map(|tls| tls.setup.clone()),
        };
        let engine = clusterbus_engine::Engine::new(config).map_err(refused_by_system)?;
        Ok(Self { inner: Arc::new(Mutex::new(engine)), process_id: std::process::id() })
    }

    fn fileno(&self) -> PyResult<i32> {
        Ok(self.locked()?.fd())
    }

    #[pyo3(signature = (timeout_ms = Some(0)))]
    fn poll(&self, py: Python<'_>, timeout_ms: Option<u64>) -> PyResult<Vec<Py<PyAny>>> {
        let timeout = timeout_ms.map(Duration::from_millis);
        let happened =
            self.detached(py, |engine| engine.poll(timeout))?.map_err(refused_by_system)?;
        happened.into_iter().map(|event| events::to_python(py, event)).collect()
    }

    fn flush(&self, py: Python<'_>) -> PyResult<bool> {
        self.detached(py, clusterbus_engine::Engine::flush)
    }

    #[pyo3(signature = (ip, port, *, tls = false, backlog = limits::ACCEPT_BACKLOG))]
    fn listen(&self, ip: &str, port: u16, tls: bool, backlog: i32) -> PyResult<u64> {
        self.locked()?.listen(address(ip, port)?, tls, backlog).map_err(refused_by_system)
    }

    fn listener_port(&self, listener: u64) -> PyResult<u16> {
        let port = self.locked()?.listener_port(listener);
        port.ok_or_else(|| StateError::new_err(format!("no listener {listener}")))
    }

    fn stop_listening(&self, listener: u64) -> PyResult<()> {
        self.locked()?.stop_listening(listener);
        Ok(())
    }

    #[pyo3(signature = (ip, port, *, owner = 0, tls = false, source_ip = None, times = None))]
    fn connect(
        &self,
        ip: &str,
        port: u16,
        owner: u64,
        tls: bool,
        source_ip: Option<&str>,
        times: Option<&NodeTimes>,
    ) -> PyResult<u64> {
        let source_ip = source_ip.map(ip_address).transpose()?;
        let node = times.map(|times| times.times.clone());
        let link = self.locked()?.connect(address(ip, port)?, owner, tls, source_ip, node);
        Ok(link.map_err(refused_by_system)?.as_u64())
    }

    fn send(&self, link: u64, data: &[u8]) -> PyResult<bool> {
        let message = OutMessage::new(Bytes::copy_from_slice(data));
        Ok(self.locked()?.send(LinkId::from_u64(link), message))
    }

    #[pyo3(signature = (links, data, *, unsent_max_bytes = usize::MAX))]
    fn broadcast(&self, links: Vec<u64>, data: &[u8], unsent_max_bytes: usize) -> PyResult<usize> {
        let links: Vec<_> = links.into_iter().map(LinkId::from_u64).collect();
        let message = OutMessage::new(Bytes::copy_from_slice(data));
        Ok(self.locked()?.broadcast(&links, &message, unsent_max_bytes))
    }

    /// Publishes the view that packets are compared with and heartbeats are encoded from.
    fn publish(&self, view: &View) -> PyResult<()> {
        self.locked()?.publish(view.view.clone());
        Ok(())
    }

    /// Binds a link to the node that it is of.
    fn bind(&self, link: u64, node_id: &str) -> PyResult<()> {
        self.locked()?.bind(LinkId::from_u64(link), id_bytes("node_id", node_id)?);
        Ok(())
    }

    /// Queues a PING or PONG on a bound link, to be encoded from the published view when it is sent.
    fn send_heartbeat(&self, link: u64, message_type: u16) -> PyResult<bool> {
        Ok(self.locked()?.send_heartbeat(LinkId::from_u64(link), message_type))
    }

    fn close(&self, link: u64) -> PyResult<()> {
        self.locked()?.close(LinkId::from_u64(link));
        Ok(())
    }

    fn free(&self, link: u64) -> PyResult<()> {
        self.locked()?.free(LinkId::from_u64(link));
        Ok(())
    }

    fn last_read_ms(&self, link: u64) -> PyResult<Option<u64>> {
        Ok(self.locked()?.last_read_ms(LinkId::from_u64(link)))
    }

    fn send_queue(&self, link: u64) -> PyResult<(usize, usize)> {
        Ok(self.locked()?.send_queue(LinkId::from_u64(link)))
    }

    fn resize(&self, py: Python<'_>, io_threads: usize) -> PyResult<()> {
        self.detached(py, |engine| engine.resize(io_threads))?.map_err(refused_by_system)
    }

    fn set_always_active(&self, always: bool) -> PyResult<()> {
        self.locked()?.set_always_active(always);
        Ok(())
    }

    fn set_link_sendbuf_limit(&self, limit_bytes: usize) -> PyResult<()> {
        self.locked()?.set_link_sendbuf_limit(limit_bytes);
        Ok(())
    }

    /// For how long after the main loop's last step quiet heartbeats are answered without it; 0 means never.
    fn set_lease_ms(&self, lease_ms: u64) -> PyResult<()> {
        self.locked()?.set_lease(Duration::from_millis(lease_ms));
        Ok(())
    }

    fn set_unacknowledged_timeout(&self, timeout_ms: u64) -> PyResult<()> {
        self.locked()?.set_unacknowledged_timeout(Duration::from_millis(timeout_ms));
        Ok(())
    }

    fn set_tls(&self, tls: Option<&TlsConfig>) -> PyResult<()> {
        self.locked()?.set_tls(tls.map(|tls| tls.setup.clone()));
        Ok(())
    }

    fn drain(&self, py: Python<'_>) -> PyResult<()> {
        self.detached(py, clusterbus_engine::Engine::drain)?.map_err(refused_by_system)
    }

    fn stats(&self) -> PyResult<BTreeMap<String, u64>> {
        Ok(self.locked()?.stats())
    }

    fn reset_stats(&self) -> PyResult<()> {
        self.locked()?.reset_stats();
        Ok(())
    }

    fn shutdown(&self, py: Python<'_>) -> PyResult<()> {
        self.detached(py, clusterbus_engine::Engine::shutdown)
    }
}
