//! Addresses that rowcalld listens on: which of them take which kinds of connections.

use harness::{Authority, Child, Daemon, Http, Terminal, eventually};
use serde_json::Value;
use std::process::Command;

/// Of both kinds of addresses, at the ports of NATS and of HTTP, in clear text and in TLS. Who comes by IPv4 is known by
/// that address everywhere.
#[test]
fn the_unspecified_address_of_ipv6_takes_both_kinds() {
    let authority = Authority::new();
    for tls in [false, true] {
        let folder = harness::folder();
        let settings = if tls { authority.settings(folder.path()) } else { String::new() };
        let config = folder.path().join("rowcalld.toml");
        std::fs::write(&config, settings).unwrap();
        let config = config.to_str().unwrap();
        let arguments = ["--listen", "[::]:0", "--http", "[::]:0", "--allow-remote", "--config", config];
        let daemon = Daemon::start_with(&folder.path().join("rowcall.sock"), &arguments);
        for host in ["127.0.0.1", "::1"] {
            let at = |address: &str| match host {
                "::1" => address.replace("[::]", "[::1]"),
                _ => address.replace("[::]", host),
            };
            let tcp = at(&daemon.tcp);
            let mut it = if tls { authority.terminal(&tcp) } else { Terminal::tcp(&tcp) }.hello();
            let info: Value = serde_json::from_str(it.info.strip_prefix("INFO ").unwrap()).unwrap();
            assert_eq!((&info["client_ip"], &info["host"]), (&host.into(), &host.into()), "{info}");
            it.barrier();
            let connz = Http::connect(&at(&daemon.http)).ask("GET /connz?sort=start", "", "");
            let connz: Value = serde_json::from_str(connz.text()).unwrap();
            assert!(connz["connections"].as_array().unwrap().iter().any(|it| it["ip"] == host), "{connz:#}");
        }
    }
    let folder = harness::folder();
    let arguments = ["--listen", "0.0.0.0:0", "--http", "127.0.0.1:0", "--allow-remote"];
    let daemon = Daemon::start_with(&folder.path().join("rowcall.sock"), &arguments);
    Terminal::tcp(&daemon.tcp.replace("0.0.0.0", "127.0.0.1")).hello().barrier();
    assert!(std::net::TcpStream::connect(daemon.tcp.replace("0.0.0.0", "[::1]")).is_err(), "IPv4 alone");
}

/// In a network of its own, where the default is the other: net.ipv6.bindv6only.
#[test]
fn it_does_so_whatever_the_systems_default_is() {
    const SCRIPT: &str = "ip link set lo up && echo 1 > /proc/sys/net/ipv6/bindv6only && exec \"$@\"";
    let alone = |command: &[&str]| {
        let mut unshare = Command::new("unshare");
        unshare.args(["--net", "sh", "-c", SCRIPT, "sh"]).args(command);
        unshare
    };
    if !alone(&["true"]).status().is_ok_and(|status| status.success()) {
        eprintln!("SKIPPED: no network namespace can be made here (not root?)");
        return;
    }
    let folder = harness::folder();
    let daemon = harness::built("rowcalld");
    let socket = folder.path().join("rowcall.sock");
    let mut command = alone(&[daemon.to_str().unwrap(), "--listen", "[::]:4222", "--http", "[::]:8222"]);
    let child = Child::start("rowcalld", command.arg("--allow-remote").arg("--socket").arg(&socket));
    child.says("listening transport=\"http\"");
    for host in ["127.0.0.1", "[::1]"] {
        let url = format!("http://{host}:8222/healthz");
        eventually(&url, || {
            let mut curl = Command::new("nsenter");
            curl.args(["--net", "--target", &child.pid().to_string(), "curl", "-s", "--max-time", "5", &url]);
            let output = curl.output().unwrap();
            output.stdout.starts_with(b"{\"status\":\"ok\"}").then_some(())
        });
    }
}
