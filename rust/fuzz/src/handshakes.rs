//! Targets `tls-server` and `tls-client`: what a stranger sends before the handshake is done, to a link that was
//! accepted and to one that was dialled.
//!
//! Owns the two ways to make such bytes: any records, and the records of a peer with a good certificate with some bytes
//! changed on their way. Nobody becomes a link by the first way. A peer that was changed on its way does not either,
//! unless nothing that counts was changed; then its packets come through.

use std::cell::RefCell;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use allocation_counter::measure;
use arbitrary::{Result, Unstructured};
use clusterbus_engine::limits::{HANDSHAKE_BYTES, TLS_CHUNK_BYTES};
use clusterbus_engine::{
    ClientAuth, Engine, EngineConfig, Event, LinkId, LossReason, PemFile, TlsRules, TlsSetup,
    TlsSide,
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{
    ClientConfig, ClientConnection, Connection, RootCertStore, ServerConfig, ServerConnection,
};

use crate::pieces::PieceSocket;

/// Inputs that begin with a byte below this change a real handshake; all others are records. One of those costs as much
/// time as a hundred of these.
const CHANGED_BELOW: u8 = 64;
/// Rounds of a handshake, with room to spare.
const ROUNDS_MAX: usize = 12;
/// Bytes changed in one handshake.
const CHANGES_MAX: usize = 8;
/// Memory that a handshake may take, however the peer goes about it: the connection, its buffers, certificates.
const HELD_MAX_BYTES: u64 = 1024 * 1024;

thread_local! {
    static ENGINE: RefCell<Engine> = RefCell::new(tls_engine());
}

/// Records from one who dials us.
pub(crate) fn server(data: &[u8]) {
    run(data, TlsSide::Accepts);
}

/// Records from one whom we dial.
pub(crate) fn client(data: &[u8]) {
    run(data, TlsSide::Dials);
}

fn run(data: &[u8], side: TlsSide) {
    let mut bytes = Unstructured::new(data);
    let Ok(kind) = bytes.arbitrary::<u8>() else { return };
    ENGINE.with_borrow_mut(|engine| {
        let allocations = measure(|| {
            let outcome = match kind {
                CHANGED_BELOW.. => records(engine, &mut bytes, side),
                _ => changed(engine, &mut bytes, side),
            };
            // An input that ends early has done what it can.
            let _ = outcome;
        });
        let held = allocations.bytes_max;
        assert!(held <= HELD_MAX_BYTES + 2 * data.len() as u64, "{held} bytes held");
    });
}

/// One link on its way through a handshake, and what was told of it.
struct Opening {
    link: LinkId,
    socket: Arc<PieceSocket>,
    is_up: bool,
    packets: usize,
    end: Option<LossReason>,
}

impl Opening {
    fn new(engine: &mut Engine, side: TlsSide) -> Self {
        let socket = Arc::new(PieceSocket::default());
        let link = engine.attach(socket.clone(), 1, Some(side)).expect("the engine has keys");
        let mut opening = Self { link, socket, is_up: false, packets: 0, end: None };
        opening.settle(engine);
        opening
    }

    /// Steps until nothing more happens.
    fn settle(&mut self, engine: &mut Engine) {
        engine.edge(self.link, true, true);
        loop {
            let events = engine.poll(Some(Duration::ZERO)).expect("the kernel waits");
            let is_over = events.is_empty() && !engine.flush();
            for event in events {
                match event {
                    Event::Connected { .. } | Event::Accepted { .. } => self.is_up = true,
                    Event::Packets { packets, .. } => self.packets += packets.len(),
                    Event::Lost { reason, .. } => {
                        assert_eq!(self.end, None, "the link ended twice");
                        self.end = Some(reason);
                    }
                    _ => {}
                }
            }
            if is_over {
                return;
            }
        }
    }

    fn finish(mut self, engine: &mut Engine) {
        engine.close(self.link);
        self.settle(engine);
        engine.free(self.link);
        assert_eq!(engine.last_read_ms(self.link), None, "the link is still there");
        assert_ne!(self.end, Some(LossReason::End(clusterbus_engine::EndReason::Panic)));
        assert!(self.is_up || self.packets == 0, "packets before the handshake was done");
    }
}

fn rest_of<'a>(bytes: &mut Unstructured<'a>) -> Result<&'a [u8]> {
    bytes.bytes(bytes.len())
}

/// Any bytes, in a few pieces, and then the end.
fn records(engine: &mut Engine, bytes: &mut Unstructured<'_>, side: TlsSide) -> Result<()> {
    let pieces = usize::from(bytes.arbitrary::<u8>()? % 4) + 1;
    let repeats = usize::from(bytes.arbitrary::<u8>()?);
    let mut stream = rest_of(bytes)?;
    let mut opening = Opening::new(engine, side);
    let len = stream.len().div_ceil(pieces).max(1);
    let mut sent_bytes = 0;
    while !stream.is_empty() && opening.end.is_none() {
        let (piece, rest) = stream.split_at(len.min(stream.len()));
        opening.socket.deliver(piece);
        (stream, sent_bytes) = (rest, sent_bytes + piece.len());
        opening.settle(engine);
        // A peer that never ends is given up (H37).
        for _ in 0..if rest.is_empty() { repeats } else { 0 } {
            if opening.end.is_some() {
                break;
            }
            opening.socket.deliver(piece);
            sent_bytes += piece.len();
            opening.settle(engine);
            assert!(
                opening.end.is_some() || sent_bytes <= HANDSHAKE_BYTES + TLS_CHUNK_BYTES,
                "{sent_bytes} bytes of a handshake were taken"
            );
        }
    }
    if opening.end.is_none() {
        opening.socket.end();
        opening.settle(engine);
    }
    assert!(!opening.is_up, "a stranger became a link");
    assert!(opening.end.is_some(), "the stream is over and the link is not");
    opening.finish(engine);
    Ok(())
}

/// A good peer, of whose bytes some are changed, and at the end of whose stream something may stand.
fn changed(engine: &mut Engine, bytes: &mut Unstructured<'_>, side: TlsSide) -> Result<()> {
    let keys = &*KEYS;
    let mut peer = match side {
        TlsSide::Accepts => keys.client(),
        TlsSide::Dials => keys.server(),
    };
    let mut changes = Vec::new();
    for _ in 0..usize::from(bytes.arbitrary::<u8>()?) % CHANGES_MAX {
        changes.push(bytes.arbitrary::<(u16, u8)>()?);
    }
    let mut opening = Opening::new(engine, side);
    let mut passed = 0;
    for _ in 0..ROUNDS_MAX {
        let mut flight = Vec::new();
        while peer.wants_write() {
            peer.write_tls(&mut flight).expect("a vector takes all");
        }
        for (at, flipped) in &changes {
            if let Some(byte) =
                usize::from(*at).checked_sub(passed).and_then(|at| flight.get_mut(at))
            {
                *byte ^= flipped;
            }
        }
        passed += flight.len();
        opening.socket.deliver(&flight);
        opening.settle(engine);
        let mut answer = &opening.socket.take_sent()[..];
        if opening.end.is_some() || (flight.is_empty() && answer.is_empty()) {
            break;
        }
        while !answer.is_empty() {
            peer.read_tls(&mut answer).expect("a slice can be read");
            if peer.process_new_packets().is_err() {
                break;
            }
        }
    }
    let is_unchanged =
        changes.iter().all(|(at, flipped)| *flipped == 0 || usize::from(*at) >= passed);
    assert!(!is_unchanged || opening.is_up, "a good peer was refused: {:?}", opening.end);
    if opening.end.is_none() {
        opening.socket.deliver(rest_of(bytes)?);
        opening.socket.end();
        opening.settle(engine);
    }
    assert!(opening.end.is_some());
    opening.finish(engine);
    Ok(())
}

fn tls_engine() -> Engine {
    let tls = Some(KEYS.setup());
    let config = EngineConfig { io_threads: 1, tls, ..EngineConfig::default() };
    Engine::new(config).expect("the system gives a few descriptors")
}

/// A CA, and one certificate of it that both sides use.
struct Keys {
    ca_pem: String,
    cert_pem: String,
    key_pem: String,
}

static KEYS: LazyLock<Keys> = LazyLock::new(Keys::make);

impl Keys {
    fn make() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca_key = KeyPair::generate().expect("a key");
        let ca = CertifiedIssuer::self_signed(params, ca_key).expect("a CA");
        let leaf = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
        let key = KeyPair::generate().expect("a key");
        let cert = leaf.signed_by(&key, &ca).expect("a certificate");
        Self { ca_pem: ca.pem(), cert_pem: cert.pem(), key_pem: key.serialize_pem() }
    }

    fn setup(&self) -> TlsSetup {
        let pem = |directive: &str, text: &str| PemFile {
            directive: directive.to_owned(),
            file: format!("{directive}.pem"),
            bytes: text.as_bytes().to_vec(),
        };
        let rules = TlsRules {
            server: clusterbus_engine::Identity {
                cert: pem("tls-cert-file", &self.cert_pem),
                key: pem("tls-key-file", &self.key_pem),
            },
            client: None,
            authorities: vec![pem("tls-ca-cert-file", &self.ca_pem)],
            client_auth: ClientAuth::Required,
            tls12: true,
            tls13: true,
            suites: [TlsRules::suites_of(true), TlsRules::suites_of(false)].concat(),
        };
        TlsSetup::new(&rules).expect("the rules are valid")
    }

    fn chain(&self) -> Vec<CertificateDer<'static>> {
        vec![CertificateDer::from_pem_slice(self.cert_pem.as_bytes()).expect("a certificate")]
    }

    fn key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::from_pem_slice(self.key_pem.as_bytes()).expect("a key")
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        let ca = CertificateDer::from_pem_slice(self.ca_pem.as_bytes()).expect("a certificate");
        roots.add(ca).expect("a CA");
        roots
    }

    fn client(&self) -> Connection {
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("ring has versions")
            .with_root_certificates(self.roots())
            .with_client_auth_cert(self.chain(), self.key())
            .expect("valid keys");
        let name = ServerName::try_from("localhost").expect("a name");
        ClientConnection::new(Arc::new(config), name).expect("a valid setup").into()
    }

    fn server(&self) -> Connection {
        let provider = Arc::new(ring::default_provider());
        let roots = Arc::new(self.roots());
        let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider.clone());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring has versions")
            .with_client_cert_verifier(verifier.build().expect("a CA"))
            .with_single_cert(self.chain(), self.key())
            .expect("valid keys");
        ServerConnection::new(Arc::new(config)).expect("a valid setup").into()
    }
}

/// Inputs to begin with: what a good peer sends first, and a handshake that is left as it is.
#[must_use]
pub fn tls_seeds(side: TlsSide) -> Vec<Vec<u8>> {
    let (mut client, mut server) = (KEYS.client(), KEYS.server());
    let (mut hello, mut answer) = (Vec::new(), Vec::new());
    client.write_tls(&mut hello).expect("a vector takes all");
    if side == TlsSide::Dials {
        server.read_tls(&mut &hello[..]).expect("a slice can be read");
        server.process_new_packets().expect("a good client");
        while server.wants_write() {
            server.write_tls(&mut answer).expect("a vector takes all");
        }
        hello = answer;
    }
    let records = [0xff, 0, 0].into_iter().chain(hello).collect();
    vec![records, vec![0, 0], vec![0, 1, 9, 0, 1]]
}
