//! Parts of files over the API, and the errors of file requests as clients read them.

use reqwest::{Client, Method, Response, StatusCode};
use serde_json::Value;

use crate::{
    fixture::TOKEN,
    trees::{ask, sprite},
};

#[tokio::test]
async fn ranges_are_parts_of_the_file_and_errors_are_what_the_clients_read() {
    let (_dir, host, sprite) = sprite().await;
    let bytes: Vec<u8> = (0..=255).cycle().take(700_000).collect();
    sprite.write("big", bytes.clone(), None).await.unwrap();
    // Across the chunks the host reads in, and over the end.
    for range in [0..1, 262_143..262_146, 100..600_000, 699_999..900_000] {
        let (start, end) = (
            usize::try_from(range.start).unwrap(),
            usize::try_from(range.end).unwrap(),
        );
        let read = sprite.read_range("big", range).await.unwrap();
        assert!(read == bytes[start..end.min(bytes.len())], "{start}..{end}");
    }
    let url = format!(
        "{}/v1/sprites/agent-7/fs/read?path=big&workingDir=/home/sprite",
        host.base
    );
    let get = |headers: Vec<(&'static str, String)>| {
        let request = Client::new().get(&url).bearer_auth(TOKEN);
        headers
            .into_iter()
            .fold(request, |request, (name, value)| request.header(name, value))
            .send()
    };
    let header = |response: &Response, name: &str| response.headers()[name].to_str().unwrap().to_owned();
    let whole = get(vec![]).await.unwrap();
    assert_eq!(
        (header(&whole, "accept-ranges").as_str(), whole.status()),
        ("bytes", StatusCode::OK)
    );
    let tag = header(&whole, "etag");
    let last = get(vec![("range", "bytes=-5".into()), ("if-range", tag.clone())])
        .await
        .unwrap();
    assert_eq!(last.status(), StatusCode::PARTIAL_CONTENT);
    assert_eq!(header(&last, "content-range"), "bytes 699995-699999/700000");
    assert!(last.bytes().await.unwrap() == bytes[699_995..]);
    let behind = get(vec![("range", "bytes=700000-".into())]).await.unwrap();
    assert_eq!(behind.status(), StatusCode::RANGE_NOT_SATISFIABLE);
    assert_eq!(header(&behind, "content-range"), "bytes */700000");
    assert_eq!(behind.json::<Value>().await.unwrap()["code"], "EINVAL");
    // Another content since: all of it, not a part that fits nothing.
    sprite.write("big", "short", None).await.unwrap();
    let changed = get(vec![("range", "bytes=-5".into()), ("if-range", tag)])
        .await
        .unwrap();
    assert_eq!(
        (changed.status(), changed.bytes().await.unwrap()),
        (StatusCode::OK, "short".into())
    );

    let home = "workingDir=/home/sprite";
    let cases = [
        (
            Method::GET,
            format!("read?path=nope&{home}"),
            404,
            "ENOENT",
            "nope",
        ),
        (Method::GET, format!("read?path=.&{home}"), 400, "EISDIR", "."),
        (
            Method::GET,
            format!("read?path=big/x&{home}"),
            400,
            "ENOTDIR",
            "big/x",
        ),
        (Method::GET, "read".into(), 400, "EINVAL", ""),
        (
            Method::GET,
            format!("list?path=nope&{home}"),
            404,
            "ENOENT",
            "nope",
        ),
        (
            Method::DELETE,
            format!("delete?path=nope&{home}&recursive=true"),
            404,
            "ENOENT",
            "nope",
        ),
        (
            Method::DELETE,
            "delete?path=sprite&workingDir=/home".into(),
            409,
            "ENOTEMPTY",
            "sprite",
        ),
        (
            Method::DELETE,
            "delete?path=/usr&recursive=true".into(),
            403,
            "EACCES",
            "/usr",
        ),
        (Method::PUT, "write?path=/usr/x".into(), 403, "EACCES", "/usr/x"),
        (
            Method::PUT,
            format!("write?path=x&mode=0999&{home}"),
            400,
            "EINVAL",
            "x",
        ),
        (Method::POST, "rename".into(), 400, "EINVAL", ""),
        (
            Method::GET,
            "read?path=../../../x".into(),
            403,
            "EACCES",
            "../../../x",
        ),
    ];
    for (method, target, status, code, path) in cases {
        let response = ask(&host, method, &target, None).await;
        assert_eq!(response.status(), status, "{target}");
        let body: Value = response.json().await.unwrap();
        assert_eq!(
            (body["code"].as_str(), body["path"].as_str()),
            (Some(code), Some(path)),
            "{target}"
        );
        assert!(
            body["error"].as_str().is_some_and(|message| !message.is_empty()),
            "{target}"
        );
    }
    host.stop().await;
}
