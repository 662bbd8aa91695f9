//! `/metrics`: the same numbers for Prometheus. docs/monitoring.md explains each; the text itself is
//! written by prometheus-client.

use super::{Page, Snapshot};
use crate::outbox::Phase;
use crate::stats::{Named, Stats};
use crate::{http, mail, outbox};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use std::fmt;

/// What Prometheus calls its text.
const KIND: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// One name, with everything that is told under it.
#[derive(Debug)]
struct Metric {
    name: &'static str,
    help: &'static str,
    kind: MetricType,
    samples: Vec<Sample>,
}

/// One number. The label, if there is one, tells it from its siblings.
#[derive(Debug)]
struct Sample {
    label: Option<(&'static str, String)>,
    value: f64,
}

/// All of them, as the library wants them.
#[derive(Debug)]
struct All(Vec<Metric>);

/// The page.
pub(super) fn page(seen: &Snapshot<'_>) -> Page {
    let mut metrics = daemon(seen);
    metrics.extend(security(seen.stats));
    metrics.extend(http(&seen.http));
    metrics.extend(mailbox(&seen.mailbox));
    if let Some(numbers) = &seen.outbox {
        metrics.extend(outbox(numbers));
    }
    let mut registry = Registry::default();
    registry.register_collector(Box::new(All(metrics)));
    let mut body = String::new();
    // It fails only if the text cannot be appended to, which a string always can.
    match prometheus_client::encoding::text::encode(&mut body, &registry) {
        Ok(()) => Page { status: 200, kind: KIND, body },
        Err(error) => Page { status: 500, kind: "text/plain", body: format!("{error}\n") },
    }
}

fn daemon(seen: &Snapshot<'_>) -> Vec<Metric> {
    let stats = seen.stats;
    let started = stats.started.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    vec![
        gauge("process_start_time_seconds", "When this run began, since 1970", started.as_secs_f64()),
        counter("process_cpu_seconds", "Processor time of this run", seen.usage.processor.as_secs_f64()),
        gauge("process_resident_memory_bytes", "Memory that is really there", seen.usage.memory as f64),
        by(
            "rowcalld_build_info",
            "The version that runs",
            MetricType::Gauge,
            "version",
            [(env!("CARGO_PKG_VERSION").to_owned(), 1.0)],
        ),
        gauge("rowcalld_connections", "Connections now", seen.connections as f64),
        counter("rowcalld_connections_opened", "Connections taken", stats.connections as f64),
        by(
            "rowcalld_connections_closed",
            "Connections ended, by reason",
            MetricType::Counter,
            "reason",
            named(stats.closed(false)),
        ),
        gauge("rowcalld_subscriptions", "Subscriptions now", seen.subscriptions as f64),
        counter("rowcalld_messages_received", "Messages published to the daemon", stats.in_msgs as f64),
        counter("rowcalld_received_bytes", "Their headers and payloads", stats.in_bytes as f64),
        counter(
            "rowcalld_messages_sent",
            "Messages queued for subscribers, each copy",
            stats.out_msgs as f64,
        ),
        counter("rowcalld_sent_bytes", "Their headers and payloads", stats.out_bytes as f64),
        counter("rowcalld_messages_unheard", "Messages that no subscription took", stats.unheard as f64),
        counter(
            "rowcalld_messages_trace_only",
            "Messages to be traced only, which nobody got",
            stats.trace_only as f64,
        ),
        counter(
            "rowcalld_requests_without_responders",
            "Requests answered with \"no responders\"",
            stats.no_responders as f64,
        ),
        gauge("rowcalld_pending_bytes", "Bytes owed to clients now", seen.pending_bytes as f64),
        counter(
            "rowcalld_lost_bytes",
            "Bytes owed to clients whose connections ended",
            stats.lost_bytes as f64,
        ),
    ]
}

fn security(stats: &Stats) -> Vec<Metric> {
    let failed = [("wrong", stats.auth_failures), ("late", stats.auth_timeouts)];
    let forbidden = [
        ("publish", stats.forbidden_publish),
        ("subscribe", stats.forbidden_subscribe),
        ("sql", stats.forbidden_sql),
    ];
    let samples = |pairs: &[(&str, u64)]| {
        pairs.iter().map(|(name, n)| ((*name).to_owned(), *n as f64)).collect::<Vec<_>>()
    };
    vec![
        counter("rowcalld_logins", "Logins that succeeded", stats.logins as f64),
        by(
            "rowcalld_login_failures",
            "Logins that did not: wrong or missing credentials, or no time to look at them",
            MetricType::Counter,
            "reason",
            samples(&failed),
        ),
        by(
            "rowcalld_forbidden",
            "What was not allowed: messages, subscriptions, and either from SQL",
            MetricType::Counter,
            "what",
            samples(&forbidden),
        ),
    ]
}

fn http(n: &http::Numbers) -> Vec<Metric> {
    vec![
        gauge("rowcalld_http_connections", "HTTP connections now", n.connections as f64),
        counter("rowcalld_http_requests", "HTTP requests that came whole", n.requests as f64),
        counter("rowcalld_http_refused", "HTTP requests that were at fault", n.refused as f64),
        counter(
            "rowcalld_http_timed_out",
            "HTTP requests whose answer did not come in time",
            n.timed_out as f64,
        ),
        counter("rowcalld_http_turned_away", "HTTP connections turned away: too many", n.turned_away as f64),
    ]
}

fn mailbox(n: &mail::Numbers) -> Vec<Metric> {
    vec![
        by(
            "rowcalld_mailbox_tickets",
            "Submitted requests that are kept, with or without a reply yet",
            MetricType::Gauge,
            "state",
            [("waiting".to_owned(), n.waiting as f64), ("kept".to_owned(), n.kept as f64)],
        ),
        gauge("rowcalld_mailbox_kept_bytes", "Bytes of replies that are kept", n.kept_bytes as f64),
        counter("rowcalld_mailbox_submitted", "Requests submitted", n.submitted as f64),
        counter("rowcalld_mailbox_replies", "Replies that came for them", n.replies as f64),
        counter(
            "rowcalld_mailbox_unwanted_replies",
            "Replies that came too late or for nothing",
            n.unwanted_replies as f64,
        ),
        by(
            "rowcalld_mailbox_gone",
            "Tickets gone, by their fate",
            MetricType::Counter,
            "fate",
            named(n.gone),
        ),
    ]
}

fn outbox(n: &outbox::Numbers<'_>) -> Vec<Metric> {
    let each = |count: fn(&outbox::ConsumerNumbers<'_>) -> u64| {
        let one =
            move |consumer: &outbox::ConsumerNumbers<'_>| (consumer.name.to_owned(), count(consumer) as f64);
        n.consumers.iter().map(one).collect::<Vec<_>>()
    };
    vec![
        by(
            "rowcalld_outbox_state",
            "1 for what the outbox's reader is doing",
            MetricType::Gauge,
            "state",
            Phase::NAMES.map(|name| (name.to_owned(), f64::from(name == n.state))),
        ),
        counter("rowcalld_outbox_events", "Committed events handed on", n.handed_on as f64),
        by(
            "rowcalld_consumer_unacked",
            "Events with workers, not settled",
            MetricType::Gauge,
            "consumer",
            each(|consumer| consumer.unacked as u64),
        ),
        by(
            "rowcalld_consumer_deliveries",
            "Deliveries to workers",
            MetricType::Counter,
            "consumer",
            each(|consumer| consumer.delivered),
        ),
        by(
            "rowcalld_consumer_redeliveries",
            "Those of them that were not the first of their event",
            MetricType::Counter,
            "consumer",
            each(|consumer| consumer.redelivered),
        ),
    ]
}

/// A counter for each name.
fn named<const N: usize>(counts: Named<N>) -> Vec<(String, f64)> {
    counts.iter().map(|(name, n)| (name.to_owned(), n as f64)).collect()
}

fn gauge(name: &'static str, help: &'static str, value: f64) -> Metric {
    Metric { name, help, kind: MetricType::Gauge, samples: vec![Sample { label: None, value }] }
}

fn counter(name: &'static str, help: &'static str, value: f64) -> Metric {
    Metric { name, help, kind: MetricType::Counter, samples: vec![Sample { label: None, value }] }
}

fn by(
    name: &'static str,
    help: &'static str,
    kind: MetricType,
    label: &'static str,
    values: impl IntoIterator<Item = (String, f64)>,
) -> Metric {
    let sample = |(value_of_label, value)| Sample { label: Some((label, value_of_label)), value };
    Metric { name, help, kind, samples: values.into_iter().map(sample).collect() }
}

impl Collector for All {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for metric in &self.0 {
            let mut family = encoder.encode_descriptor(metric.name, metric.help, None, metric.kind)?;
            for Sample { label, value } in &metric.samples {
                let labels: Vec<_> = label.iter().map(|(name, value)| (*name, value.as_str())).collect();
                let one = family.encode_family(&labels)?;
                match metric.kind {
                    MetricType::Counter => ConstCounter::new(*value).encode(one)?,
                    _ => ConstGauge::new(*value).encode(one)?,
                }
            }
        }
        Ok(())
    }
}
