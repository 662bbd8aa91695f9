//! Whether the daemon is well, over HTTP: `/healthz` and `/varz`. One small request for each
//! connection, answered with one small page; the requests are parsed by httparse.

use crate::poll::{READ, Ready};
use crate::slots::Key;
use crate::{Daemon, Handler, Timer};
use nix::errno::Errno;
use std::os::fd::OwnedFd;
use std::time::Duration;

/// How long a visitor may take, from coming in to leaving.
const VISIT_MAX: Duration = Duration::from_secs(10);

/// Bytes of a request's line and headers.
const REQUEST_MAX: usize = 8 << 10;

/// Headers of a request.
const HEADERS_MAX: usize = 64;

/// Visitors at a time: monitoring needs a few.
pub(crate) const VISITORS_MAX: usize = 64;

/// One connection that speaks HTTP.
pub(crate) struct Visitor {
    fd: OwnedFd,
    /// What has come of the request.
    request: Vec<u8>,
    /// Whether the answer was given, and only the end is awaited.
    answered: bool,
}

impl Daemon {
    pub(crate) fn add_visitor(&mut self, fd: OwnedFd) {
        if self.visitors.len() >= VISITORS_MAX {
            return;
        }
        let key = self.visitors.insert(Visitor { fd, request: Vec::new(), answered: false });
        let visitor = self.visitors.get(key).expect("it was just put there");
        if let Err(errno) = self.poll.add(&visitor.fd, Handler::Visitor as u8, key, READ) {
            tracing::error!(%errno, "cannot watch a connection");
            self.visitors.remove(key);
            return;
        }
        self.timers.set(self.now + VISIT_MAX, Timer::Visitor(key));
    }

    pub(crate) fn on_visitor(&mut self, key: Key, _: Ready) {
        let Some(visitor) = self.visitors.get_mut(key) else { return };
        let mut bytes = [0; 1024];
        match nix::unistd::read(&visitor.fd, &mut bytes) {
            Ok(0) => return self.close_visitor(key),
            // What comes after the answer is read only so that closing does not reset it.
            Ok(_) if visitor.answered => return,
            Ok(read) => visitor.request.extend_from_slice(&bytes[..read]),
            Err(Errno::EAGAIN | Errno::EINTR) => return,
            Err(_) => return self.close_visitor(key),
        }
        let Some(answer) = self.answer_to(key) else { return };
        let Some(visitor) = self.visitors.get_mut(key) else { return };
        visitor.answered = true;
        // An answer is smaller than any socket's buffer, so one write takes it whole; whoever
        // cannot take it is not waited for.
        let written = nix::unistd::write(&visitor.fd, answer.as_bytes());
        let shut = nix::sys::socket::shutdown(
            std::os::fd::AsRawFd::as_raw_fd(&visitor.fd),
            nix::sys::socket::Shutdown::Write,
        );
        if written != Ok(answer.len()) || shut.is_err() {
            self.close_visitor(key);
        }
    }

    /// The answer to what has come, or `None` while the request is not whole.
    fn answer_to(&self, key: Key) -> Option<String> {
        let visitor = self.visitors.get(key)?;
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut request = httparse::Request::new(&mut headers);
        let answer = match request.parse(&visitor.request) {
            Ok(httparse::Status::Complete(_)) => {
                let path = request.path.unwrap_or_default().split('?').next().unwrap_or_default();
                self.page(request.method.unwrap_or_default(), path)
            }
            Ok(httparse::Status::Partial) if visitor.request.len() <= REQUEST_MAX => return None,
            Ok(httparse::Status::Partial) => {
                page("431 Request Header Fields Too Large", "text/plain", "too large\n")
            }
            Err(_) => page("400 Bad Request", "text/plain", "this is not HTTP/1.1\n"),
        };
        Some(answer)
    }

    fn page(&self, method: &str, path: &str) -> String {
        match (method, path) {
            ("GET", "/healthz") => page("200 OK", "application/json", "{\"status\":\"ok\"}\n"),
            ("GET", "/varz") => {
                let body = self.stats.to_json(
                    &self.server_id,
                    &self.clients,
                    &self.subscriptions,
                    self.outbox_json(),
                    self.mail.to_json(),
                );
                page("200 OK", "application/json", &body)
            }
            ("GET", _) => page("404 Not Found", "text/plain", "there are /healthz and /varz\n"),
            _ => page("405 Method Not Allowed", "text/plain", "only GET\n"),
        }
    }

    pub(crate) fn close_visitor(&mut self, key: Key) {
        if let Some(visitor) = self.visitors.remove(key) {
            self.poll.remove(&visitor.fd);
        }
    }
}

fn page(status: &str, kind: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}
