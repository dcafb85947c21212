//! The ingress conformance suite on every host: real processes, a real libSQL server.

use roost_edge::host::native::DatabaseAddress;
use roost_tests::{
    RoostProcess, Sqld, WasmtimeServe, Workerd,
    conformance::{self, Target},
    office::{MASTER_KEY, Office},
};
use tokio::sync::Mutex;

/// A libSQL server with an office on it.
async fn server() -> (Sqld, Office) {
    let sqld = Sqld::start().await;
    let office = Office::open(&DatabaseAddress::Server {
        url: sqld.url(),
        token: None,
    })
    .await;
    conformance::prepare(&office).await;
    (sqld, office)
}

/// What every host is told by its environment.
fn variables(database: &str) -> [(&str, &str); 3] {
    [
        ("ROOST_DATABASE_URL", database),
        ("ROOST_MASTER_KEY", MASTER_KEY),
        ("ROOST_PUBLIC_URL", "http://127.0.0.1"),
    ]
}

/// The suite and an outage, for an edge on a libSQL server.
async fn conforms(name: &str, url: &str, office: &Office, sqld: Sqld) {
    let target = Target { name, url, office };
    conformance::run(&target).await;
    let sqld = Mutex::new(sqld);
    let stop = async || sqld.lock().await.kill();
    let start = async || sqld.lock().await.restart().await;
    conformance::survives_an_outage(&target, stop, start).await;
}

#[tokio::test]
async fn native_edge_with_its_embedded_database() {
    let directory = tempfile::tempdir().unwrap();
    let database = directory.path().join("roost.db");
    let office = Office::open(&DatabaseAddress::File(database.clone())).await;
    conformance::prepare(&office).await;
    let database = database.display().to_string();
    let mut edge = RoostProcess::start(&["edge", "--listen", "127.0.0.1:0"], &variables(&database));
    let url = edge.address().await;
    conformance::run(&Target {
        name: "native, embedded",
        url: &url,
        office: &office,
    })
    .await;
}

#[tokio::test]
async fn native_edge_on_a_libsql_server() {
    let (sqld, office) = server().await;
    let database = sqld.url();
    let mut edge = RoostProcess::start(&["edge", "--listen", "127.0.0.1:0"], &variables(&database));
    let url = edge.address().await;
    conforms("native, libSQL server", &url, &office, sqld).await;
}

#[tokio::test]
async fn worker_on_workerd() {
    let (sqld, office) = server().await;
    let database = sqld.url();
    let edge = Workerd::start(&variables(&database)).await;
    conforms("workerd, libSQL server", edge.url(), &office, sqld).await;
}

#[tokio::test]
async fn spin_component_on_wasmtime() {
    let (sqld, office) = server().await;
    let database = sqld.url();
    let edge = WasmtimeServe::start(&variables(&database)).await;
    conforms("wasmtime, libSQL server", edge.url(), &office, sqld).await;
}
