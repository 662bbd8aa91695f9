//! How single settings are written: sizes, times, addresses, paths. Which settings there are stands in
//! config.rs.

use serde::{Deserialize, Deserializer, de::Error as _};
use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// A path, or "none".
#[derive(Clone, Debug)]
pub struct Place(pub Option<PathBuf>);

/// The path of an option file, or "none".
#[derive(Clone, Debug)]
pub struct OptionFile(pub Option<PathBuf>);

/// A host and a port, or "none".
#[derive(Clone, Debug)]
pub struct Address(pub Option<HostPort>);

/// A host name or address, and a port.
#[derive(Clone, Debug)]
pub struct HostPort {
    pub(super) host: String,
    pub(super) port: u16,
}

impl HostPort {
    /// The host, as it was written.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port, as it was written.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The addresses it stands for. Asks DNS for a name: only for start-up.
    ///
    /// # Errors
    /// The resolver's.
    pub fn resolve(&self) -> std::io::Result<Vec<SocketAddr>> {
        Ok((self.host.as_str(), self.port).to_socket_addrs()?.collect())
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let HostPort { host, port } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "none" => Ok(Place(None)),
            // The kernel's sun_path holds 108 bytes with the NUL behind.
            _ if text.len() > 107 => {
                Err(format!("a socket's path has at most 107 bytes, this one {}", text.len()))
            }
            _ if text.starts_with('/') => Ok(Place(Some(text.into()))),
            _ => Err("expected an absolute path or \"none\"".into()),
        }
    }
}

impl FromStr for OptionFile {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "none" => Ok(OptionFile(None)),
            _ if text.starts_with('/') => Ok(OptionFile(Some(text.into()))),
            _ => Err("expected an absolute path or \"none\"".into()),
        }
    }
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "none" {
            return Ok(Address(None));
        }
        let expected = || "expected HOST:PORT, [IPV6]:PORT or \"none\"".to_owned();
        let (host, port) = text.rsplit_once(':').ok_or_else(expected)?;
        let port = port.parse().map_err(|_| expected())?;
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let host = bare.unwrap_or(host);
        if host.is_empty() || (bare.is_none() && host.contains(':')) {
            return Err(expected());
        }
        Ok(Address(Some(HostPort { host: host.into(), port })))
    }
}

/// A number of bytes: 1048576, "1MiB", "64 MiB", "512KiB", "100kB".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size(pub usize);

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (number, unit) = number_and_unit(text);
        let factor = match unit {
            "" | "B" => Some(1),
            "KiB" => Some(1 << 10),
            "MiB" => Some(1 << 20),
            "GiB" => Some(1 << 30),
            "kB" => Some(1000),
            "MB" => Some(1_000_000),
            _ => None,
        };
        let bytes = factor.and_then(|factor| number.parse::<usize>().ok()?.checked_mul(factor));
        let bytes =
            bytes.ok_or_else(|| format!("expected a size such as \"1MiB\" or 1048576, found \"{text}\""))?;
        Ok(Size(bytes))
    }
}

/// The size of a message: one byte at least, and no more than the protocol's implementations take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Payload(pub usize);

impl FromStr for Payload {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse()? {
            Size(bytes @ 1..=rowcall_wire::PAYLOAD_CEILING) => Ok(Payload(bytes)),
            Size(bytes) => {
                Err(format!("expected 1 to {} bytes, found {bytes}", rowcall_wire::PAYLOAD_CEILING))
            }
        }
    }
}

/// The length of a control line: room for a client's CONNECT, and no more than a stranger may make us keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ControlLine(pub usize);

impl FromStr for ControlLine {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        use rowcall_wire::{CONTROL_LINE_CEILING, CONTROL_LINE_LEAST};
        let Size(bytes) = text.parse()?;
        if !(CONTROL_LINE_LEAST..=CONTROL_LINE_CEILING).contains(&bytes) {
            return Err(format!(
                "expected {CONTROL_LINE_LEAST} to {CONTROL_LINE_CEILING} bytes, found {bytes}"
            ));
        }
        Ok(ControlLine(bytes))
    }
}

/// A time that may be none: "2s", or "0s".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grace(pub Duration);

impl FromStr for Grace {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match number_and_unit(text) {
            ("0", "" | "ms" | "s" | "m" | "h") => Ok(Grace(Duration::ZERO)),
            _ => text.parse().map(|Span(time)| Grace(time)),
        }
    }
}

/// A time: "500ms", "10s", "2m", "1h"; a bare number is seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span(pub Duration);

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (number, unit) = number_and_unit(text);
        let millis = match unit {
            "ms" => Some(1),
            "" | "s" => Some(1000),
            "m" => Some(60_000),
            "h" => Some(3_600_000),
            _ => None,
        };
        let millis = millis.and_then(|factor| number.parse::<u64>().ok()?.checked_mul(factor));
        // An hour-long year guard: more would overflow clocks before it would ever matter.
        match millis {
            Some(millis @ 1..=31_536_000_000) => Ok(Span(Duration::from_millis(millis))),
            _ => Err(format!("expected a time such as \"500ms\", \"10s\" or \"2m\", found \"{text}\"")),
        }
    }
}

fn number_and_unit(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    (&text[..end], text[end..].trim_start())
}

/// Permissions in octal: "0660".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mode(pub u32);

impl FromStr for Mode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match u32::from_str_radix(text, 8) {
            Ok(mode @ 0..=0o777) => Ok(Mode(mode)),
            _ => Err(format!("expected permissions in octal such as \"0660\", found \"{text}\"")),
        }
    }
}

/// A log level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level(pub tracing::Level);

impl FromStr for Level {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "error" => Ok(Level(tracing::Level::ERROR)),
            "warn" => Ok(Level(tracing::Level::WARN)),
            "info" => Ok(Level(tracing::Level::INFO)),
            "debug" => Ok(Level(tracing::Level::DEBUG)),
            "trace" => Ok(Level(tracing::Level::TRACE)),
            _ => Err(format!("expected error, warn, info, debug or trace, found \"{text}\"")),
        }
    }
}

/// Who speaks TLS on the NATS port, once there is a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tls {
    /// Nobody.
    None,
    /// Who wants to: INFO offers it.
    Optional,
    /// Everybody, after an INFO in clear text that says so.
    Required,
    /// Everybody, from the first byte: INFO comes inside.
    First,
}

impl FromStr for Tls {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "none" => Ok(Tls::None),
            "optional" => Ok(Tls::Optional),
            "required" => Ok(Tls::Required),
            "first" => Ok(Tls::First),
            _ => Err(format!("expected none, optional, required or first, found \"{text}\"")),
        }
    }
}

/// In the file all of these are strings; sizes and times may be bare numbers as well.
macro_rules! from_toml_text {
    ($($type:ty),*) => {$(
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                #[derive(Deserialize)]
                #[serde(untagged, expecting = "expected a string or a whole number")]
                enum Text { Text(String), Number(u64) }
                let text = match Text::deserialize(from)? {
                    Text::Text(text) => text,
                    Text::Number(number) => number.to_string(),
                };
                text.parse().map_err(D::Error::custom)
            }
        }
    )*};
}

from_toml_text!(Place, OptionFile, Address, Size, Payload, ControlLine, Span, Grace, Mode, Level, Tls);
