//! The ingress conformance suite on every host: real processes, a real libSQL server.

use roost_edge::host::native::DatabaseAddress;
use roost_tests::{
    Sqld,
    conformance::{self, Target},
    office::Office,
};

#[tokio::test]
async fn tmp_in_process() {
    let directory = tempfile::tempdir().unwrap();
    let office = Office::open(&DatabaseAddress::File(directory.path().join("roost.db"))).await;
    conformance::prepare(&office).await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = office.edge.router();
    tokio::spawn(async move { axum::serve(listener, router).await });
    conformance::run(&Target {
        name: "tmp",
        url: &url,
        office: &office,
    })
    .await;
}
#[tokio::test]
async fn tmp_in_process_sqld() {
    let sqld = Sqld::start().await;
    let office = Office::open(&DatabaseAddress::Server {
        url: sqld.url(),
        token: None,
    })
    .await;
    conformance::prepare(&office).await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = office.edge.router();
    tokio::spawn(async move { axum::serve(listener, router).await });
    let target = Target {
        name: "tmp",
        url: &url,
        office: &office,
    };
    conformance::run(&target).await;
    let sqld = tokio::sync::Mutex::new(sqld);
    conformance::survives_an_outage(
        &target,
        async || sqld.lock().await.kill(),
        async || sqld.lock().await.restart().await,
    )
    .await;
}
