//! The end-to-end tests: one program, one module for each promise. They need real servers; see
//! tests/servers.sh and the harness.

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

mod instant;
