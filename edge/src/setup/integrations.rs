//! Creating and editing integrations. Secrets are sealed here and never leave again.

use roost_shared::IntegrationId;
use serde::{Deserialize, Serialize};

use super::{edit, enabled, json};
use crate::{
    config::{Config, secrets_row},
    db::Scope,
    edge::Edge,
    error::ApiError,
    ingress::sweep,
    integration::{Integration, Secrets, Settings},
    outbox::{github::hooks::has_webhooks, health},
};

/// An integration as a person enters it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IntegrationDraft {
    /// Its name in URLs: lower-case letters, digits and `-`; fixed once created.
    pub name: String,
    /// What may be shown.
    pub settings: Settings,
    /// What may not. Needed to create; when editing, nothing keeps what is stored.
    #[serde(default)]
    pub secrets: Option<Secrets>,
    /// Whether it takes deliveries and sends effects.
    #[serde(default = "enabled")]
    pub enabled: bool,
}

/// Creates an integration.
///
/// # Errors
/// 400 when the draft makes no sense, 409 `name_taken`.
pub async fn create_integration(
    edge: &Edge,
    scope: &Scope,
    draft: IntegrationDraft,
) -> Result<Integration, ApiError> {
    let secrets = draft
        .secrets
        .as_ref()
        .ok_or_else(|| ApiError::invalid("a new integration needs its secrets"))?;
    check_integration(&draft, Some(secrets))?;
    let id = IntegrationId::new(edge.now(), edge.entropy());
    let sealed = seal(edge, id, secrets)?;
    let batch = vec![
        scope.guard(
            "name_taken",
            "SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM integrations WHERE workspace_id = ?1 AND name = ?2)",
            [draft.name.as_str().into()],
        ),
        scope.sql(
            "INSERT INTO integrations (workspace_id, id, name, enabled, settings, secrets, created_at, updated_at) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?7)",
            [
                id.into(),
                draft.name.as_str().into(),
                draft.enabled.into(),
                json(&draft.settings)?,
                sealed.into(),
                edge.now().into(),
            ],
        ),
        Config::bump(scope),
    ];
    edit(
        scope,
        batch,
        "an integration of that name exists already; choose another name",
    )
    .await?;
    Ok(Integration {
        id,
        name: draft.name,
        enabled: draft.enabled,
        settings: draft.settings,
    })
}

/// Changes an integration; its name and channel stay. If its sending was paused, it is resumed.
///
/// # Errors
/// 400 when the draft makes no sense, 404 when there is no such integration.
pub async fn update_integration(
    edge: &Edge,
    scope: &Scope,
    id: IntegrationId,
    draft: IntegrationDraft,
) -> Result<Integration, ApiError> {
    check_integration(&draft, draft.secrets.as_ref())?;
    let config = edge.configs.reload(scope).await?;
    let stored = config
        .by_id(id)
        .ok_or_else(|| ApiError::not_found("integration"))?;
    if stored.integration.name != draft.name
        || stored.integration.settings.channel() != draft.settings.channel()
    {
        return Err(ApiError::invalid(
            "an integration keeps its name and channel; create another one instead",
        ));
    }
    let sealed = draft
        .secrets
        .as_ref()
        .map(|secrets| seal(edge, id, secrets))
        .transpose()?;
    let mut batch = vec![
        sweep::edited(scope, id, edge.now()),
        scope.sql(
            "UPDATE integrations SET enabled = ?3, settings = ?4, secrets = coalesce(?5, secrets), updated_at = ?6 \
             WHERE workspace_id = ?1 AND id = ?2",
            [id.into(), draft.enabled.into(), json(&draft.settings)?, sealed.into(), edge.now().into()],
        ),
        Config::bump(scope),
    ];
    // Whoever changes it wants to see whether that helped.
    batch.extend(health::resumed(scope, id, edge.now()));
    scope.write(batch).await?;
    Ok(Integration {
        id,
        name: draft.name,
        enabled: draft.enabled,
        settings: draft.settings,
    })
}

fn seal(edge: &Edge, id: IntegrationId, secrets: &Secrets) -> Result<String, ApiError> {
    let plain = serde_json::to_vec(secrets).map_err(|error| ApiError::invalid(error.to_string()))?;
    Ok(edge
        .sealer
        .seal(edge.ports.random.as_ref(), &secrets_row(id), &plain)?)
}

/// Whether the text can be a credential in a header or a path: printable ASCII.
fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| matches!(byte, b' '..=b'~'))
}

fn check_integration(draft: &IntegrationDraft, secrets: Option<&Secrets>) -> Result<(), ApiError> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if draft.name.is_empty() || draft.name.len() > 40 || !draft.name.chars().all(plain) {
        return Err(ApiError::invalid(
            "an integration's name is 1 to 40 lower-case letters, digits and `-`",
        ));
    }
    let api_url = match &draft.settings {
        Settings::Github(settings) => Some(&settings.api_url),
        Settings::Telegram(settings) => Some(&settings.api_url),
        Settings::Generic(settings) => settings.reply_url.as_ref(),
    };
    if let Some(url) = api_url
        && !(url.starts_with("https://") || url.starts_with("http://"))
    {
        return Err(ApiError::invalid(format!(
            "{url:?} is no address; it begins with https://"
        )));
    }
    if let Settings::Github(settings) = &draft.settings
        && let Some(wrong) = settings.repositories.iter().find(|name| !has_webhooks(name))
    {
        return Err(ApiError::invalid(format!(
            "{wrong:?} is no repository and no organisation; a repository is written owner/name"
        )));
    }
    match (&draft.settings, secrets) {
        (_, None) => Ok(()),
        (
            Settings::Github(_),
            Some(Secrets::Github {
                webhook_secret,
                private_key,
                token,
            }),
        ) => {
            if webhook_secret.is_empty() {
                return Err(ApiError::invalid(
                    "GitHub's webhook secret is empty; set one on both sides",
                ));
            }
            if token.as_deref().is_some_and(|token| !is_token(token)) {
                return Err(ApiError::invalid(
                    "GitHub's token has other characters in it than a token has; copy it again, whole",
                ));
            }
            if private_key.is_none() && token.is_none() {
                return Err(ApiError::invalid(
                    "to answer on GitHub, enter the App's private key or a token",
                ));
            }
            Ok(())
        }
        (
            Settings::Telegram(_),
            Some(Secrets::Telegram {
                secret_token,
                bot_token,
            }),
        ) => {
            let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
            if secret_token.is_empty() || secret_token.len() > 256 || !secret_token.chars().all(allowed) {
                return Err(ApiError::invalid(
                    "Telegram's secret token is 1 to 256 of A-Z a-z 0-9 _ -",
                ));
            }
            if !is_token(bot_token) {
                return Err(ApiError::invalid(
                    "the bot token is empty, or has other characters in it than a token has; @BotFather gives one",
                ));
            }
            Ok(())
        }
        (Settings::Generic(_), Some(Secrets::Generic { signing })) => {
            if signing.is_empty() || signing.iter().any(|secret| secret.len() < 8) {
                return Err(ApiError::invalid(
                    "a generic webhook needs a signing secret of at least 8 characters",
                ));
            }
            Ok(())
        }
        (settings, Some(_)) => Err(ApiError::invalid(format!(
            "these are not the secrets of a {} integration",
            settings.channel()
        ))),
    }
}
