//! `Packet`, a received frame that is shared with Python, and the functions that read bytes.
//!
//! Holds the crate's only `unsafe`, for the buffer protocol, so that `memoryview(packet)` copies nothing.

use core::ffi::{c_int, c_void};
use core::ptr;

use bytes::Bytes;
use clusterbus_wire::layout::HeaderLayout;
use clusterbus_wire::{self as wire, NodeId, SLOT_BITMAP_LEN_BYTES};
use pyo3::buffer::PyBuffer;
use pyo3::exceptions::PyBufferError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyMemoryView;

use super::messages::to_python;
use super::parts::{Extension, GossipEntry, mflags_number};
use crate::errors::{PeerError, bad_packet};

/// One whole message as it came. Immutable and decoded lazily; it shares its buffer with Rust.
#[pyclass(frozen, eq, hash, module = "clusterbus._core")]
#[derive(PartialEq, Eq, Hash)]
pub struct Packet(wire::Packet);

impl Packet {
    /// Wraps a packet that the engine's workers have checked.
    pub fn new(packet: wire::Packet) -> Packet {
        Packet(packet)
    }

    /// The wire crate's packet.
    pub fn inner(&self) -> &wire::Packet {
        &self.0
    }

    fn header(&self) -> Option<&HeaderLayout> {
        self.0.packet_ref().header()
    }

    /// A number from the header; 0 for a light packet.
    fn number<T: Default>(&self, field: impl FnOnce(&HeaderLayout) -> T) -> T {
        self.header().map(field).unwrap_or_default()
    }
}

#[pymethods]
impl Packet {
    fn __bytes__(&self) -> &[u8] {
        self.0.bytes()
    }

    fn __len__(&self) -> usize {
        self.0.bytes().len()
    }

    /// # Safety
    /// Only the interpreter calls it, with a `buffer` that is null or valid for writing.
    unsafe fn __getbuffer__(
        slf: Bound<'_, Self>,
        buffer: *mut ffi::Py_buffer,
        flags: c_int,
    ) -> PyResult<()> {
        if buffer.is_null() {
            return Err(PyBufferError::new_err("no buffer to fill"));
        }
        let bytes = slf.get().0.bytes();
        let start = bytes.as_ptr().cast::<c_void>().cast_mut();
        let len = ffi::Py_ssize_t::try_from(bytes.len())?;
        let read_only = 1;
        // SAFETY: `buffer` is valid for writing: it is not null, and the interpreter promises the rest. The bytes never
        // move or change, since the class is frozen and owns them. They live as long as the buffer, which takes a
        // reference to the object. The buffer is read-only; a request for a writable one fails here.
        let filled =
            unsafe { ffi::PyBuffer_FillInfo(buffer, slf.as_ptr(), start, len, read_only, flags) };
        if filled == 0 {
            return Ok(());
        }
        // SAFETY: `buffer` is valid for writing, as above; a failed request must leave no owner in it.
        unsafe { (*buffer).obj = ptr::null_mut() };
        Err(PyErr::fetch(slf.py()))
    }

    /// The buffer protocol under its Python name (PEP 688), which Python 3.11 does not add by itself.
    #[pyo3(signature = (flags, /))]
    fn __buffer__(slf: Bound<'_, Self>, flags: c_int) -> PyResult<Bound<'_, PyMemoryView>> {
        if flags & ffi::PyBUF_WRITABLE != 0 {
            return Err(PyBufferError::new_err("a packet is immutable"));
        }
        PyMemoryView::from(slf.as_any())
    }

    #[getter]
    fn r#type(&self) -> u16 {
        self.0.packet_ref().checked().message_type
    }

    #[getter]
    fn is_light(&self) -> bool {
        self.0.packet_ref().checked().is_light
    }

    #[getter]
    fn sender(&self) -> String {
        let id = self.header().and_then(|header| NodeId::new(&header.sender).ok());
        id.map_or_else(String::new, |id| id.to_string())
    }

    #[getter]
    fn port(&self) -> u16 {
        self.number(|header| header.port.get())
    }

    #[getter]
    fn pport(&self) -> u16 {
        self.number(|header| header.pport.get())
    }

    #[getter]
    fn cport(&self) -> u16 {
        self.number(|header| header.cport.get())
    }

    #[getter]
    fn count(&self) -> u16 {
        self.number(|header| header.count.get())
    }

    #[getter]
    fn current_epoch(&self) -> u64 {
        self.number(|header| header.current_epoch.get())
    }

    #[getter]
    fn config_epoch(&self) -> u64 {
        self.number(|header| header.config_epoch.get())
    }

    #[getter]
    fn offset(&self) -> u64 {
        self.number(|header| header.offset.get())
    }

    #[getter]
    fn myslots(&self) -> &[u8] {
        self.header().map_or(&[0; SLOT_BITMAP_LEN_BYTES], |header| &header.myslots)
    }

    #[getter]
    fn replicaof(&self) -> Option<String> {
        let header = self.header()?;
        NodeId::new(&header.replicaof).ok().map(|id| id.to_string())
    }

    /// The announced address; "" when there is none, or when it is invalid (see `refused`).
    #[getter]
    fn myip(&self) -> String {
        self.0.packet_ref().myip().to_string()
    }

    #[getter]
    fn flags(&self) -> u16 {
        self.number(|header| header.flags.get())
    }

    #[getter]
    fn state(&self) -> u8 {
        self.number(|header| header.state)
    }

    #[getter]
    fn mflags(&self) -> u32 {
        self.number(|header| mflags_number(header.mflags))
    }

    /// The valid gossip entries; one with a bad id or ip is left out and named in `refused`.
    #[getter]
    fn gossip(&self) -> Vec<GossipEntry> {
        self.0.packet_ref().gossip_entries().map(GossipEntry).collect()
    }

    /// The gossip entries at these places; one that is not there or not valid is left out.
    fn gossip_at(&self, places: Vec<usize>) -> Vec<GossipEntry> {
        let gossip = self.0.packet_ref().gossip();
        let entries = places.into_iter().filter_map(|place| gossip.get(place));
        entries
            .filter_map(|entry| wire::GossipEntry::from_layout(entry).ok())
            .map(GossipEntry)
            .collect()
    }

    /// The valid extensions; one with a bad text or id is left out and named in `refused`.
    #[getter]
    fn extensions(&self) -> Vec<Extension> {
        self.0.packet_ref().owned_extensions().map(Extension).collect()
    }

    /// The extension section as it came, and how many extensions the header announces.
    #[getter]
    fn raw_extensions(&self) -> (&[u8], u16) {
        (self.0.packet_ref().extension_bytes(), self.number(|header| header.extensions.get()))
    }

    /// The names of the parts that were refused, such as `gossip[3].ip` or `extensions[0].hostname`.
    #[getter]
    fn refused(&self) -> Vec<String> {
        self.0.packet_ref().refused().map(|refused| refused.to_string()).collect()
    }

    fn decode<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        to_python(py, self.0.packet_ref().decode().map_err(bad_packet)?)
    }

    fn __repr__(&self) -> String {
        let checked = self.0.packet_ref().checked();
        let (number, len) = (checked.message_type, self.0.bytes().len());
        if checked.is_light {
            return format!("Packet(type={number}, is_light=True, <{len} bytes>)");
        }
        let (sender, count) = (self.sender(), self.count());
        format!("Packet(type={number}, sender='{sender}', count={count}, <{len} bytes>)")
    }
}

/// Splits bytes into the packets they consist of; raises a PeerError that names the offset and the field.
#[pyfunction]
pub fn parse(py: Python<'_>, data: PyBuffer<u8>) -> PyResult<Vec<Packet>> {
    let mut rest = Bytes::from(data.to_vec(py)?);
    let total = rest.len();
    let mut packets = Vec::new();
    while !rest.is_empty() {
        let offset = total - rest.len();
        let at = |what: String| PeerError::new_err(format!("offset {offset}: {what}"));
        let len = wire::peek_frame_len(&rest).map_err(|error| at(error.to_string()))?;
        let len = len.ok_or_else(|| at(format!("totlen: only {} bytes are left", rest.len())))?;
        if len > rest.len() {
            return Err(at(format!("totlen: {len}, but only {} bytes are left", rest.len())));
        }
        let frame = rest.split_to(len);
        let packet = wire::Packet::new(frame).map_err(|error| at(error.to_string()))?;
        packets.push(Packet(packet));
    }
    Ok(packets)
}

/// Decodes exactly one packet; raises a PeerError that names the field.
#[pyfunction]
pub fn decode<'py>(py: Python<'py>, data: PyBuffer<u8>) -> PyResult<Bound<'py, PyAny>> {
    to_python(py, wire::decode(&data.to_vec(py)?).map_err(bad_packet)?)
}
