//! The script, the style sheet and the icon: built in, and kept by browsers for as long as they stay the same.

use std::sync::LazyLock;

use axum::{
    extract::Path,
    response::{IntoResponse, Response},
};
use http::{
    HeaderMap, HeaderValue, StatusCode,
    header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH},
};
use sha2::{Digest, Sha256};

use crate::error::ApiError;

/// A file that is built in.
pub(super) struct Asset {
    name: &'static str,
    kind: &'static str,
    content: &'static str,
    hash: LazyLock<String>,
}

macro_rules! asset {
    ($name:literal, $kind:literal) => {
        Asset {
            name: $name,
            kind: $kind,
            content: include_str!(concat!("assets/", $name)),
            hash: LazyLock::new(|| {
                hex::encode(&Sha256::digest(include_str!(concat!("assets/", $name)))[..8])
            }),
        }
    };
}

/// The style sheet.
pub(super) static STYLE: Asset = asset!("admin.css", "text/css; charset=utf-8");
/// The script.
pub(super) static SCRIPT: Asset = asset!("admin.js", "text/javascript; charset=utf-8");
/// The icon.
pub(super) static ICON: Asset = asset!("icon.svg", "image/svg+xml");

impl Asset {
    /// Its address, which changes when its content does.
    pub(super) fn url(&self) -> String {
        format!("/admin/assets/{}?v={}", self.name, *self.hash)
    }
}

/// `GET /admin/assets/{name}`: the only thing below `/admin` that is the same for everybody.
pub(super) async fn serve(Path(name): Path<String>, headers: HeaderMap) -> Result<Response, ApiError> {
    let asset = [&STYLE, &SCRIPT, &ICON]
        .into_iter()
        .find(|asset| asset.name == name)
        .ok_or_else(|| ApiError::not_found("file"))?;
    let tag = format!("\"{}\"", *asset.hash);
    let known = headers
        .get(IF_NONE_MATCH)
        .is_some_and(|known| known.as_bytes() == tag.as_bytes());
    let headers = [
        (
            CACHE_CONTROL,
            HeaderValue::from_static("public, max-age=31536000, immutable"),
        ),
        (CONTENT_TYPE, HeaderValue::from_static(asset.kind)),
        (
            ETAG,
            HeaderValue::from_str(&tag).unwrap_or(HeaderValue::from_static("\"\"")),
        ),
    ];
    Ok(if known {
        (StatusCode::NOT_MODIFIED, headers).into_response()
    } else {
        (headers, asset.content).into_response()
    })
}
