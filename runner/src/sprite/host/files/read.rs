//! Reading a file, whole or a range of it.
//!
//! Invariant: an answer says how long it is and holds exactly that much of one file, or the connection breaks; a range is of the
//! file that its `ETag` names, as long as the client asks with `If-Range`.

use std::{fs::File, io, ops::Range, os::unix::fs::FileExt};

use axum::{
    body::{Body, Bytes},
    extract::{Path, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use futures::stream;
use rustix::{
    fs::{FileType, OFlags, Stat, fstat},
    io::Errno,
};
use serde::Deserialize;

use super::{Host, Parameters, blocking, find};
use crate::sprite::host::{
    error::{Failure, FileError},
    place::kind,
    resolve::{LastLink, Parents},
};

const CHUNK_BYTES: u64 = 256 << 10;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::sprite::host) struct ReadQuery {
    path: String,
    working_dir: Option<String>,
}

/// `GET /fs/read`.
pub(in crate::sprite::host) async fn read(
    State(host): State<Host>,
    Path(name): Path<String>,
    Parameters(query): Parameters<ReadQuery>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let sprite = host.store.get(&name)?;
    let asked = blocking(move || {
        let place = find(
            &sprite,
            &query.path,
            query.working_dir.as_deref(),
            LastLink::Follow,
            Parents::MustExist,
        )?;
        let errno = |errno| FileError::from_errno(&query.path, errno);
        // Without O_NONBLOCK a FIFO would hold the thread for ever.
        let fd = place.open(OFlags::RDONLY | OFlags::NONBLOCK).map_err(errno)?;
        let stat = fstat(&fd).map_err(errno)?;
        match kind(&stat) {
            FileType::RegularFile => {}
            FileType::Directory => return Err(errno(Errno::ISDIR)),
            _ => return Err(FileError::invalid(&query.path, "it is not a regular file")),
        }
        let (file, size, tag) = (
            File::from(fd),
            u64::try_from(stat.st_size).unwrap_or(0),
            tag(&stat),
        );
        let Some(part) = part(&headers, size, &tag) else {
            return Ok(Err((query.path, size)));
        };
        let mut rest = part.clone().unwrap_or(0..size);
        let first = chunk(&file, &mut rest).map_err(|error| FileError::from_io(&query.path, &error))?;
        Ok(Ok((file, size, tag, part, first, rest)))
    })
    .await?;
    let (file, size, tag, part, first, rest) = match asked {
        Ok(found) => found,
        Err((path, size)) => return Ok(unsatisfiable(&path, size)),
    };
    let length = part.as_ref().map_or(size, |part| part.end - part.start);
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        (header::CONTENT_LENGTH, length.to_string()),
        (header::ACCEPT_RANGES, "bytes".to_owned()),
        (header::ETAG, tag),
    ];
    let body = if rest.is_empty() {
        Body::from(first)
    } else {
        Body::from_stream(following(first, file, rest))
    };
    Ok(match part {
        None => (headers, body).into_response(),
        Some(part) => {
            let range = format!("bytes {}-{}/{size}", part.start, part.end - 1);
            let range = [(header::CONTENT_RANGE, range)];
            (StatusCode::PARTIAL_CONTENT, headers, range, body).into_response()
        }
    })
}

/// The part of a file of `size` bytes that is asked for: all of it is `Some(None)`, one that is not there `None`.
#[allow(clippy::option_option)]
fn part(headers: &HeaderMap, size: u64, tag: &str) -> Option<Option<Range<u64>>> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let Some(asked) = text(header::RANGE) else {
        return Some(None);
    };
    if text(header::IF_RANGE).is_some_and(|expected| expected != tag) {
        return Some(None);
    }
    match range(asked, size) {
        Asked::Whole => Some(None),
        Asked::Part(part) => Some(Some(part)),
        Asked::Nothing => None,
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Asked {
    Whole,
    Part(Range<u64>),
    Nothing,
}

/// Reads a `Range` header after RFC 9110, section 14: what is not understood, and more than one range, means the whole file.
fn range(header: &str, size: u64) -> Asked {
    let bounds = header
        .strip_prefix("bytes=")
        .and_then(|set| set.trim().split_once('-'));
    let Some((first, last)) = bounds else {
        return Asked::Whole;
    };
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| text.parse().unwrap_or(u64::MAX))
    };
    let part = match (number(first), number(last)) {
        (Some(first), None) if last.is_empty() => first..size,
        (Some(first), Some(last)) if first <= last => first..size.min(last.saturating_add(1)),
        (None, Some(length)) if first.is_empty() => {
            if length == 0 {
                return Asked::Nothing;
            }
            size.saturating_sub(length)..size
        }
        _ => return Asked::Whole,
    };
    if part.start >= size {
        return Asked::Nothing;
    }
    Asked::Part(part)
}

/// Names this content of this file: another one, and every change, has another tag.
fn tag(stat: &Stat) -> String {
    format!(
        "\"{:x}-{:x}-{:x}.{:x}\"",
        stat.st_ino, stat.st_size, stat.st_mtime, stat.st_mtime_nsec
    )
}

fn unsatisfiable(path: &str, size: u64) -> Response {
    let message = format!("the file has {size} bytes; the range lies behind them");
    let range = [(header::CONTENT_RANGE, format!("bytes */{size}"))];
    let (_, body) = FileError::invalid(path, message).into_response().into_parts();
    let content_type = [(header::CONTENT_TYPE, "application/json")];
    (StatusCode::RANGE_NOT_SATISFIABLE, content_type, range, body).into_response()
}

/// The next chunk of `rest`, which is taken off it. A file that has become too short is an error, which breaks the answer
/// off and so tells the client.
fn chunk(file: &File, rest: &mut Range<u64>) -> io::Result<Bytes> {
    let length = (rest.end - rest.start).min(CHUNK_BYTES);
    let mut chunk = vec![0; usize::try_from(length).unwrap_or(0)];
    file.read_exact_at(&mut chunk, rest.start)?;
    rest.start += length;
    Ok(chunk.into())
}

/// The first chunk and then the rest, a chunk at a time.
fn following(first: Bytes, file: File, rest: Range<u64>) -> impl futures::Stream<Item = io::Result<Bytes>> {
    stream::unfold((Some(first), file, rest), |(first, file, mut rest)| async move {
        if let Some(first) = first {
            return Some((Ok(first), (None, file, rest)));
        }
        if rest.is_empty() {
            return None;
        }
        let read = tokio::task::spawn_blocking(move || {
            let read = chunk(&file, &mut rest);
            (read, file, rest)
        });
        match read.await {
            Ok((read, file, mut rest)) => {
                if read.is_err() {
                    rest = 0..0;
                }
                Some((read, (None, file, rest)))
            }
            // The runtime is going down.
            Err(_) => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_http_means_them() {
        let cases = [
            ("bytes=0-0", Asked::Part(0..1)),
            ("bytes=2-4", Asked::Part(2..5)),
            ("bytes=7-", Asked::Part(7..10)),
            ("bytes=7-99", Asked::Part(7..10)),
            ("bytes=0-18446744073709551615", Asked::Part(0..10)),
            ("bytes=-3", Asked::Part(7..10)),
            ("bytes=-99", Asked::Part(0..10)),
            ("bytes=-0", Asked::Nothing),
            ("bytes=10-", Asked::Nothing),
            ("bytes=99999999999999999999999-", Asked::Nothing),
            ("bytes=4-2", Asked::Whole),
            ("bytes=0-1,3-4", Asked::Whole),
            ("bytes=-", Asked::Whole),
            ("bytes=+1-2", Asked::Whole),
            ("lines=1-2", Asked::Whole),
        ];
        for (header, asked) in cases {
            assert_eq!(range(header, 10), asked, "{header}");
        }
        assert_eq!(range("bytes=0-", 0), Asked::Nothing);
    }
}
