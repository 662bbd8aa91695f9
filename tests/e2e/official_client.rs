//! An official client (async-nats) works unchanged.
