//! The admin in a real browser: everything a person does there, from signing in to signing out.

use std::{process::Command, time::Duration};

use roost_edge::{
    auth::token::{Audience, Tokens},
    edge::DEFAULT_WORKSPACE,
    host::native::{self, DatabaseAddress},
};
use roost_tests::{office::Office, toolbox};
use xtask::browser::CHROMIUM;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_sets_up_watches_a_run_and_cancels_one() {
    let toolbox = toolbox();
    let modules = toolbox
        .node_modules()
        .unwrap_or_else(|failure| panic!("{failure}"));
    let directory = tempfile::tempdir().expect("a directory");
    let office = Office::open(&DatabaseAddress::File(directory.path().join("roost.db"))).await;
    let edge = office.edge.clone();
    let claims = Tokens::claims(
        Audience::Login,
        edge.token_id(),
        DEFAULT_WORKSPACE,
        "a user",
        edge.now(),
        Duration::from_secs(60),
    );
    let code = edge.tokens.issue(&claims).expect("a code");

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let address = format!("http://{}", listener.local_addr().expect("an address"));
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let served = tokio::spawn(native::serve(listener, edge, async move {
        let _ = stopped.await;
    }));

    let mut person = Command::new(toolbox.node().expect("a node"));
    person
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/js/admin.mjs"))
        .args([&address, &format!("{address}/admin/login?code={code}")])
        .env("NODE_MODULES", modules)
        .env("CHROMIUM", CHROMIUM);
    let output = tokio::task::spawn_blocking(move || person.output())
        .await
        .expect("the script runs")
        .expect("node runs");
    stop.send(()).expect("the edge still serves");
    served.await.expect("the edge ends").expect("the socket is fine");
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}
