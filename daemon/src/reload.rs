//! SIGHUP: the configuration, the file of users and the certificates are read again. A file that is wrong changes nothing,
//! and the log says why; nobody who is still allowed is dropped. Who is more than a lowered limit lets in is: see
//! surplus.rs.
//!
//! What can change while the daemon runs is written down here, once: the rest needs a restart, and whoever
//! has changed some of it is told so. All files are read before anything is changed: it is all of it or
//! nothing.

use crate::config::Config;
use crate::outbox::Outbox;
use crate::{Daemon, activation, certificates, listener};

impl Daemon {
    /// Reads the files again, and goes by them from now on if nothing is wrong with them. The loop waits
    /// meanwhile: for files, and for the system's answers which accounts there are.
    pub(crate) fn reload(&mut self) {
        activation::is_reloading();
        match self.reread() {
            Ok(config) => self.go_by(config),
            Err(why) => tracing::error!("nothing is changed: {why}"),
        }
        activation::is_ready();
    }

    fn reread(&self) -> Result<Config, String> {
        let mut config = Config::read(self.flags.clone()).map_err(|wrong| wrong.to_string())?;
        // The listeners stay as they are, and perhaps they are open to others because there were users.
        let going_on = Config { access: config.access.clone(), ..self.config.clone() };
        going_on.check_addresses().map_err(|wrong| wrong.to_string())?;
        // From where they were: other paths are for the next start.
        config.certificates = certificates::load(&self.config)?;
        Ok(config)
    }

    fn go_by(&mut self, new: Config) {
        let unchanged = self.config.fixed();
        for (name, value) in new.fixed() {
            if !unchanged.contains(&(name, value)) {
                tracing::warn!(setting = name, "this setting changes with a restart only");
            }
        }
        let rule = self.config.access.sql.rights.publish.clone();
        self.config.take_over(new);
        (self.connections_max, self.http.connections_max) = listener::connections_max(&self.config);
        if let Err(why) = self.open_checker() {
            tracing::error!("passwords cannot be checked: {why}");
        }
        if rule != self.config.access.sql.rights.publish {
            self.tell_sql_rule();
        }
        // Where the reader waits for a sign that its server is there again, this is one.
        self.outbox.iter().for_each(Outbox::poke);
        self.revise_everyone();
        self.close_surplus();
        // Times that are shorter now may be over sooner than was set.
        self.clients.keys().into_iter().for_each(|key| self.set_deadline(key));
        tracing::info!(access = ?self.config.access, "read the configuration again");
    }
}

impl Config {
    /// Takes what may change from another one.
    fn take_over(&mut self, new: Config) {
        self.access = new.access;
        self.certificates = new.certificates;
        self.auth_timeout = new.auth_timeout;
        self.write_deadline = new.write_deadline;
        self.ping_interval = new.ping_interval;
        self.ping_max = new.ping_max;
        self.max_connections = new.max_connections;
        self.max_control_line = new.max_control_line;
        self.lame_duck = new.lame_duck;
        self.max_subscriptions = new.max_subscriptions;
        self.drain_timeout = new.drain_timeout;
        self.http_hosts = new.http_hosts;
        self.http_cors_origins = new.http_cors_origins;
        self.max_http_connections = new.max_http_connections;
    }

    /// What may not: names and values.
    fn fixed(&self) -> Vec<(&'static str, String)> {
        macro_rules! fixed {
            ($($name:ident),*) => { vec![$((stringify!($name), format!("{:?}", self.$name))),*] };
        }
        fixed![
            socket,
            socket_mode,
            socket_group,
            sql_delay,
            listen,
            http,
            outbox,
            allow_remote,
            tls_cert,
            tls_key,
            tls_client_ca,
            tls,
            tls_timeout,
            http_tls,
            server_name,
            max_payload,
            max_pending,
            mailbox_count,
            mailbox_bytes,
            mailbox_time,
            log
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every setting is one that may change or one that may not; a new one must be put somewhere.
    #[test]
    fn every_setting_is_accounted_for() {
        let example: toml::Table = crate::config::EXAMPLE.parse().unwrap();
        let changes = [
            "users",
            "auth_timeout",
            "write_deadline",
            "ping_interval",
            "ping_max",
            "max_connections",
            "max_control_line",
            "lame_duck",
            "max_subscriptions",
            "drain_timeout",
            "http_hosts",
            "http_cors_origins",
            "max_http_connections",
        ];
        let fixed = Config::default().fixed();
        for name in example.keys() {
            let may = changes.contains(&name.as_str());
            assert!(may != fixed.iter().any(|(fixed, _)| fixed == name), "{name}");
        }
    }
}
