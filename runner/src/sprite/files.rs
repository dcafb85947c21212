//! The files of a sprite, over the API's file endpoints.
//!
//! Invariant: relative paths resolve in the sprite's home directory on every host, because each request names it; a failed
//! operation is [`SpriteError::File`] with its POSIX kind, and a write replaces the whole file or leaves it as it was.

use std::ops::Range;

use bytes::Bytes;
use reqwest::{Method, StatusCode, Url, header};
use serde::Serialize;

use super::{
    Sprite, SpriteError,
    answer::{json, limited},
    wire_files::{ChangeMode, CopyFile, FileEntry, FileErrorKind, FileList, RenameFile},
};

/// Where relative paths start; the home directory of the user that commands run as, on Fly and on our host.
pub const HOME: &str = "/home/sprite";

/// How much [`Sprite::read`] returns at most, in bytes.
pub const MAX_READ_BYTES: usize = 64 << 20;

impl Sprite {
    /// The bytes of a file; at most [`MAX_READ_BYTES`], else [`SpriteError::TooLarge`].
    pub async fn read(&self, path: &str) -> Result<Bytes, SpriteError> {
        self.read_at_most(path, MAX_READ_BYTES).await
    }

    /// The bytes of a file that has at most `limit` of them, else [`SpriteError::TooLarge`].
    pub async fn read_at_most(&self, path: &str, limit: usize) -> Result<Bytes, SpriteError> {
        let request = self.sprites().request(Method::GET, self.file_url("read", path));
        let response = self.sprites().send_file(request, path).await?;
        limited(response, limit, || path.to_owned()).await
    }

    /// The bytes of a file in `range`, fewer where the file ends within it; at most [`MAX_READ_BYTES`], else
    /// [`SpriteError::TooLarge`]. A range that begins behind the end is [`FileErrorKind::Invalid`].
    pub async fn read_range(&self, path: &str, range: Range<u64>) -> Result<Bytes, SpriteError> {
        let wanted = usize::try_from(range.end.saturating_sub(range.start)).unwrap_or(usize::MAX);
        if wanted > MAX_READ_BYTES {
            let (what, limit) = (path.to_owned(), MAX_READ_BYTES);
            return Err(SpriteError::TooLarge { what, limit });
        }
        if wanted == 0 {
            return Ok(Bytes::new());
        }
        let request = self
            .sprites()
            .request(Method::GET, self.file_url("read", path))
            .header(header::RANGE, format!("bytes={}-{}", range.start, range.end - 1));
        let response = self.sprites().send_file(request, path).await?;
        if response.status() == StatusCode::PARTIAL_CONTENT {
            return limited(response, wanted, || path.to_owned()).await;
        }
        // A host without ranges sends the whole file.
        let whole = limited(response, MAX_READ_BYTES, || path.to_owned()).await?;
        let start = usize::try_from(range.start)
            .unwrap_or(usize::MAX)
            .min(whole.len());
        Ok(whole.slice(start..whole.len().min(start.saturating_add(wanted))))
    }

    /// Writes a whole file, creating its parent directories. `mode`: permission bits; `None` keeps those of a file that
    /// exists and gives a new one 0644.
    pub async fn write(
        &self,
        path: &str,
        content: impl Into<Bytes>,
        mode: Option<u32>,
    ) -> Result<(), SpriteError> {
        let mut url = self.file_url("write", path);
        url.query_pairs_mut().append_pair("mkdirParents", "true");
        if let Some(mode) = mode {
            url.query_pairs_mut().append_pair("mode", &format!("{mode:04o}"));
        }
        let request = self
            .sprites()
            .request(Method::PUT, url)
            .header(header::CONTENT_TYPE, "application/octet-stream")
            .body(content.into());
        self.sprites().send_file(request, path).await.map(drop)
    }

    /// The entries of a directory by name, or the one entry of a file.
    pub async fn list(&self, path: &str) -> Result<Vec<FileEntry>, SpriteError> {
        let request = self.sprites().request(Method::GET, self.file_url("list", path));
        let list: FileList = json(self.sprites().send_file(request, path).await?).await?;
        Ok(list.entries)
    }

    /// Everything below a directory, with names relative to it, in the order of their paths.
    pub async fn list_all(&self, path: &str) -> Result<Vec<FileEntry>, SpriteError> {
        let mut url = self.file_url("list", path);
        url.query_pairs_mut().append_pair("recursive", "true");
        let request = self.sprites().request(Method::GET, url);
        let list: FileList = json(self.sprites().send_file(request, path).await?).await?;
        Ok(list.entries)
    }

    /// Removes a file or an empty directory.
    pub async fn remove(&self, path: &str) -> Result<(), SpriteError> {
        let request = self
            .sprites()
            .request(Method::DELETE, self.file_url("delete", path));
        self.sprites().send_file(request, path).await.map(drop)
    }

    /// Removes a file or a directory with everything in it.
    pub async fn remove_all(&self, path: &str) -> Result<(), SpriteError> {
        let mut url = self.file_url("delete", path);
        url.query_pairs_mut().append_pair("recursive", "true");
        let request = self.sprites().request(Method::DELETE, url);
        self.sprites().send_file(request, path).await.map(drop)
    }

    /// Moves a file or directory; what is at `to` is replaced if it is a file.
    pub async fn rename(&self, from: &str, to: &str) -> Result<(), SpriteError> {
        let body = RenameFile {
            source: from.to_owned(),
            dest: to.to_owned(),
            working_dir: Some(HOME.to_owned()),
        };
        self.order("rename", from, &body).await
    }

    /// Copies a file, or a directory with everything in it; a file that is at `to` is replaced, a directory filled up.
    pub async fn copy(&self, from: &str, to: &str) -> Result<(), SpriteError> {
        let body = CopyFile {
            source: from.to_owned(),
            dest: to.to_owned(),
            working_dir: Some(HOME.to_owned()),
            recursive: true,
            preserve_attrs: false,
        };
        self.order("copy", from, &body).await
    }

    /// Sets the permission bits of a file or directory.
    pub async fn set_mode(&self, path: &str, mode: u32) -> Result<(), SpriteError> {
        let body = ChangeMode {
            path: path.to_owned(),
            working_dir: Some(HOME.to_owned()),
            mode: format!("{mode:04o}"),
            recursive: false,
        };
        self.order("chmod", path, &body).await
    }

    /// Makes a directory and its parents; one that exists is a success.
    ///
    /// The API has no call for it: a marker file is written into the directory and taken away again.
    pub async fn mkdir(&self, path: &str) -> Result<(), SpriteError> {
        let marker = format!("{}/.keep", path.trim_end_matches('/'));
        match self.list(&marker).await {
            // Somebody's own file of that name: the directory is there, leave it alone.
            Ok(_) => return Ok(()),
            Err(SpriteError::File {
                kind: FileErrorKind::NotFound,
                ..
            }) => {}
            Err(error) => return Err(error),
        }
        self.write(&marker, Bytes::new(), None).await?;
        self.remove(&marker).await
    }

    async fn order(&self, operation: &str, path: &str, body: &impl Serialize) -> Result<(), SpriteError> {
        let request = self
            .sprites()
            .request(Method::POST, self.url(&["fs", operation]))
            .json(body);
        self.sprites().send_file(request, path).await.map(drop)
    }

    fn file_url(&self, operation: &str, path: &str) -> Url {
        let mut url = self.url(&["fs", operation]);
        url.query_pairs_mut()
            .append_pair("path", path)
            .append_pair("workingDir", HOME);
        url
    }
}
