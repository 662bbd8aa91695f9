//! Committed mode on a source and its replica, with a daemon beside each: every event is handed on by
//! one of them and never by both, whatever the format of the binary log. Single servers in difficult
//! conditions stand in committed_servers.rs.

use super::consumers::workers::{add, pending, until_settled, worker};
use harness::outbox::until_empty;
use harness::{Kind, Message, Site, eventually};
use rowcall_mysql::{Connection, Options};
use std::collections::HashSet;
use std::net::TcpListener;

on_each_server!(
    a_replica_hands_on_nothing_until_it_is_promoted_statement,
    a_replica_hands_on_nothing_until_it_is_promoted_mixed,
    a_replica_hands_on_nothing_until_it_is_promoted_row,
);

/// Rounds of every way to publish.
const ROUNDS: usize = 20;

/// Events that a consumer has settled before the promotion.
const SETTLED: usize = 3;

fn a_replica_hands_on_nothing_until_it_is_promoted_statement(kind: Kind) {
    each_event_once(kind, "STATEMENT");
}

fn a_replica_hands_on_nothing_until_it_is_promoted_mixed(kind: Kind) {
    each_event_once(kind, "MIXED");
}

fn a_replica_hands_on_nothing_until_it_is_promoted_row(kind: Kind) {
    each_event_once(kind, "ROW");
}

fn each_event_once(kind: Kind, format: &str) {
    let Some(mut pair) = Pair::start(kind, format) else { return };
    if format == "STATEMENT" {
        pair.source.daemon().child.says("binlog_format is STATEMENT");
    }
    let mut listener = pair.source.listener(&["shop.>"]);
    let mut far_listener = pair.replica.listener(&["shop.>"]);
    let mut sql = pair.source.connect();
    add(&pair.source, "kept", "shop.>", &["--backoff", "1ms"]);
    sql.query("CREATE TABLE orders (id INT PRIMARY KEY)").unwrap();
    sql.query(
        "CREATE TRIGGER o AFTER INSERT ON orders FOR EACH ROW CALL rowcall.publish('shop.order', NEW.id)",
    )
    .unwrap();
    let expected = publish_in_every_way(&mut sql);
    let mut ids = Vec::new();
    for payload in &expected {
        let event = listener.message();
        assert_eq!(event.text(), *payload);
        ids.push(unique_id(&event));
    }
    assert_eq!(ids.iter().collect::<HashSet<_>>().len(), ids.len());
    let mut worker = worker(&pair.source, "kept");
    for payload in &expected[..SETTLED] {
        let event = worker.message();
        assert_eq!(event.text(), *payload);
        worker.answer(&event, "+ACK");
    }
    let left = expected.len() - SETTLED;
    eventually("some are settled", || (pending(&mut sql) == left as u64).then_some(()));
    pair.until_equal("everything was handed on");
    assert!(rows(&mut sql).is_empty());
    listener.barrier();
    far_listener.barrier();
    assert_eq!(pair.source.daemon().varz()["outbox"]["handed_on"], expected.len());
    let far = pair.replica.daemon().varz()["outbox"].clone();
    assert_eq!((&far["state"], &far["handed_on"]), (&"waiting".into(), &0.into()));
    assert!(far["why"].as_str().unwrap().contains("read-only"), "{far}");

    // The source's daemon ends, and then the source: what waits is on the replica, and is handed on there.
    pair.source.daemon().stop();
    let waiting = publish(&mut sql, 10 * ROUNDS);
    pair.until_equal("what waits is there as well");
    assert_eq!(rows(&mut pair.replica_connection()).len(), waiting.len());
    pair.promote();
    pair.replica.daemon().child.says("outbox: reading");
    pair.replica_connection().query("CALL rowcall.publish('shop.new', 'on the new source')").unwrap();
    for payload in waiting.iter().map(String::as_str).chain(["on the new source"]) {
        assert_eq!(far_listener.heard(), payload);
    }
    // So is what waits for a consumer: exactly what was not settled on the old source.
    let mut worker = self::worker(&pair.replica, "kept");
    let mut ids = ids[SETTLED..].iter();
    for payload in expected[SETTLED..].iter().chain(&waiting).map(String::as_str).chain(["on the new source"])
    {
        let event = worker.message();
        assert_eq!(event.text(), payload);
        assert!(ids.next().is_none_or(|id| unique_id(&event) == *id), "a repetition has the same id");
        worker.answer(&event, "+ACK");
    }
    until_settled(&mut pair.replica_connection());
}

/// By itself, by a trigger, in a transaction; and rolled back in between. Gives what is to be heard.
fn publish_in_every_way(sql: &mut Connection) -> Vec<String> {
    (0..ROUNDS).flat_map(|round| publish(sql, 10 * round)).collect()
}

fn publish(sql: &mut Connection, first: usize) -> Vec<String> {
    let number = |n: usize| (first + n).to_string();
    let statements = [
        format!("CALL rowcall.publish('shop.call', '{}')", number(1)),
        format!("INSERT INTO orders VALUES ({}), ({})", number(2), number(3)),
        "START TRANSACTION".to_owned(),
        format!("INSERT INTO orders VALUES ({})", number(4)),
        "CALL rowcall.publish('shop.call', 'rolled back')".to_owned(),
        "ROLLBACK".to_owned(),
        "START TRANSACTION".to_owned(),
        format!("CALL rowcall.publish_with('shop.call', '{0}', 'Rowcall-Key: {0}')", number(5)),
        format!("INSERT INTO orders VALUES ({})", number(6)),
        "COMMIT".to_owned(),
    ];
    for statement in statements {
        sql.query(&statement).unwrap_or_else(|error| panic!("{statement}: {error}"));
    }
    [1, 2, 3, 5, 6].map(number).to_vec()
}

/// What no other event has, and each repetition of this one.
fn unique_id(event: &Message) -> String {
    let id = event.headers.lines().find_map(|line| line.strip_prefix("Nats-Msg-Id: "));
    id.expect("every event has one").to_owned()
}

/// What waits in the outbox.
fn rows(sql: &mut Connection) -> Vec<rowcall_mysql::Row> {
    sql.query("SELECT id, subject, payload, headers, created_at FROM rowcall.outbox ORDER BY id")
        .unwrap()
        .rows
}

/// What waits for consumers, and since when.
fn kept(sql: &mut Connection) -> Vec<rowcall_mysql::Row> {
    let columns = "consumer, position, id, subject, payload, headers, created_at, uncommitted_us";
    sql.query(format!("SELECT {columns} FROM rowcall.pending ORDER BY consumer, position")).unwrap().rows
}

/// A source and its replica. Each has the functions and a daemon; schema and account reach the
/// replica through the binary log.
struct Pair {
    source: Site,
    replica: Site,
    marks: u32,
}

impl Pair {
    fn start(kind: Kind, format: &str) -> Option<Pair> {
        let port = free_port().to_string();
        let source = Site::committed_with(kind, &texts(&server_arguments(1, format, &port)))?;
        let arguments = server_arguments(2, format, &free_port().to_string());
        let replica = Site::with_server_arguments(kind, &texts(&arguments))?;
        let mut sql = source.connect();
        sql.query("CREATE TABLE mark (number INT PRIMARY KEY)").unwrap();
        let file = std::fs::read_to_string(source.outbox_file()).unwrap();
        let sockets = [&source, &replica].map(|site| site.server.socket.display().to_string());
        std::fs::write(replica.outbox_file(), file.replace(&sockets[0], &sockets[1])).unwrap();
        follow(&mut sql, &mut connect(&replica), kind, &port);
        let mut pair = Pair { source, replica, marks: 0 };
        pair.until_equal("the schema is there");
        pair.replica.start_committed_daemon_until("read-only");
        Some(pair)
    }

    fn replica_connection(&self) -> Connection {
        connect(&self.replica)
    }

    /// Waits until the replica has done everything that the source has done, and compares them. What
    /// the source's daemon has under way is waited for as well.
    fn until_equal(&mut self, what: &str) {
        let (mut sql, mut far) = (self.source.connect(), self.replica_connection());
        if self.source.daemon().child.is_running() {
            until_empty(&mut sql);
        }
        self.marks += 1;
        sql.query(format!("INSERT INTO mark VALUES ({})", self.marks)).unwrap();
        let mark = format!("SELECT number FROM test.mark WHERE number = {}", self.marks);
        eventually(what, || {
            self.assert_replicating(&mut far);
            far.query(&mark).is_ok_and(|outcome| !outcome.rows.is_empty()).then_some(())
        });
        assert_eq!((rows(&mut sql), kept(&mut sql)), (rows(&mut far), kept(&mut far)));
    }

    fn assert_replicating(&self, far: &mut Connection) {
        let table = match self.replica.server.kind {
            Kind::MariaDb => "SHOW SLAVE STATUS",
            _ => "SHOW REPLICA STATUS",
        };
        let status = far.query(table).unwrap().rows;
        let text = |value: &Option<Vec<u8>>| {
            String::from_utf8_lossy(value.as_deref().unwrap_or_default()).into_owned()
        };
        let status: Vec<String> = status[0].iter().map(text).collect();
        // The columns are the same on both: what runs, and the last error of the applier.
        assert!(status[10] != "No" && status[11] == "Yes" && status[19].is_empty(), "{status:?}");
    }

    fn promote(&mut self) {
        let kind = self.replica.server.kind;
        let mut far = self.replica_connection();
        let statements = match kind {
            Kind::MariaDb => ["STOP SLAVE", "RESET SLAVE ALL"],
            _ => ["STOP REPLICA", "RESET REPLICA ALL"],
        };
        for statement in statements {
            far.query(statement).unwrap();
        }
        // On MySQL this takes super_read_only with it.
        far.query("SET GLOBAL read_only = 0").unwrap();
    }
}

/// Lets a server that is as it was made follow another one at this port, from the beginning of its log.
pub(super) fn follow(sql: &mut Connection, far: &mut Connection, kind: Kind, port: &str) {
    sql.query("CREATE USER replicator@127.0.0.1 IDENTIFIED BY 'secret'").unwrap();
    sql.query("GRANT REPLICATION SLAVE ON *.* TO replicator@127.0.0.1").unwrap();
    let [change, start] = match kind {
        Kind::MariaDb => [
            format!(
                "CHANGE MASTER TO master_host = '127.0.0.1', master_port = {port}, master_user = 'replicator', \
                 master_password = 'secret', master_log_file = 'changes.000001', master_log_pos = 4"
            ),
            "START SLAVE".to_owned(),
        ],
        _ => [
            format!(
                "CHANGE REPLICATION SOURCE TO source_host = '127.0.0.1', source_port = {port}, \
                 source_user = 'replicator', source_password = 'secret', get_source_public_key = 1, \
                 source_log_file = 'changes.000001', source_log_pos = 4"
            ),
            "START REPLICA".to_owned(),
        ],
    };
    far.query(change).unwrap();
    far.query(format!("SET GLOBAL {} = 1", read_only(kind))).unwrap();
    far.query(start).unwrap();
}

/// What makes a server read-only for its administrators as well, where that can be.
fn read_only(kind: Kind) -> &'static str {
    if kind == Kind::MariaDb { "read_only" } else { "super_read_only" }
}

/// A connection that creates nothing, unlike the harness's.
fn connect(site: &Site) -> Connection {
    Connection::connect(&Options { database: None, ..site.server.options() }).unwrap()
}

/// The arguments of a server that keeps its log for others, and may follow them.
pub(super) fn server_arguments(id: u32, format: &str, port: &str) -> [String; 7] {
    [
        format!("--server-id={id}"),
        format!("--binlog-format={format}"),
        format!("--port={port}"),
        "--log-bin=changes".into(),
        "--log-slave-updates".into(),
        "--skip-networking=0".into(),
        "--bind-address=127.0.0.1".into(),
    ]
}

/// A port that was free a moment ago: the servers cannot choose one themselves.
pub(super) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn texts(arguments: &[String]) -> Vec<&str> {
    arguments.iter().map(String::as_str).collect()
}
