//! An official client (async-nats) works unchanged.

use async_nats::{
    Client, ConnectErrorKind, ConnectOptions, Event, HeaderMap, PublishErrorKind, RequestErrorKind,
    Subscriber,
};
use futures_util::StreamExt;
use harness::{Daemon, PATIENCE};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio::time::timeout;

/// Long enough for whatever is awaited to have come, were it to come at all.
const A_MOMENT: Duration = Duration::from_millis(100);

async fn connect(daemon: &Daemon) -> Client {
    async_nats::connect(&daemon.tcp).await.unwrap()
}

fn start() -> (Daemon, tempfile::TempDir) {
    let folder = harness::folder();
    (Daemon::start(&folder.path().join("rowcall.sock")), folder)
}

/// Waits until the daemon has done all that the client asked of it so far. (The client's own flush
/// only hands it to the kernel.)
async fn settled(client: &Client) {
    let nobody = client.request("nobody.is.here", "".into()).await.unwrap_err();
    assert_eq!(nobody.kind(), RequestErrorKind::NoResponders);
}

/// The next message's subject and payload.
async fn next(subscriber: &mut Subscriber) -> (String, String) {
    let message = timeout(PATIENCE, subscriber.next()).await.expect("it comes").expect("it is not the end");
    (message.subject.to_string(), String::from_utf8(message.payload.to_vec()).unwrap())
}

fn pair(subject: &str, payload: &str) -> (String, String) {
    (subject.to_owned(), payload.to_owned())
}

#[tokio::test]
async fn publishes_and_subscribes() {
    let (daemon, _folder) = start();
    let (here, there) = (connect(&daemon).await, connect(&daemon).await);
    let mut literal = here.subscribe("shop.orders").await.unwrap();
    let mut star = here.subscribe("shop.*").await.unwrap();
    let mut rest = here.subscribe("shop.>").await.unwrap();
    settled(&here).await;
    there.publish("shop.orders", "one".into()).await.unwrap();
    there.publish("shop.orders.new", "two".into()).await.unwrap();
    there.publish("shop.stock", "three".into()).await.unwrap();
    settled(&there).await;
    assert_eq!(next(&mut literal).await, pair("shop.orders", "one"));
    assert_eq!(next(&mut star).await, pair("shop.orders", "one"));
    assert_eq!(next(&mut star).await, pair("shop.stock", "three"));
    assert_eq!(next(&mut rest).await, pair("shop.orders", "one"));
    assert_eq!(next(&mut rest).await, pair("shop.orders.new", "two"));
    assert_eq!(next(&mut rest).await, pair("shop.stock", "three"));
    // A subscription for two messages ends after two.
    let mut two = here.subscribe("few").await.unwrap();
    two.unsubscribe_after(2).await.unwrap();
    settled(&here).await;
    for payload in ["one", "two", "three"] {
        there.publish("few", payload.into()).await.unwrap();
    }
    settled(&there).await;
    assert_eq!(next(&mut two).await, pair("few", "one"));
    assert_eq!(next(&mut two).await, pair("few", "two"));
    assert!(timeout(PATIENCE, two.next()).await.unwrap().is_none());
    assert_eq!(daemon.varz()["out_msgs"], 8);
}

#[tokio::test]
async fn shares_work_in_a_queue_group() {
    let (daemon, _folder) = start();
    let publisher = connect(&daemon).await;
    let (sender, mut done) = mpsc::unbounded_channel();
    for worker in 0..3 {
        let client = connect(&daemon).await;
        let mut jobs = client.queue_subscribe("jobs.*", "workers".into()).await.unwrap();
        settled(&client).await;
        let sender = sender.clone();
        tokio::spawn(async move {
            let _client = client;
            while let Some(job) = jobs.next().await {
                sender.send((worker, job.payload)).unwrap();
            }
        });
    }
    for n in 0..300 {
        publisher.publish(format!("jobs.{n}"), n.to_string().into()).await.unwrap();
    }
    let (mut counts, mut seen) = ([0; 3], [false; 300]);
    for _ in 0..300 {
        let (worker, payload) = timeout(PATIENCE, done.recv()).await.unwrap().unwrap();
        let n: usize = std::str::from_utf8(&payload).unwrap().parse().unwrap();
        counts[worker] += 1;
        assert!(!std::mem::replace(&mut seen[n], true), "{n} came twice");
    }
    assert!(counts.iter().all(|&count| count > 50), "{counts:?}");
}

#[tokio::test]
async fn asks_and_answers() {
    let (daemon, _folder) = start();
    let (asker, worker) = (connect(&daemon).await, connect(&daemon).await);
    // Nobody is there: the answer comes at once, not after the client's ten seconds.
    let request = async_nats::Request::new().timeout(None).payload("hi".into());
    let nobody = asker.send_request("echo", request).await.unwrap_err();
    assert_eq!(nobody.kind(), RequestErrorKind::NoResponders);
    assert_eq!(daemon.varz()["no_responders"], 1);
    let mut questions = worker.subscribe("echo").await.unwrap();
    settled(&worker).await;
    let answering = worker.clone();
    tokio::spawn(async move {
        while let Some(question) = questions.next().await {
            answering.publish(question.reply.unwrap(), question.payload).await.unwrap();
        }
    });
    for n in 0..100 {
        let answer = asker.request("echo", n.to_string().into()).await.unwrap();
        assert_eq!(answer.payload, n.to_string());
    }
    // Someone is there who does not answer: that is another error.
    let _silent = worker.subscribe("silent").await.unwrap();
    settled(&worker).await;
    let request = async_nats::Request::new().timeout(Some(A_MOMENT)).payload("hi".into());
    let error = asker.send_request("silent", request).await.unwrap_err();
    assert_eq!(error.kind(), RequestErrorKind::TimedOut);
}

#[tokio::test]
async fn carries_headers_and_keeps_to_the_largest_message() {
    let (daemon, _folder) = start();
    let client = connect(&daemon).await;
    assert_eq!((client.server_info().max_payload, client.server_info().headers), (1 << 20, true));
    let mut subscriber = client.subscribe("h").await.unwrap();
    let mut headers = HeaderMap::new();
    headers.insert("Nats-Msg-Id", "7");
    headers.append("Color", "green");
    headers.append("Color", "blue");
    client.publish_with_headers("h", headers, "body".into()).await.unwrap();
    let message = timeout(PATIENCE, subscriber.next()).await.unwrap().unwrap();
    let headers = message.headers.unwrap();
    assert_eq!(headers.get("Nats-Msg-Id").unwrap().as_str(), "7");
    let colors: Vec<_> = headers.get_all("Color").map(|value| value.as_str()).collect();
    assert_eq!((colors, &message.payload[..]), (vec!["green", "blue"], &b"body"[..]));
    let largest = vec![b'x'; 1 << 20];
    client.publish("h", largest.clone().into()).await.unwrap();
    let message = timeout(PATIENCE, subscriber.next()).await.unwrap().unwrap();
    assert!(message.payload == largest);
    let error = client.publish("h", vec![b'x'; (1 << 20) + 1].into()).await.unwrap_err();
    assert_eq!(error.kind(), PublishErrorKind::MaxPayloadExceeded);
}

#[tokio::test]
async fn drains() {
    let (daemon, _folder) = start();
    let (leaving, staying) = (connect(&daemon).await, connect(&daemon).await);
    let mut subscriber = leaving.subscribe("work").await.unwrap();
    settled(&leaving).await;
    for n in 0..100 {
        staying.publish("work", n.to_string().into()).await.unwrap();
    }
    settled(&staying).await;
    // What was on its way still comes, and then the end.
    leaving.drain().await.unwrap();
    for n in 0..100 {
        assert_eq!(next(&mut subscriber).await, pair("work", &n.to_string()));
    }
    assert!(timeout(PATIENCE, subscriber.next()).await.unwrap().is_none());
    let deadline = Instant::now() + PATIENCE;
    while daemon.varz()["connections"] != 1 {
        assert!(Instant::now() < deadline, "{}", daemon.varz());
        tokio::task::yield_now().await;
    }
    let error = staying.request("work", "more".into()).await.unwrap_err();
    assert_eq!(error.kind(), RequestErrorKind::NoResponders);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn comes_back_after_a_restart_and_still_listens() {
    let (mut daemon, _folder) = start();
    let (sender, mut events) = mpsc::unbounded_channel();
    let options = ConnectOptions::new().event_callback(move |event| {
        let sender = sender.clone();
        async move { drop(sender.send(event)) }
    });
    let client = options.connect(&daemon.tcp).await.unwrap();
    let mut happens = async |wanted: Event| {
        while timeout(PATIENCE, events.recv()).await.expect("it happens").unwrap() != wanted {}
    };
    happens(Event::Connected).await;
    let mut plain = client.subscribe("after.*").await.unwrap();
    let mut queued = client.queue_subscribe("after.*", "q".into()).await.unwrap();
    settled(&client).await;
    for abrupt in [false, true] {
        if abrupt {
            daemon.kill();
        } else {
            daemon.stop();
            // The client understands what the leaving server told it.
            happens(Event::LameDuckMode).await;
        }
        happens(Event::Disconnected).await;
        let (tcp, http) = (daemon.tcp.clone(), daemon.http.clone());
        daemon = Daemon::start_with(&daemon.socket, &["--listen", &tcp, "--http", &http]);
        happens(Event::Connected).await;
        settled(&client).await;
        let mut other = daemon.terminal().hello();
        other.send("PUB after.all 4\r\nback\r\n");
        assert_eq!(next(&mut plain).await, pair("after.all", "back"));
        assert_eq!(next(&mut queued).await, pair("after.all", "back"));
    }
}

#[tokio::test]
async fn logs_in() {
    let folder = harness::folder();
    let (key, file) = (nkeys::KeyPair::new_user(), folder.path().join("users.toml"));
    let guest = bcrypt::hash("guest", 4).unwrap();
    let users = format!(
        "[[users]]\nname = \"service\"\nnkey = \"{}\"\n[[users]]\nname = \"guest\"\npassword = \"{guest}\"\n\
         subscribe = {{ allow = [\"open.>\"] }}\n",
        key.public_key()
    );
    std::fs::write(&file, users).unwrap();
    let settings = format!("users = \"{}\"\nauth_timeout = \"60s\"\n", file.display());
    let daemon = Daemon::with_settings(folder.path(), &settings);
    let service = ConnectOptions::with_nkey(key.seed().unwrap()).connect(&daemon.tcp).await.unwrap();
    let (tell, mut told) = mpsc::unbounded_channel();
    let options = ConnectOptions::with_user_and_password("guest".into(), "guest".into());
    let options = options.event_callback(move |event| {
        let _ = tell.send(event.to_string());
        std::future::ready(())
    });
    let guest = options.connect(&daemon.tcp).await.unwrap();
    let mut open = guest.subscribe("open.>").await.unwrap();
    guest.subscribe("secret").await.unwrap();
    loop {
        let event = timeout(PATIENCE, told.recv()).await.expect("it comes").expect("it is not the end");
        if event.contains("Permissions Violation for Subscription to \"secret\"") {
            break;
        }
    }
    service.publish("open.a", "hi".into()).await.unwrap();
    assert_eq!(next(&mut open).await, pair("open.a", "hi"));
    let wrong = ConnectOptions::with_user_and_password("guest".into(), "wrong".into());
    let error = wrong.connect(&daemon.tcp).await.unwrap_err();
    assert_eq!(error.kind(), ConnectErrorKind::AuthorizationViolation, "{error}");
}
