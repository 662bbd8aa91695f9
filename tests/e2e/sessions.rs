//! A server that gives each new session the oddest settings there are: every setting that has a global
//! and a session value, at the end of its range or at another of its words. Applications keep theirs; the
//! daemon and the commands begin with these, and do what they always do.

use super::consumers::workers::{add, run, until_number, until_settled, worker};
use harness::outbox::until_empty;
use harness::{Kind, Site, eventually};
use rowcall_mysql::Connection;
use serde_json::Value;

on_each_server!(nothing_is_inherited);

/// Settings that stay as they are, and why.
const LEFT: [(&str, &str); 14] = [
    ("max_allowed_packet", "no session may set its own, and the least lets nobody send anything"),
    ("connection_memory_limit", "a limit for accounts, which they may not lift"),
    ("max_user_connections", "a limit for accounts, which they may not lift"),
    ("max_session_mem_used", "the least ends a session before it can say anything"),
    ("character_set_database", "follows the database that is chosen"),
    ("collation_database", "follows the database that is chosen"),
    ("default_table_encryption", "wants a keyring, which is not there"),
    ("binlog_format", "only an administrator may set it; replication.rs has the binary log"),
    ("wsrep_on", "there is no cluster"),
    ("wsrep_osu_method", "there is no cluster"),
    ("wsrep_trx_fragment_size", "there is no cluster"),
    ("server_id", "says which server it is"),
    ("group_replication_consistency", "there is no group"),
    ("gtid_domain_id", "says which server it is"),
];

/// Settings whose odd end is not the least, and those that are neither numbers nor one of several words.
const ODD: [(&str, &str); 15] = [
    ("auto_increment_increment", "10"),
    ("auto_increment_offset", "7"),
    ("character_set_client", "'latin1'"),
    ("character_set_connection", "'latin1'"),
    ("character_set_results", "'latin1'"),
    ("character_set_server", "'latin1'"),
    ("collation_connection", "'latin1_german1_ci'"),
    ("collation_server", "'latin1_german1_ci'"),
    ("completion_type", "'CHAIN'"),
    ("default_collation_for_utf8mb4", "'utf8mb4_general_ci'"),
    ("default_storage_engine", "'MyISAM'"),
    ("lc_messages", "'de_DE'"),
    ("lc_time_names", "'de_DE'"),
    ("system_versioning_asof", "'2000-01-01 00:00:00'"),
    ("time_zone", "'+13:00'"),
];

/// SQL modes that give words, quotes, numbers and dates another meaning.
const MODES: &str = "PIPES_AS_CONCAT,ANSI_QUOTES,IGNORE_SPACE,NO_UNSIGNED_SUBTRACTION,NO_BACKSLASH_ESCAPES,\
                     STRICT_ALL_TABLES,NO_ZERO_IN_DATE,NO_ZERO_DATE,ERROR_FOR_DIVISION_BY_ZERO,TRADITIONAL,\
                     HIGH_NOT_PRECEDENCE,PAD_CHAR_TO_FULL_LENGTH,NO_AUTO_VALUE_ON_ZERO,REAL_AS_FLOAT,\
                     ONLY_FULL_GROUP_BY,NO_DIR_IN_CREATE";
const MARIADB_MODES: &str = ",ORACLE,EMPTY_STRING_IS_NULL,SIMULTANEOUS_ASSIGNMENT,TIME_ROUND_FRACTIONAL";

fn nothing_is_inherited(kind: Kind) {
    let arguments: &[&str] = if kind == Kind::MySql { &["--performance-schema=ON"] } else { &[] };
    let Some(mut site) = Site::bare(kind, arguments) else { return };
    // An application: its session is older than the settings.
    let (mut sql, mut admin) = (site.connect(), site.connect());
    let odd = make_odd(&mut admin, kind);
    eprintln!("{kind:?}: {} settings are odd", odd.len());
    for name in
        ["sql_select_limit", "sql_safe_updates", "autocommit", "completion_type", "sql_mode", "max_join_size"]
    {
        assert!(odd.iter().any(|odd| odd == name), "{name} is as it was: {odd:?}");
    }
    // Of accounts without SUPER, such as the daemon's.
    admin.query("SET GLOBAL init_connect = 'SET autocommit = 0; START TRANSACTION READ ONLY'").unwrap();
    assert!(run(&site, &["install"]).contains("created"));
    site.install_tables();
    site.start_committed_daemon();
    for name in ["mail", "stock", "bills"] {
        add(&site, name, "shop.>", &["--max-deliveries", "1"]);
    }
    events_are_delivered_parked_and_sent_again(&site, &mut sql);
    a_table_is_watched(&site, &mut sql);
    for name in ["mail", "stock", "bills"] {
        assert!(run(&site, &["consumer", "rm", name]).contains("removed"));
    }
    let left = sql.value("SELECT COUNT(*) FROM rowcall.consumers").unwrap();
    assert_eq!(left.as_deref(), Some("0"));
    let doctor = site.rowcall(&["doctor", "--json"]);
    let found = String::from_utf8(doctor.stdout).unwrap();
    assert!(found.contains("a daemon reads the outbox"), "{found}");
    assert!(found.contains("those of committed mode, all InnoDB"), "{found}");
}

/// Each event waits for three consumers: one takes it, one gives it up and has it again, one gives it up
/// for good.
fn events_are_delivered_parked_and_sent_again(site: &Site, sql: &mut Connection) {
    const EVENTS: u64 = 30;
    let payload = |n: u64| format!("it's \\{n} € \"x\"");
    sql.query("START TRANSACTION").unwrap();
    for n in 1..=EVENTS {
        let payload = payload(n).replace('\\', "\\\\").replace('\'', "''");
        sql.query(format!("CALL rowcall.publish('shop.orders', '{payload}')")).unwrap();
    }
    sql.query("COMMIT").unwrap();
    for (name, answer) in [("mail", "+ACK"), ("stock", "+TERM"), ("bills", "+TERM")] {
        let mut worker = worker(site, name);
        for n in 1..=EVENTS {
            let event = worker.message();
            assert_eq!(event.text(), payload(n), "{name}");
            worker.answer(&event, answer);
        }
        let column = if answer == "+ACK" { "settled" } else { "parked" };
        until_number(sql, name, column, EVENTS);
    }
    until_empty(sql);
    let list = run(site, &["parked", "list", "--json", "--limit", "1000"]);
    assert_eq!(list.lines().count() as u64, 2 * EVENTS);
    assert!(run(site, &["parked", "show", "--consumer", "bills", &id_of_the_first(&list)]).contains("it's"));
    let retried = run(site, &["parked", "retry", "--all", "--consumer", "stock"]);
    assert!(retried.contains(&format!("{EVENTS} events will be sent again")), "{retried}");
    let mut stock = worker(site, "stock");
    for n in 1..=EVENTS {
        let event = stock.message();
        assert_eq!(event.text(), payload(n));
        stock.answer(&event, "+ACK");
    }
    until_number(sql, "stock", "settled", EVENTS);
    let dropped = run(site, &["parked", "drop", &id_of_the_first(&list), "--consumer", "bills"]);
    assert!(dropped.contains("1 event dropped"), "{dropped}");
    let dropped = run(site, &["parked", "drop", "--all", "--yes"]);
    assert!(dropped.contains(&format!("{} events dropped", EVENTS - 1)), "{dropped}");
    let left = sql.value("SELECT COUNT(*) FROM rowcall.parked").unwrap();
    assert_eq!(left.as_deref(), Some("0"));
    until_settled(sql);
    let status = run(site, &["status", "--json"]);
    for name in ["mail", "stock", "bills"] {
        assert!(status.contains(&format!("\"{name}\"")), "{status}");
    }
}

fn id_of_the_first(list: &str) -> String {
    let first: Value = serde_json::from_str(list.lines().next().unwrap()).unwrap();
    first["id"].to_string()
}

fn a_table_is_watched(site: &Site, sql: &mut Connection) {
    for table in ["goods", "sold"] {
        sql.query(format!("CREATE TABLE {table} (id INT PRIMARY KEY, name VARCHAR(40)) ENGINE=InnoDB"))
            .unwrap();
        run(site, &["watch", &format!("test.{table}")]);
    }
    let list = run(site, &["watch", "--list"]);
    assert!(list.contains("test.goods") && list.contains("test.sold"), "{list}");
    let mut listener = site.listener(&["test.>"]);
    sql.query("INSERT INTO goods VALUES (1, 'it''s \\\\ €')").unwrap();
    let event = listener.message();
    let event: Value = serde_json::from_slice(&event.payload).unwrap();
    assert_eq!(event["after"], serde_json::json!({ "id": 1, "name": "it's \\ €" }));
    for table in ["goods", "sold"] {
        run(site, &["unwatch", &format!("test.{table}")]);
    }
    eventually("no trigger is left", || {
        let left =
            sql.value("SELECT COUNT(*) FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA = 'test'");
        (left.unwrap().as_deref() == Some("0")).then_some(())
    });
}

/// A setting as the server describes it.
struct Setting {
    name: String,
    value: String,
    kind: String,
    least: String,
    words: String,
}

/// Sets whatever can be set, and gives the names of what is another than before.
fn make_odd(admin: &mut Connection, kind: Kind) -> Vec<String> {
    let query = if kind == Kind::MySql {
        "SELECT LOWER(m.variable_name), g.variable_value, m.data_type, m.min_value, '' \
         FROM performance_schema.variables_metadata m JOIN performance_schema.global_variables g \
         USING (variable_name) WHERE m.variable_scope = 'SESSION' ORDER BY 1"
    } else {
        "SELECT LOWER(variable_name), global_value, variable_type, numeric_min_value, enum_value_list \
         FROM information_schema.system_variables WHERE variable_scope = 'SESSION' AND read_only = 'NO' AND \
         global_value IS NOT NULL ORDER BY 1"
    };
    let settings: Vec<Setting> = admin
        .texts(query)
        .unwrap()
        .into_iter()
        .map(|row| {
            let [name, value, kind, least, words] = row.try_into().unwrap();
            Setting { name, value, kind, least, words }
        })
        .collect();
    assert!(settings.len() > 100, "the server tells of {} settings only", settings.len());
    let movable = settings.iter().filter(|setting| LEFT.iter().all(|(name, _)| *name != setting.name));
    movable.filter(|setting| setting.becomes_odd(admin, kind)).map(|setting| setting.name.clone()).collect()
}

impl Setting {
    /// Says whether it is another than it was.
    fn becomes_odd(&self, admin: &mut Connection, kind: Kind) -> bool {
        self.candidates(kind).into_iter().any(|value| {
            let set = admin.query(format!("SET GLOBAL {} = {value}", self.name));
            set.is_ok()
                && admin.value(format!("SELECT @@GLOBAL.{}", self.name)).unwrap().unwrap_or_default()
                    != self.value
        })
    }

    /// Values to try in this order, until one is taken that is another.
    fn candidates(&self, kind: Kind) -> Vec<String> {
        if let Some((_, odd)) = ODD.iter().find(|(name, _)| *name == self.name) {
            return vec![(*odd).to_owned()];
        }
        if self.name == "sql_mode" {
            let more = if kind == Kind::MySql { "" } else { MARIADB_MODES };
            return vec![
                format!("'{MODES}{more}'"),
                format!("'{}'", MODES.replace("NO_DIR_IN_CREATE", "ANSI")),
            ];
        }
        if self.value.contains("=on") || self.value.contains("=off") {
            return vec![format!("'{}'", flipped(&self.value))];
        }
        match self.kind.to_ascii_uppercase().as_str() {
            "BOOLEAN" => vec![(if self.value == "ON" || self.value == "1" { "0" } else { "1" }).to_owned()],
            kind if kind.contains("INT") || kind == "DOUBLE" || kind == "NUMERIC" => vec![self.least.clone()],
            "ENUM" => self.words.split(',').rev().map(|word| format!("'{word}'")).collect(),
            "ENUMERATION" => (0..6).rev().map(|number| number.to_string()).collect(),
            "SET" => (1..=32).rev().map(|bits| ((1_u64 << bits) - 1).to_string()).collect(),
            _ => Vec::new(),
        }
    }
}

/// Flags that are on go off, and the other way round. Those that a server does not let be changed are not
/// among them.
fn flipped(flags: &str) -> String {
    let flip = |flag: &str| match flag.split_once('=') {
        Some((name, "on")) => format!("{name}=off"),
        Some((name, _)) => format!("{name}=on"),
        None => flag.to_owned(),
    };
    let fixed = ["hypergraph_optimizer", "engine_condition_pushdown"];
    let flags = flags.split(',').filter(|flag| !fixed.iter().any(|name| flag.starts_with(name)));
    flags.map(flip).collect::<Vec<_>>().join(",")
}
