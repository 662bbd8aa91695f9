//! `/varz`: everything at a glance, as JSON, under the names that the reference's tools read where
//! it has the same thing.

use super::{Snapshot, span, stamp};
use crate::config::HostPort;
use crate::operations::nats_version;
use serde_json::{Map, Value};

/// The page.
pub(super) fn render(seen: &Snapshot<'_>) -> String {
    let parts = [identity(seen), limits(seen), counters(seen)];
    let all: Map<String, Value> =
        parts.into_iter().filter_map(|part| part.as_object().cloned()).flatten().collect();
    format!("{:#}\n", Value::Object(all))
}

fn identity(seen: &Snapshot<'_>) -> Value {
    let (host, port) = host_and_port(seen.config.listen.0.as_ref());
    let (http_host, http_port) = host_and_port(seen.config.http.0.as_ref());
    let uptime = seen.now.duration_since(seen.stats.started).unwrap_or_default();
    serde_json::json!({
        "server_id": seen.server_id,
        "server_name": seen.config.server_name,
        "version": nats_version(),
        "rowcall_version": env!("CARGO_PKG_VERSION"),
        "proto": 1,
        "host": host,
        "port": port,
        "http_host": http_host,
        "http_port": http_port,
        "pid": std::process::id(),
        "start": stamp(seen.stats.started),
        "now": stamp(seen.now),
        "uptime": span(uptime),
        "uptime_ms": uptime.as_millis() as u64,
        "cores": std::thread::available_parallelism().map_or(1, usize::from),
        "cpu": (seen.usage.percent * 10.0).round() / 10.0,
        "mem": seen.usage.memory,
    })
}

fn limits(seen: &Snapshot<'_>) -> Value {
    let config = seen.config;
    serde_json::json!({
        "max_connections": config.max_connections,
        "max_subscriptions": config.max_subscriptions,
        "max_payload": config.max_payload.0,
        "max_control_line": config.max_control_line.0,
        "max_pending": config.max_pending.0,
        "ping_interval": config.ping_interval.0.as_nanos() as u64,
        "ping_max": config.ping_max,
        "write_deadline": config.write_deadline.0.as_nanos() as u64,
    })
}

fn counters(seen: &Snapshot<'_>) -> Value {
    let stats = seen.stats;
    serde_json::json!({
        "connections": seen.connections,
        "total_connections": stats.connections,
        // Of a server that has others of its kind; the tools add them up.
        "routes": 0,
        "remotes": 0,
        "leafnodes": 0,
        "subscriptions": seen.subscriptions,
        "in_msgs": stats.in_msgs,
        "in_bytes": stats.in_bytes,
        "out_msgs": stats.out_msgs,
        "out_bytes": stats.out_bytes,
        "slow_consumers": stats.slow_consumers(),
        "publishers_held": stats.held,
        "unheard_msgs": stats.unheard,
        "trace_only_msgs": stats.trace_only,
        "no_responders": stats.no_responders,
        "pending_bytes": seen.pending_bytes,
        "lost_bytes": stats.lost_bytes,
        "closed": stats.closed(false),
        "logins": stats.logins,
        "auth_failures": stats.auth_failures,
        "auth_timeouts": stats.auth_timeouts,
        "forbidden": {
            "publish": stats.forbidden_publish,
            "subscribe": stats.forbidden_subscribe,
            "sql": stats.forbidden_sql,
        },
        "http": seen.http,
        "outbox": seen.outbox,
        "mailbox": seen.mailbox,
    })
}

fn host_and_port(address: Option<&HostPort>) -> (&str, u16) {
    address.map_or(("", 0), |address| (address.host(), address.port()))
}
