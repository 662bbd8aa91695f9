//! The end-to-end tests: one program, one module for each promise. They need real servers; see
//! tests/servers.sh and the harness.

// A test says what is wrong by panicking.
#![allow(clippy::unwrap_used)]

/// Makes each test once for each server.
macro_rules! on_each_server {
    ($($test:ident),* $(,)?) => {
        mod mariadb {
            $(#[test] fn $test() { super::$test(harness::Kind::MariaDb) })*
        }
        mod mysql {
            $(#[test] fn $test() { super::$test(harness::Kind::MySql) })*
        }
    };
}

mod accounts;
mod activated_server;
mod activation;
mod addresses;
mod argument_types;
mod bad_days;
mod bad_input;
mod bad_peers;
mod cli;
mod committed;
mod committed_load;
mod committed_servers;
mod configuration;
mod consumers;
mod consumers_cli;
mod containers;
mod doctor;
mod doors;
mod editions;
mod examples;
mod faults;
mod fuzz_sql;
mod guest;
mod held;
mod http;
mod identity;
mod install;
mod instant;
mod leaving;
mod mirror;
mod monitoring;
mod monitoring_pages;
mod official_client;
mod official_clients;
mod old_server;
mod operations;
mod outbox_file;
mod pace;
mod packages;
mod page;
mod parameters;
mod protocol;
mod readme;
mod replacing;
mod replication;
mod request;
mod retries;
mod sabotage;
mod sessions;
mod slow_consumers;
mod submit;
mod sysbench;
mod tidy;
mod tls;
mod users;
mod versions;
mod wait;
mod watch;
mod websocket;
