//! The sprites' own addresses: whom they answer, what a server inside sees of it, and WebSockets through them.

use reqwest::{Client, StatusCode, header};
use roost_runner::sprite::{
    Exec, Sprite,
    host::{HostConfig, Isolation},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::fixture::{PATIENCE, Running, TOKEN, read_until, sh};

/// A web server on port 8080 that answers with the request it saw; or, asked to upgrade, echoes in capitals.
const SERVER: &str = r#"
use IO::Socket::INET; $| = 1; select undef, undef, undef, $ARGV[0] // 0;
my $server = IO::Socket::INET->new(Listen => 9, LocalAddr => "127.0.0.1", LocalPort => 8080, ReuseAddr => 1) or die $!;
print "up\n";
while (my $peer = $server->accept) {
  next if fork;
  my $seen = "";
  while ($seen !~ /\r\n\r\n/) { sysread($peer, $seen, 65536, length $seen) or exit }
  my ($length) = $seen =~ /content-length: (\d+)/i;
  my $head = index($seen, "\r\n\r\n") + 4;
  while (length($seen) < $head + ($length // 0)) { sysread($peer, $seen, 65536, length $seen) or exit }
  if ($seen =~ /upgrade: shout/i) {
    syswrite $peer, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: shout\r\n\r\n";
    while (sysread($peer, my $data, 65536)) { syswrite $peer, uc $data }
    exit;
  }
  syswrite $peer, "HTTP/1.1 418 Teapot\r\nX-Inside: yes\r\nConnection: close, X-Gone\r\nX-Gone: 1\r\nContent-Length: " . length($seen) . "\r\n\r\n$seen";
  exit;
}
"#;

/// A host whose sprites have networks of their own, so that every one has a port 8080.
async fn walled() -> (tempfile::TempDir, Running, Sprite) {
    let dir = tempfile::tempdir().unwrap();
    let mut config = HostConfig::new(dir.path(), TOKEN, env!("CARGO_BIN_EXE_roost"));
    config.isolation = Isolation::Required;
    let host = Running::with(config).await;
    let sprite = host.sprites.ensure("agent-7").await.unwrap();
    (dir, host, sprite)
}

async fn server(sprite: &Sprite) -> Exec {
    let script = format!("exec perl -e '{SERVER}'");
    let mut exec = sprite.exec(sh(&script)).await.unwrap();
    read_until(&mut exec, "up").await;
    exec
}

fn get(host: &Running, name: &str, path: &str) -> reqwest::RequestBuilder {
    let port = host.base.rsplit(':').next().unwrap();
    Client::new()
        .get(format!("{}{path}", host.base))
        .header(header::HOST, format!("{name}.localhost:{port}"))
}

async fn publish(host: &Running, auth: &str) {
    let changed = Client::new()
        .put(format!("{}/v1/sprites/agent-7", host.base))
        .bearer_auth(TOKEN)
        .json(&json!({ "url_settings": { "auth": auth } }))
        .send()
        .await
        .unwrap();
    assert!(changed.status().is_success());
}

#[tokio::test]
async fn a_sprites_address_answers_its_owner_and_when_public_everybody() {
    let (_dir, host, sprite) = walled().await;
    let dead = get(&host, "agent-7", "/")
        .bearer_auth(TOKEN)
        .send()
        .await
        .unwrap();
    assert_eq!(dead.status(), StatusCode::BAD_GATEWAY);
    let dead: Value = dead.json().await.unwrap();
    assert_eq!(dead["error"], "sprite_port_unreachable");
    let _server = server(&sprite).await;

    // Strangers can't tell a sprite that is not public from one that does not exist.
    for name in ["agent-7", "absent"] {
        let refused = get(&host, name, "/").send().await.unwrap();
        assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
    }
    assert_eq!(
        get(&host, "absent", "/")
            .bearer_auth(TOKEN)
            .send()
            .await
            .unwrap()
            .status(),
        404
    );

    let owned = get(&host, "agent-7", "/v1/sprites?x=%20y")
        .bearer_auth(TOKEN)
        .header("te", "trailers")
        .header("cookie", "mine=1")
        .body("hello")
        .send()
        .await
        .unwrap();
    assert_eq!(
        (owned.status().as_u16(), owned.headers()["x-inside"].as_bytes()),
        (418, &b"yes"[..])
    );
    assert!(
        !owned.headers().contains_key("x-gone"),
        "that was between the host and the server"
    );
    let seen = owned.text().await.unwrap();
    assert!(seen.starts_with("GET /v1/sprites?x=%20y HTTP/1.1\r\n"), "{seen}");
    assert!(
        seen.contains("cookie: mine=1") && seen.contains("host: agent-7.localhost:"),
        "{seen}"
    );
    assert!(seen.ends_with("\r\n\r\nhello"), "{seen}");
    assert!(!seen.contains(TOKEN) && !seen.contains("trailers"), "{seen}");

    publish(&host, "public").await;
    let own = get(&host, "agent-7", "/")
        .bearer_auth("the server's own")
        .send()
        .await
        .unwrap();
    assert!(
        own.text()
            .await
            .unwrap()
            .contains("authorization: Bearer the server's own")
    );
    publish(&host, "sprite").await;
    assert_eq!(
        get(&host, "agent-7", "/").send().await.unwrap().status(),
        StatusCode::UNAUTHORIZED
    );
    // The API itself answers under its own name as before.
    assert_eq!(host.sprites.list("").await.unwrap().len(), 1);
    host.stop().await;
}

#[tokio::test]
async fn the_port_of_a_service_answers_instead_once_it_is_up() {
    let (_dir, host, _sprite) = walled().await;
    let server = SERVER.replace("8080", "9000");
    let service = json!({ "cmd": "perl", "args": ["-e", server, "0.5"], "http_port": 9000 });
    let defined = Client::new()
        .put(format!("{}/v1/sprites/agent-7/services/web", host.base))
        .bearer_auth(TOKEN)
        .json(&service)
        .send()
        .await
        .unwrap();
    assert!(defined.status().is_success());
    // Not up yet: the request waits for it.
    let answer = get(&host, "agent-7", "/")
        .bearer_auth(TOKEN)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status().as_u16(), 418);
    host.stop().await;
}

#[tokio::test]
async fn an_upgraded_connection_goes_through_and_keeps_the_sprite_running() {
    let (_dir, host, sprite) = walled().await;
    let server = server(&sprite).await;
    publish(&host, "public").await;
    let mut client = TcpStream::connect(host.base.strip_prefix("http://").unwrap())
        .await
        .unwrap();
    let request =
        "GET /ws HTTP/1.1\r\nHost: agent-7.localhost\r\nConnection: Upgrade\r\nUpgrade: shout\r\n\r\n";
    client.write_all(request.as_bytes()).await.unwrap();
    client.write_all(b"hello").await.unwrap();
    let mut seen = String::new();
    let mut buffer = [0; 1024];
    timeout(PATIENCE, async {
        while !seen.ends_with("HELLO") {
            let count = client.read(&mut buffer).await.unwrap();
            assert!(count > 0, "{seen}");
            seen.push_str(std::str::from_utf8(&buffer[..count]).unwrap());
        }
    })
    .await
    .unwrap();
    assert!(
        seen.starts_with("HTTP/1.1 101 ") && seen.to_lowercase().contains("upgrade: shout"),
        "{seen}"
    );
    assert_eq!(host.sprites.get("agent-7").await.unwrap().status, "running");
    drop(client);
    drop(server);
    host.stop().await;
}
