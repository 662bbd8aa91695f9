//! An official client (async-nats) speaks TLS with the daemon, unchanged.

use super::Scene;
use async_nats::{Client, ConnectOptions, RequestErrorKind};
use futures_util::StreamExt;
use harness::{Authority, PATIENCE};
use tokio::time::timeout;

async fn connect(scene: &Scene, options: ConnectOptions) -> Client {
    let options = options.add_root_certificates(scene.authority.file(scene.folder.path()));
    let port = scene.daemon.tcp.rsplit(':').next().unwrap();
    options.connect(format!("tls://localhost:{port}")).await.unwrap()
}

/// It publishes, hears, asks and is told that nobody is there, with the largest message there may be.
async fn talk(client: &Client) {
    let mut subscriber = client.subscribe("large").await.unwrap();
    let largest = vec![b'x'; 1 << 20];
    client.publish("large", largest.clone().into()).await.unwrap();
    let message = timeout(PATIENCE, subscriber.next()).await.unwrap().unwrap();
    assert!(message.payload == largest);
    let nobody = client.request("nobody.is.here", "".into()).await.unwrap_err();
    assert_eq!(nobody.kind(), RequestErrorKind::NoResponders);
}

#[tokio::test]
async fn speaks_after_the_greeting_or_from_the_first_byte() {
    for settings in ["", "tls = \"optional\""] {
        let scene = Scene::start(settings);
        talk(&connect(&scene, ConnectOptions::new().require_tls(true)).await).await;
        assert_eq!(scene.daemon.varz()["closed"]["refused"], 0);
    }
    let scene = Scene::start("tls = \"first\"");
    talk(&connect(&scene, ConnectOptions::new().tls_first()).await).await;
}

#[tokio::test]
async fn shows_a_certificate() {
    let (theirs, folder) = (Authority::new(), harness::folder());
    let scene = Scene::start(&format!("tls_client_ca = {:?}", theirs.file(folder.path())));
    let papers = theirs.papers(folder.path(), "client");
    let options = ConnectOptions::new().add_client_certificate(papers.certificate, papers.key);
    talk(&connect(&scene, options).await).await;
}

#[tokio::test]
async fn does_not_trust_a_stranger() {
    let scene = Scene::start("");
    let stranger = Authority::new().file(scene.folder.path());
    let options = ConnectOptions::new().add_root_certificates(stranger).require_tls(true);
    options.connect(&scene.daemon.tcp).await.unwrap_err();
    scene.ended("tls", 1);
}
