//! The master key, and what is signed with it: tokens, and one-time codes to sign in. No database is needed.

use std::{fs, io, path::Path, time::Duration};

use roost_edge::{
    auth::{
        keys::MasterKey,
        token::{Audience, Claims, Tokens},
    },
    edge::DEFAULT_WORKSPACE,
};
use roost_shared::{TokenId, UnixMillis};
use serde::Serialize;

use crate::{cli::Failure, clock::now, config::Config, random};

/// The workspace that `roost migrate` creates.
pub const WORKSPACE: &str = DEFAULT_WORKSPACE;

/// The master key's file in a data directory.
pub const KEY_FILE: &str = "master.key";

/// The code of the failure when no master key is configured.
pub const NO_MASTER_KEY: &str = "no_master_key";

/// How long a code to sign in is good.
const CODE_GOOD_FOR: Duration = Duration::from_secs(600);

/// How long a token is good that a command makes for itself.
const COMMAND_GOOD_FOR: Duration = Duration::from_secs(300);

const DAY: Duration = Duration::from_secs(86_400);

/// What a token may be made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// Leasing runs and writing their journals.
    Runner,
    /// The public API.
    Api,
}

/// Who a token is for.
#[derive(Debug, Clone, Copy)]
pub struct Holder<'a> {
    /// The workspace it is good in.
    pub workspace: &'a str,
    /// The holder's name.
    pub name: &'a str,
}

/// A token that was made.
#[derive(Clone, Serialize)]
pub struct Minted {
    /// The token itself.
    pub token: String,
    /// Its id, by which it can be revoked.
    pub id: TokenId,
    /// Milliseconds since the epoch until which it is good.
    pub expires_at: UnixMillis,
}

/// A link that signs somebody in, once.
#[derive(Clone, Serialize)]
pub struct Login {
    /// The whole link.
    pub url: String,
    /// The code in it.
    pub code: String,
    /// Milliseconds since the epoch until which it is good.
    pub expires_at: UnixMillis,
}

/// The configured master key, or the one in the data directory.
///
/// # Errors
/// When there is none, or what is there is none.
pub fn master_key(config: &Config, data: Option<&Path>) -> Result<MasterKey, Failure> {
    if let Some(key) = &config.edge.master_key {
        return parse(key.expose(), "the configured master key");
    }
    if let Some(file) = &config.edge.master_key_file {
        let text = fs::read_to_string(file).map_err(|error| {
            Failure::usage(
                "master_key_unreadable",
                format!("{} can't be read: {error}", file.display()),
            )
        })?;
        return parse(&text, &file.display().to_string());
    }
    match data.map(in_data_directory).transpose()?.flatten() {
        Some(key) => Ok(key),
        None => Err(Failure::usage(
            NO_MASTER_KEY,
            "there is no master key: make one with `openssl rand -base64 32`, keep it safe, and give it by ROOST_MASTER_KEY \
             or --master-key-file",
        )),
    }
}

/// The key that lies in a data directory, if one does.
fn in_data_directory(data: &Path) -> Result<Option<MasterKey>, Failure> {
    let file = data.join(KEY_FILE);
    match fs::read_to_string(&file) {
        Ok(text) => parse(&text, &file.display().to_string()).map(Some),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => {
            let message = format!("{} can't be read: {error}", file.display());
            Err(Failure::usage("master_key_unreadable", message))
        }
    }
}

fn parse(text: &str, what: &str) -> Result<MasterKey, Failure> {
    MasterKey::parse(text).map_err(|error| Failure::usage("master_key_invalid", format!("{what}: {error}")))
}

/// Makes a token.
///
/// # Errors
/// When it can't be signed.
pub fn token(master: &MasterKey, purpose: Use, holder: Holder<'_>, days: u32) -> Result<Minted, Failure> {
    let audience = match purpose {
        Use::Runner => Audience::Runner,
        Use::Api => Audience::Api,
    };
    let (token, claims) = issue(master, audience, holder, DAY * days)?;
    Ok(Minted {
        token,
        id: claims.jti,
        expires_at: UnixMillis(claims.exp * 1000),
    })
}

/// Makes a token for the public API that one command needs: it is good for five minutes.
///
/// # Errors
/// When it can't be signed.
pub fn passing(master: &MasterKey, holder: Holder<'_>) -> Result<String, Failure> {
    Ok(issue(master, Audience::Api, holder, COMMAND_GOOD_FOR)?.0)
}

/// Makes a link that signs somebody in at the edge reached at `edge_url`, once, within ten minutes.
///
/// # Errors
/// When it can't be signed.
pub fn login(master: &MasterKey, edge_url: &str, holder: Holder<'_>) -> Result<Login, Failure> {
    let (code, claims) = issue(master, Audience::Login, holder, CODE_GOOD_FOR)?;
    Ok(Login {
        url: format!("{}/admin/login?code={code}", edge_url.trim_end_matches('/')),
        code,
        expires_at: UnixMillis(claims.exp * 1000),
    })
}

fn issue(
    master: &MasterKey,
    audience: Audience,
    holder: Holder<'_>,
    span: Duration,
) -> Result<(String, Claims), Failure> {
    let id = TokenId::new(now(), random::bytes());
    let claims = Tokens::claims(audience, id, holder.workspace, holder.name, now(), span);
    let token = Tokens::new(master.clone())
        .issue(&claims)
        .map_err(|error| Failure::failed("token_not_signed", error))?;
    Ok((token, claims))
}
