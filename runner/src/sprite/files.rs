//! The files of a sprite, over the API's file endpoints.
//!
//! Invariant: relative paths resolve in the sprite's home directory on every host, because each request names it; a failed
//! operation is [`SpriteError::File`] with its POSIX kind, and a write replaces the whole file or leaves it as it was.

use bytes::Bytes;
use reqwest::{Method, Url};

use super::{
    Sprite, SpriteError,
    answer::{json, limited},
    wire::{FileEntry, FileErrorKind, FileList, RenameFile},
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
            .header(reqwest::header::CONTENT_TYPE, "application/octet-stream")
            .body(content.into());
        self.sprites().send_file(request, path).await.map(drop)
    }

    /// The entries of a directory by name, or the one entry of a file.
    pub async fn list(&self, path: &str) -> Result<Vec<FileEntry>, SpriteError> {
        let request = self.sprites().request(Method::GET, self.file_url("list", path));
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
        let request = self
            .sprites()
            .request(Method::POST, self.url(&["fs", "rename"]))
            .json(&body);
        self.sprites().send_file(request, from).await.map(drop)
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

    fn file_url(&self, operation: &str, path: &str) -> Url {
        let mut url = self.url(&["fs", operation]);
        url.query_pairs_mut()
            .append_pair("path", path)
            .append_pair("workingDir", HOME);
        url
    }
}
