//! The started programs are the real ones and come back as they were left.

#![allow(clippy::unwrap_used)]

use roost_tests::Sqld;
use serde_json::{Value, json};

#[tokio::test]
async fn a_killed_libsql_server_comes_back_with_what_it_stored() {
    let mut server = Sqld::start().await;
    execute(&server, "CREATE TABLE kept (word TEXT)").await.unwrap();
    execute(&server, "INSERT INTO kept VALUES ('still here')")
        .await
        .unwrap();

    server.kill();
    assert!(
        execute(&server, "SELECT 1").await.is_err(),
        "a killed server answers nobody"
    );

    server.restart().await;
    let answer = execute(&server, "SELECT word FROM kept").await.unwrap();
    assert_eq!(
        answer["results"][0]["response"]["result"]["rows"][0][0]["value"],
        "still here"
    );
}

async fn execute(server: &Sqld, sql: &str) -> reqwest::Result<Value> {
    let body = json!({ "requests": [{ "type": "execute", "stmt": { "sql": sql } }, { "type": "close" }] });
    let url = format!("{}/v3/pipeline", server.url());
    reqwest::Client::new()
        .post(url)
        .json(&body)
        .send()
        .await?
        .error_for_status()?
        .json()
        .await
}
