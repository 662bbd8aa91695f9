//! Who may ask at all, before it is looked at what for: a browser on this machine carries requests of
//! any web page here, and its `Host` and `Origin` tell. Text only.

use super::request::Head;
use std::net::IpAddr;

/// Why a request is not even looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stranger {
    /// It does not say which host it is for.
    NoHost,
    /// It is for a host that is not this one: perhaps a name that was made to point here.
    Host,
    /// It comes from a web page that may not ask here.
    Origin,
}

impl Stranger {
    /// The status of the answer, and what it says.
    pub(crate) fn answer(self) -> (u16, &'static str) {
        match self {
            Stranger::NoHost => (400, "there is no Host"),
            Stranger::Host => (
                421,
                "this host is not known by the name in Host; add that name to http_hosts in rowcalld.toml, or use an address",
            ),
            Stranger::Origin => {
                (403, "web pages of that origin may not ask here; http_cors_origins can name it")
            }
        }
    }
}

/// Whom the administrator lets in.
pub(crate) struct Rules<'a> {
    /// Further names of this host.
    pub(crate) hosts: &'a [String],
    /// Where HTTP is spoken, as it was written: perhaps a name.
    pub(crate) address: &'a str,
    /// Origins of web pages.
    pub(crate) origins: &'a [String],
    /// Whether the request came by an address that only this machine has.
    pub(crate) loopback: bool,
    /// Whether there are users, so that each request has to prove itself.
    pub(crate) users: bool,
    /// Whether it came in TLS.
    pub(crate) secret: bool,
}

impl Rules<'_> {
    /// Lets a request in, and says which origin the answer has to name. `authority` is the host that its
    /// target names, if it names one; `page` says that it only asks how the daemon is.
    ///
    /// # Errors
    /// Why not.
    pub(crate) fn admit(
        &self,
        head: &Head,
        authority: Option<&str>,
        page: bool,
    ) -> Result<Option<String>, Stranger> {
        let given = head.value("host").map(|host| std::str::from_utf8(host).map_err(|_| Stranger::Host));
        let host = match (authority, given.transpose()?) {
            (Some(host), _) | (None, Some(host)) => host,
            (None, None) if head.old => "localhost",
            (None, None) => return Err(Stranger::NoHost),
        };
        if !self.knows(name_of(host)) {
            return Err(Stranger::Host);
        }
        let Some(origin) = head.value("origin") else {
            return if page || !is_foreign(head) { Ok(None) } else { Err(Stranger::Origin) };
        };
        let origin = std::str::from_utf8(origin).map_err(|_| Stranger::Origin)?;
        if self.origins.iter().any(|listed| listed.eq_ignore_ascii_case(origin)) {
            return Ok(Some(origin.to_owned()));
        }
        // Our own pages.
        let scheme = if self.secret { "https://" } else { "http://" };
        let own = origin.strip_prefix(scheme).is_some_and(|origin| origin.eq_ignore_ascii_case(host));
        if own { Ok(None) } else { Err(Stranger::Origin) }
    }

    /// Whether this host goes by that name. Whoever owns a name can make it point here, and a page of that name
    /// then is one of our own to a browser (DNS rebinding). That takes a name: an address points nowhere else, and
    /// `localhost` is not theirs. Where there are users the page has no credentials of theirs, so other names
    /// do no harm unless the administrator says which there are.
    fn knows(&self, name: &str) -> bool {
        if let Ok(address) = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
            return !self.loopback || address.is_loopback() || self.is_named(name);
        }
        let any = !self.loopback && self.users && self.hosts.is_empty();
        any || name.eq_ignore_ascii_case("localhost") || self.is_named(name)
    }

    fn is_named(&self, name: &str) -> bool {
        let mut named = self.hosts.iter().map(String::as_str).chain([self.address]);
        !name.is_empty() && named.any(|host| host.eq_ignore_ascii_case(name))
    }
}

/// Whether a browser says that another site's page asks. Requests that only read carry no `Origin`.
fn is_foreign(head: &Head) -> bool {
    head.value("sec-fetch-site").is_some_and(|site| !matches!(site, b"same-origin" | b"none"))
}

/// The host without its port.
fn name_of(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) && !name.ends_with(':') => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admit(rules: &Rules<'_>, headers: &str) -> Result<Option<String>, Stranger> {
        let request = format!("GET /next/a HTTP/1.1\r\n{headers}\r\n");
        rules.admit(&Head::parse(request.as_bytes()).unwrap().unwrap().0, None, false)
    }

    #[test]
    fn names_that_point_here_are_not_enough() {
        let hosts = ["shop.example".to_owned()];
        let near = Rules {
            hosts: &hosts,
            origins: &[],
            address: "127.0.0.1",
            loopback: true,
            users: false,
            secret: false,
        };
        for fine in ["localhost", "LOCALHOST:8222", "127.0.0.1:8222", "[::1]:8222", "[::1]", "shop.example:1"]
        {
            assert_eq!(admit(&near, &format!("Host: {fine}\r\n")), Ok(None), "{fine}");
        }
        for wrong in ["evil.example", "localhost.evil.example", "192.0.2.1", "", "localhost:x", "::1"] {
            let expected = if wrong == "::1" { Ok(None) } else { Err(Stranger::Host) };
            assert_eq!(admit(&near, &format!("Host: {wrong}\r\n")), expected, "{wrong}");
        }
        assert_eq!(admit(&near, ""), Err(Stranger::NoHost));
        let old = Head::parse(b"GET / HTTP/1.0\r\n\r\n").unwrap().unwrap().0;
        assert_eq!(near.admit(&old, None, false), Ok(None));
        assert_eq!(near.admit(&old, Some("evil.example"), false), Err(Stranger::Host));
    }

    #[test]
    fn beyond_loopback_a_host_must_be_named_unless_there_are_users() {
        let hosts = ["shop.example".to_owned()];
        let check = |hosts: &[String], users, host: &str, expected| {
            let far =
                Rules { hosts, origins: &[], address: "db.example", loopback: false, users, secret: false };
            let expected = if expected { Ok(None) } else { Err(Stranger::Host) };
            assert_eq!(admit(&far, &format!("Host: {host}\r\n")), expected, "{hosts:?} {users} {host}");
        };
        for (host, unnamed, named) in [
            ("evil.example", false, false),
            ("evil.example:8222", false, false),
            ("shop.example.", false, false),
            ("", false, false),
            ("shop.example:8222", false, true),
            ("SHOP.example", false, true),
            ("DB.example:8222", true, true),
            ("localhost:8222", true, true),
            ("127.0.0.1", true, true),
            ("192.0.2.1:8222", true, true),
            ("[2001:db8::1]:8222", true, true),
        ] {
            check(&[], false, host, unnamed);
            check(&hosts, false, host, named);
            check(&[], true, host, true);
            check(&hosts, true, host, named);
        }
    }

    #[test]
    fn web_pages_are_let_in_by_name_only() {
        let origins = ["https://shop.example".to_owned()];
        let rules = Rules {
            hosts: &[],
            origins: &origins,
            address: "127.0.0.1",
            loopback: true,
            users: false,
            secret: false,
        };
        let ask = |headers: &str| admit(&rules, &format!("Host: localhost:8222\r\n{headers}\r\n"));
        assert_eq!(ask("Origin: https://shop.example"), Ok(Some("https://shop.example".into())));
        for wrong in ["https://evil.example", "null", "https://shop.example:444", "http://shop.example", ""] {
            assert_eq!(ask(&format!("Origin: {wrong}")), Err(Stranger::Origin), "{wrong}");
        }
        assert_eq!(ask("Origin: http://localhost:8222"), Ok(None), "our own pages");
        assert_eq!(ask("Origin: https://localhost:8222"), Err(Stranger::Origin), "another one");
        assert_eq!(ask("Sec-Fetch-Site: cross-site"), Err(Stranger::Origin));
        assert_eq!(ask("Sec-Fetch-Site: same-site"), Err(Stranger::Origin));
        assert_eq!(ask("Sec-Fetch-Site: none"), Ok(None));
        assert_eq!(ask("X: y"), Ok(None));
        let rules = Rules { secret: true, ..rules };
        let ask = |origin: &str| admit(&rules, &format!("Host: localhost:8222\r\nOrigin: {origin}\r\n"));
        assert_eq!(ask("https://localhost:8222"), Ok(None), "our own pages");
        assert_eq!(ask("http://localhost:8222"), Err(Stranger::Origin));
    }
}
