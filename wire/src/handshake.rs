//! The JSON of `INFO` and `CONNECT` as types, for the daemon and the command. The library inside
//! mysqld does without it.

use serde::{Deserialize, Serialize};

/// What a server says first. Only keys the reference has: some clients refuse unknown ones. Keys
/// that are false or absent are left out, except `headers`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Info {
    /// Names this run of the server.
    pub server_id: String,
    /// Names the server for people.
    pub server_name: String,
    /// A semantic version; clients compare features with it.
    pub version: String,
    /// 1: `echo` can be turned off.
    pub proto: i32,
    /// Only for show, but the reference always has it.
    pub go: String,
    /// The address that the connection came to.
    pub host: String,
    /// The port really bound; 0 on a Unix socket.
    pub port: u16,
    /// Whether headers are carried. Always.
    pub headers: bool,
    /// Bytes of headers and payload that a message may have.
    pub max_payload: usize,
    /// Unique for each connection of a run.
    pub client_id: u64,
    /// The peer's address; empty on a Unix socket.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub client_ip: String,
    /// The server is about to leave.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub ldm: bool,
    /// Credentials are wanted.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub auth_required: bool,
    /// TLS is wanted.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub tls_required: bool,
    /// What whoever logs in with a key is to sign; empty if nobody does.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub nonce: String,
    /// On a Unix socket, and only there: what SQL may publish to, as [`crate::rule`] writes it; empty if
    /// that is everything.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub sql_publish: String,
    /// And a certificate of the client's with it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub tls_verify: bool,
    /// TLS may be had.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub tls_available: bool,
}

/// What a client says of itself. A key that is absent means the default of the reference for a
/// first `CONNECT`, and "as before" for a later one; so every field is an option here.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Connect {
    /// Answer each operation with `+OK`. Absent: yes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verbose: Option<bool>,
    /// Complain about subjects that cannot be published to. Absent: yes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pedantic: Option<bool>,
    /// Deliver the client's own messages to it. Absent: yes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub echo: Option<bool>,
    /// The client understands `HMSG`. Absent: no.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub headers: Option<bool>,
    /// The client wants to be told when nobody can answer. Absent: no.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub no_responders: Option<bool>,
    /// 1: the client takes a later `INFO`. Absent: 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<i32>,
    /// The client's name for itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The language of the client library.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lang: Option<String>,
    /// The version of the client library.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Credentials: a user's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Credentials: the password beside it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pass: Option<String>,
    /// Credentials: a token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth_token: Option<String>,
    /// Credentials: a public key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nkey: Option<String>,
    /// Credentials: that key's signature of the nonce.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sig: Option<String>,
    /// Of servers with accounts; refused here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// Of servers with accounts; refused here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new_account: Option<bool>,
}

impl Connect {
    /// Reads what stands behind `CONNECT`; `None` for anything but an object of the right types.
    pub fn from_json(json: &[u8]) -> Option<Connect> {
        // serde would take an array for the fields in their order.
        if !json.starts_with(b"{") {
            return None;
        }
        // A name in another encoding is no reason to turn somebody away; the reference replaces, too.
        serde_json::from_str(&String::from_utf8_lossy(json)).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connect_is_an_object() {
        assert!(Connect::from_json(b"{}").is_some_and(|connect| connect.verbose.is_none()));
        assert_eq!(Connect::from_json(b"{\"echo\":false}").and_then(|connect| connect.echo), Some(false));
        let latin = Connect::from_json(b"{\"name\":\"caf\xe9\"}").and_then(|connect| connect.name);
        assert_eq!(latin.as_deref(), Some("caf\u{fffd}"));
        for wrong in ["", "[]", "[true]", "null", "{", "{\"verbose\":1}", "{} {}"] {
            assert!(Connect::from_json(wrong.as_bytes()).is_none(), "{wrong}");
        }
    }
}
