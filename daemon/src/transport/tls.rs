//! TLS on one connection, the server's side, as a function of bytes: rustls does it. No fd lives here;
//! writing is a function that the caller brings.
//!
//! Nothing stays behind unseen: what comes in is decrypted to the end, and what is encrypted and was
//! not taken by the socket is told to whoever asks, and counts as owed.

use crate::outbuf::{Owed, Round};
use crate::websocket::WebSocket;
use rustls::{Error, ServerConfig, ServerConnection};
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::sync::Arc;
use std::time::Instant;

/// One connection's.
pub(super) struct Tls {
    stage: Stage,
    /// Since when a handshake has been awaited.
    since: Instant,
    /// Whether the peer has said that no more will come.
    ended: bool,
    /// Whether we have.
    closed: bool,
}

enum Stage {
    /// No byte has come.
    Awaiting,
    /// The handshake, and all that comes after it. Handshakes are bounded by rustls: a message is
    /// 64 KiB at most, and each leads to the next stage or is refused; and by `tls_timeout`.
    Session(Box<ServerConnection>),
    /// It went wrong, and nothing more can be said.
    Failed,
}

impl Tls {
    pub(super) fn awaiting(now: Instant) -> Tls {
        Tls { stage: Stage::Awaiting, since: now, ended: false, closed: false }
    }

    pub(super) fn is_awaiting(&self) -> bool {
        matches!(self.stage, Stage::Awaiting)
    }

    pub(super) fn unfinished_since(&self) -> Option<Instant> {
        match &self.stage {
            Stage::Awaiting => Some(self.since),
            Stage::Session(session) if session.is_handshaking() => Some(self.since),
            Stage::Session(_) | Stage::Failed => None,
        }
    }

    pub(super) fn agreed(&self) -> Option<String> {
        let Stage::Session(session) = &self.stage else { return None };
        Some(format!("{:?} {:?}", session.protocol_version()?, session.negotiated_cipher_suite()?.suite()))
    }

    pub(super) fn begin(&mut self, config: Arc<ServerConfig>) -> Result<(), Error> {
        self.stage = Stage::Session(Box::new(ServerConnection::new(config)?));
        Ok(())
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }

    pub(super) fn decrypt(&mut self, mut wire: &[u8], clear: &mut Vec<u8>) -> Result<(), Error> {
        let Stage::Session(session) = &mut self.stage else { return Ok(()) };
        while !wire.is_empty() {
            // It takes a few kilobytes at a time, and no more before they are dealt with.
            match session.read_tls(&mut wire) {
                // What comes behind the peer's last word means nothing.
                Ok(0) => break,
                Ok(_) => {}
                Err(error) => return Err(Error::General(error.to_string())),
            }
            let state = session.process_new_packets();
            // It ends with "would block", having appended what there is.
            let _ = session.reader().read_to_end(clear);
            self.ended = state?.peer_has_closed();
        }
        Ok(())
    }

    pub(super) fn sealed(&mut self) -> usize {
        match &mut self.stage {
            // Nothing is left to process; it only tells.
            Stage::Session(session) => session.process_new_packets().map_or(0, |io| io.tls_bytes_to_write()),
            Stage::Awaiting | Stage::Failed => 0,
        }
    }

    pub(super) fn write(
        &mut self,
        owed: &mut Owed,
        round: &Round,
        gather: &mut Vec<u8>,
        mut web: Option<&mut WebSocket>,
        mut send: impl FnMut(&[IoSlice<'_>]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let session = match &mut self.stage {
            Stage::Awaiting => return owed.write(round, gather, send),
            Stage::Session(session) => session,
            Stage::Failed => return Err(ErrorKind::BrokenPipe.into()),
        };
        let mut sent = send_sealed(session, &mut send)?;
        loop {
            // Nothing is encrypted that the socket would not take: what waits, waits as it is, shared
            // with others.
            let mut seal = |slices: &[IoSlice<'_>]| {
                if session.wants_write() {
                    return Err(ErrorKind::WouldBlock.into());
                }
                let sealed = session.writer().write_vectored(slices)?;
                sent += send_sealed(session, &mut send)?;
                Ok(sealed)
            };
            let sealed = owed.write(round, gather, |slices| match web.as_deref_mut() {
                Some(web) => web.send(slices, &mut seal),
                None => seal(slices),
            })?;
            if sealed == 0
                && let Some(web) = web.as_deref_mut()
            {
                super::send_rest(web, seal)?;
            }
            if sealed == 0 || session.wants_write() {
                break;
            }
        }
        Ok(sent)
    }

    /// Says whether there is something to be written for it.
    pub(super) fn close(&mut self) -> bool {
        match &mut self.stage {
            // Before the handshake is done there is no conversation to be closed.
            Stage::Session(session) if !session.is_handshaking() && !self.closed => {
                session.send_close_notify();
                self.closed = true;
                true
            }
            _ => false,
        }
    }

    pub(super) fn fail(&mut self, mut send: impl FnMut(&[IoSlice<'_>]) -> io::Result<usize>) {
        if let Stage::Session(session) = &mut self.stage {
            // The alert. Whoever does not take it is told by the end of the connection.
            let _ = send_sealed(session, &mut send);
        }
        self.stage = Stage::Failed;
    }
}

/// Sends what is encrypted, as far as the socket takes it.
fn send_sealed(
    session: &mut ServerConnection,
    send: &mut impl FnMut(&[IoSlice<'_>]) -> io::Result<usize>,
) -> io::Result<usize> {
    let mut sent = 0;
    while session.wants_write() {
        match session.write_tls(&mut Sender(&mut *send)) {
            Ok(taken) => sent += taken,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(sent)
}

/// A function that sends, as something to write to.
struct Sender<'a, F>(&'a mut F);

impl<F: FnMut(&[IoSlice<'_>]) -> io::Result<usize>> Write for Sender<'_, F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (self.0)(&[IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        (self.0)(slices)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair};
    use rustls::crypto::ring::default_provider;
    use rustls::pki_types::{PrivateKeyDer, ServerName};
    use rustls::version::{TLS12, TLS13};
    use rustls::{ClientConfig, ClientConnection, RootCertStore, SupportedProtocolVersion};

    /// The two ends of one connection, and no socket.
    struct Pair {
        client: ClientConnection,
        server: Tls,
        owed: Owed,
        round: Round,
        /// What the server has understood.
        clear: Vec<u8>,
        /// What the server's socket has taken; so much more it takes.
        wire: Vec<u8>,
        room: usize,
    }

    impl Pair {
        fn new(version: &'static SupportedProtocolVersion) -> Pair {
            let key = KeyPair::generate().unwrap();
            let certificate =
                CertificateParams::new(vec!["localhost".into()]).unwrap().self_signed(&key).unwrap();
            let private = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
            let provider = Arc::new(default_provider());
            let config = ServerConfig::builder_with_provider(Arc::clone(&provider))
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_no_client_auth()
                .with_single_cert(vec![certificate.der().clone()], private)
                .unwrap();
            let mut roots = RootCertStore::empty();
            roots.add(certificate.der().clone()).unwrap();
            let client = ClientConfig::builder_with_provider(provider)
                .with_protocol_versions(&[version])
                .unwrap()
                .with_root_certificates(roots)
                .with_no_client_auth();
            let name = ServerName::try_from("localhost").unwrap();
            let mut server = Tls::awaiting(Instant::now());
            server.begin(Arc::new(config)).unwrap();
            Pair {
                client: ClientConnection::new(Arc::new(client), name).unwrap(),
                server,
                owed: Owed::default(),
                round: Round::default(),
                clear: Vec::new(),
                wire: Vec::new(),
                room: usize::MAX,
            }
        }

        /// What the client has to send.
        fn client_sends(&mut self) -> Vec<u8> {
            let mut wire = Vec::new();
            while self.client.wants_write() {
                self.client.write_tls(&mut wire).unwrap();
            }
            wire
        }

        /// The server reads these bytes and answers.
        fn serve(&mut self, wire: &[u8]) -> Result<(), Error> {
            let served = self.server.decrypt(wire, &mut self.clear);
            self.owed.set_sealed(self.server.sealed());
            self.write();
            served
        }

        fn write(&mut self) -> usize {
            let (wire, room) = (&mut self.wire, &mut self.room);
            let send = |slices: &[IoSlice<'_>]| {
                let before = wire.len();
                for slice in slices {
                    let taken = slice.len().min(*room);
                    *room -= taken;
                    wire.extend_from_slice(&slice[..taken]);
                }
                match wire.len() - before {
                    0 => Err(ErrorKind::WouldBlock.into()),
                    taken => Ok(taken),
                }
            };
            let sent = self.server.write(&mut self.owed, &self.round, &mut Vec::new(), None, send).unwrap();
            self.owed.set_sealed(self.server.sealed());
            sent
        }

        /// The client reads what the server's socket has taken.
        fn client_reads(&mut self) -> Vec<u8> {
            let (wire, mut clear) = (std::mem::take(&mut self.wire), Vec::new());
            let mut wire = &wire[..];
            while !wire.is_empty() {
                self.client.read_tls(&mut wire).unwrap();
                self.client.process_new_packets().unwrap();
                let _ = self.client.reader().read_to_end(&mut clear);
            }
            clear
        }

        fn shake_hands(mut self) -> Pair {
            while self.client.is_handshaking() || self.server.unfinished_since().is_some() {
                let wire = self.client_sends();
                self.serve(&wire).unwrap();
                self.client_reads();
            }
            self
        }

        fn owe(&mut self, bytes: &[u8]) {
            self.owed.add(self.round.push(bytes));
        }
    }

    /// Every step of a conversation, cut in two at every byte of what the client sends.
    #[test]
    fn what_is_cut_anywhere_is_put_together() {
        for version in [&TLS12, &TLS13] {
            for step in 0..3 {
                for at in 0.. {
                    let mut pair = Pair::new(version);
                    let mut long_enough = false;
                    for now in 0..3 {
                        if now == 2 {
                            pair.client.writer().write_all(b"PUB a 2\r\nhi\r\n").unwrap();
                            pair.client.writer().write_all(b"PING\r\n").unwrap();
                        }
                        let wire = pair.client_sends();
                        let cut = if now == step { at.min(wire.len()) } else { 0 };
                        long_enough |= now == step && at < wire.len();
                        pair.serve(&wire[..cut]).unwrap();
                        pair.serve(&wire[cut..]).unwrap();
                        pair.client_reads();
                    }
                    assert_eq!(pair.clear, b"PUB a 2\r\nhi\r\nPING\r\n", "{version:?} {step} {at}");
                    assert_eq!(pair.server.unfinished_since(), None);
                    if !long_enough {
                        assert!(at > 20, "step {step} has something to cut");
                        break;
                    }
                }
            }
        }
    }

    #[test]
    fn a_full_read_is_decrypted_to_its_end() {
        let mut pair = Pair::new(&TLS13).shake_hands();
        pair.client.set_buffer_limit(None);
        let sent: Vec<u8> = (0..300_000u32).map(|n| n as u8).collect();
        pair.client.writer().write_all(&sent).unwrap();
        let wire = pair.client_sends();
        pair.serve(&wire).unwrap();
        assert!(pair.clear == sent);
    }

    #[test]
    fn what_the_socket_does_not_take_is_owed() {
        let mut pair = Pair::new(&TLS13).shake_hands();
        let message: Vec<u8> = (0..200_000u32).map(|n| n as u8).collect();
        pair.owe(&message);
        pair.room = 1000;
        assert_eq!(pair.write(), 1000);
        // Some of it is encrypted by now: no more than rustls takes at a time.
        assert!((200_000 - 1000..200_500).contains(&pair.owed.len()), "{}", pair.owed.len());
        assert!(pair.server.sealed() <= (64 << 10) + 200);
        pair.owed.settle(&pair.round);
        pair.round.begin();
        // A socket that takes some bytes at a time.
        let mut got = Vec::new();
        while !pair.owed.is_empty() {
            let before = pair.owed.len();
            pair.room = 7001;
            assert!(pair.write() > 0);
            assert!(pair.owed.len() < before + 200);
            got.extend(pair.client_reads());
        }
        assert!(got == message);
        assert_eq!((pair.server.sealed(), pair.owed.len()), (0, 0));
    }

    #[test]
    fn both_ends_say_when_no_more_will_come() {
        let mut pair = Pair::new(&TLS13).shake_hands();
        pair.client.writer().write_all(b"PING\r\n").unwrap();
        pair.client.send_close_notify();
        let mut wire = pair.client_sends();
        wire.extend_from_slice(b"whatever comes behind it");
        pair.serve(&wire).unwrap();
        assert!(pair.server.has_ended());
        assert_eq!(pair.clear, b"PING\r\n");
        // It still gets its answer.
        pair.owe(b"PONG\r\n");
        pair.server.close();
        pair.write();
        assert_eq!(pair.client_reads(), b"");
        // Closing comes last: what is owed is to be written before.
        let mut pair = Pair::new(&TLS13).shake_hands();
        pair.owe(b"PONG\r\n");
        pair.write();
        pair.server.close();
        assert!(pair.server.sealed() > 0);
        pair.write();
        assert_eq!(pair.client_reads(), b"PONG\r\n");
        assert!(pair.client.process_new_packets().unwrap().peer_has_closed());
    }

    #[test]
    fn nonsense_is_answered_with_an_alert_and_what_came_before_it_counts() {
        let mut pair = Pair::new(&TLS13).shake_hands();
        pair.client.writer().write_all(b"PING\r\n").unwrap();
        let mut wire = pair.client_sends();
        wire.extend_from_slice(b"PING\r\nPING\r\nPING\r\n");
        assert!(pair.server.decrypt(&wire, &mut pair.clear).is_err());
        assert_eq!(pair.clear, b"PING\r\n");
        let wire = &mut pair.wire;
        pair.server.fail(|slices| {
            slices.iter().for_each(|slice| wire.extend_from_slice(slice));
            Ok(slices.iter().map(|slice| slice.len()).sum())
        });
        assert!(!pair.wire.is_empty());
        // And nothing more is heard or said.
        pair.server.decrypt(b"PING\r\n", &mut pair.clear).unwrap();
        assert_eq!(pair.clear, b"PING\r\n");
        pair.owe(b"PONG\r\n");
        let gone = pair.server.write(&mut pair.owed, &pair.round, &mut Vec::new(), None, |_| panic!());
        assert_eq!(gone.unwrap_err().kind(), ErrorKind::BrokenPipe);
    }

    /// Who sends handshake messages for ever is bounded in size as well as in time.
    #[test]
    fn a_handshake_without_end_is_refused() {
        let mut pair = Pair::new(&TLS13);
        // A ClientHello of 16 MiB, begun.
        let mut record = vec![0x16, 3, 1, 0x40, 0, 1, 0xff, 0xff, 0xff];
        record.resize(5 + 0x4000, 0);
        let refused = (0..20).position(|_| pair.server.decrypt(&record, &mut Vec::new()).is_err());
        assert!(refused.is_some_and(|records| records * record.len() <= 128 << 10), "{refused:?}");
    }
}
