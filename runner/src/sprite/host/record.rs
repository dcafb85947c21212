//! What is written down of a sprite: `sprite.json`.
//!
//! Invariant: the file is always one whole version. It is replaced by a rename after its bytes are on the disk, so a host
//! that is killed at any moment finds the settings before a change or those after it.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io,
    path::Path,
};

use serde::{Deserialize, Serialize};

use super::{error::ApiError, policy::Policies};
use crate::{
    random::hex_id,
    sprite::wire_sprites::{CreateSprite, SpriteConfig, UpdateSprite, UrlSettings},
};

const SPRITE_FILE: &str = "sprite.json";
/// Bounds of what is kept per sprite; they are read on every listing.
const MAX_LABELS: usize = 64;
const MAX_LABEL_BYTES: usize = 256;
const MAX_ENVIRONMENT_BYTES: usize = 64 << 10;

/// What never changes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Record {
    /// Unique for ever, also when the name is used again.
    pub(super) id: String,
    pub(super) name: String,
    pub(super) created_at: String,
    /// Environment of every command, besides the host's defaults.
    #[serde(default)]
    pub(super) environment: BTreeMap<String, String>,
    /// The user outside that it runs as, when the host runs as root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) user: Option<u32>,
    /// The user that it was made by, where the host did not run as root then; some checkpoints know no other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) former: Option<u32>,
    /// The size it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) config: Option<SpriteConfig>,
}

/// What an update may change.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Settings {
    #[serde(default)]
    pub(super) labels: Vec<String>,
    /// Who may use its URL.
    #[serde(default)]
    pub(super) url_settings: UrlSettings,
    /// What it may do.
    #[serde(default)]
    pub(super) policies: Policies,
    /// The last change.
    #[serde(default)]
    pub(super) updated_at: String,
}

impl Settings {
    /// Whether anybody may use the sprite's URL.
    pub(super) fn is_public(&self) -> bool {
        self.url_settings.auth.as_deref() == Some("public")
    }

    /// These settings with a change, if it is one that a sprite can have.
    pub(super) fn with(&self, change: UpdateSprite) -> Result<Self, ApiError> {
        let mut settings = self.clone();
        if let Some(labels) = change.labels {
            settings.labels = labels;
        }
        if let Some(url) = change.url_settings {
            settings.url_settings.auth = url.auth.or(settings.url_settings.auth);
            settings.url_settings.private_access =
                url.private_access.or(settings.url_settings.private_access);
        }
        settings.updated_at = jiff::Timestamp::now().to_string();
        settings.check()?;
        Ok(settings)
    }

    fn check(&self) -> Result<(), ApiError> {
        let labels = &self.labels;
        if labels.len() > MAX_LABELS || labels.iter().any(|label| label.len() > MAX_LABEL_BYTES) {
            return Err(ApiError::bad_request(
                "a sprite has at most 64 labels of at most 256 bytes",
            ));
        }
        let url = &self.url_settings;
        match url.auth.as_deref() {
            None | Some("public" | "sprite") => {}
            Some(_) => {
                return Err(ApiError::bad_request(
                    "auth of url_settings must be public or sprite",
                ));
            }
        }
        match url.private_access.as_deref() {
            None | Some("admins" | "org_users") => Ok(()),
            Some(_) => Err(ApiError::bad_request(
                "private_access of url_settings must be admins or org_users",
            )),
        }
    }
}

/// What `sprite.json` holds.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Written {
    #[serde(flatten)]
    pub(super) record: Record,
    #[serde(flatten)]
    pub(super) settings: Settings,
}

impl Written {
    /// A new sprite, as it was asked for.
    pub(super) fn new(request: CreateSprite) -> Result<Self, ApiError> {
        check_name(&request.name)?;
        if !matches!(request.runtime.as_deref(), None | Some("default" | "dev")) {
            return Err(ApiError::bad_request("runtime must be default or dev"));
        }
        let environment = &request.environment;
        let bytes: usize = environment
            .iter()
            .map(|(key, value)| key.len() + value.len())
            .sum();
        let unfit = |(key, value): (&String, &String)| {
            key.is_empty() || key.contains(['=', '\0']) || value.contains('\0')
        };
        if bytes > MAX_ENVIRONMENT_BYTES || environment.iter().any(unfit) {
            return Err(ApiError::bad_request(
                "the environment is larger than 64 KiB, or has a name or value that no environment can have",
            ));
        }
        let created_at = jiff::Timestamp::now().to_string();
        let settings = Settings {
            url_settings: UrlSettings {
                auth: Some("sprite".into()),
                private_access: None,
            },
            ..Settings::default()
        };
        let mut settings = settings.with(UpdateSprite {
            url_settings: request.url_settings,
            labels: Some(request.labels),
        })?;
        settings.updated_at.clone_from(&created_at);
        let record = Record {
            id: hex_id(),
            name: request.name,
            created_at,
            environment: request.environment,
            user: None,
            former: None,
            config: request.config,
        };
        Ok(Self { record, settings })
    }

    /// Reads it from a sprite's directory. Blocks.
    pub(super) fn read(dir: &Path) -> io::Result<Self> {
        Ok(serde_json::from_slice(&fs::read(dir.join(SPRITE_FILE))?)?)
    }

    /// Puts it into a sprite's directory, durably. Blocks.
    pub(super) fn write(&self, dir: &Path) -> io::Result<()> {
        let new = dir.join("sprite.json.new");
        let file = File::create(&new)?;
        serde_json::to_writer_pretty(&file, self)?;
        file.sync_all()?;
        fs::rename(&new, dir.join(SPRITE_FILE))?;
        File::open(dir)?.sync_all()
    }
}

/// Names are one path component and one DNS label: lower case letters, digits and `-`, at most 63.
fn check_name(name: &str) -> Result<(), ApiError> {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let edges = !name.starts_with('-') && !name.ends_with('-');
    if (1..=63).contains(&name.len()) && name.bytes().all(fits) && edges {
        return Ok(());
    }
    let message = "a sprite's name has 1 to 63 lower case letters, digits and inner hyphens";
    Err(ApiError::new(
        axum::http::StatusCode::BAD_REQUEST,
        "invalid_sprite_name",
        message,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_be_paths_are_refused() {
        for bad in ["", ".", "..", "a/b", "A", "a_b", "-a", "a-", "ä", &"a".repeat(64)] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
        for good in ["a", "agent-7", &"a".repeat(63)] {
            assert!(check_name(good).is_ok(), "{good}");
        }
    }

    #[test]
    fn an_update_changes_what_it_names_and_is_there_after_it_was_written() {
        let dir = tempfile::tempdir().unwrap();
        let request = CreateSprite {
            name: "a".into(),
            labels: vec!["one".into()],
            ..CreateSprite::default()
        };
        let mut written = Written::new(request).unwrap();
        assert!(!written.settings.is_public());
        let public = UpdateSprite {
            url_settings: Some(UrlSettings {
                auth: Some("public".into()),
                private_access: None,
            }),
            labels: None,
        };
        written.settings = written.settings.with(public).unwrap();
        written.write(dir.path()).unwrap();
        let read = Written::read(dir.path()).unwrap();
        assert_eq!(read.settings, written.settings);
        assert!(read.settings.is_public() && read.settings.labels == ["one"]);
        let nonsense = UpdateSprite {
            url_settings: Some(UrlSettings {
                auth: Some("everybody".into()),
                private_access: None,
            }),
            labels: None,
        };
        assert!(read.settings.with(nonsense).is_err());
    }
}
