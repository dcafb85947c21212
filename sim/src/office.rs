//! The office every simulation begins with: a workspace, one agent, GitHub and Telegram; and tokens for the runners and a person.

use std::{sync::Arc, time::Duration};

use roost_edge::{
    auth::token::{Audience, Tokens},
    config::Rule,
    db::migrate::migrate,
    edge::{DEFAULT_WORKSPACE, Edge},
    integration::{GithubSettings, Secrets, Settings, TelegramSettings},
    setup::{self, AgentDraft, IntegrationDraft, SubscriptionDraft},
};
use roost_shared::{
    agent::{LaneRules, RunLimits},
    sprite::SpriteOwner,
};

use crate::{
    chance::Chance,
    edge_host::{self, Skew},
    sender::SECRET,
    store::Store,
    world::SimError,
};

/// How long tokens are good: longer than any simulation.
const TOKEN_GOOD_FOR: Duration = Duration::from_secs(86_400);

/// The tokens of those who call the edges.
pub struct OfficeTokens {
    /// The runners'.
    pub runners: String,
    /// The person's.
    pub person: String,
}

/// Sets the workspace up by an edge without a network, which is also what the end is read by.
///
/// # Errors
/// When the store fails.
pub async fn set_up(seed: u64, store: &Store) -> Result<(Arc<Edge>, OfficeTokens), SimError> {
    let store = Arc::new(store.clone());
    let chance = Chance::new(seed, "office");
    let edge = edge_host::edge(store.clone(), store, chance, Skew::default())?;
    let now = edge.now();
    migrate(&edge.ports.database, now).await?;
    setup::ensure_workspace(&edge.ports.database, DEFAULT_WORKSPACE, now).await?;
    let scope = edge.scope(DEFAULT_WORKSPACE);
    let agent = AgentDraft {
        handle: "bird".into(),
        name: "Bird".into(),
        persona: String::new(),
        model: "scripted/demo".into(),
        tools: Vec::new(),
        sprite: SpriteOwner::Agent,
        lane: LaneRules::default(),
        limits: RunLimits::default(),
        enabled: true,
    };
    let agent = setup::create_agent(&edge, &scope, agent)
        .await
        .map_err(SimError::Setup)?;
    for draft in [github(), telegram()] {
        let integration = setup::create_integration(&edge, &scope, draft)
            .await
            .map_err(SimError::Setup)?;
        let draft = SubscriptionDraft {
            agent: agent.id,
            integration: integration.id,
            rule: Rule::Any,
        };
        setup::subscribe(&edge, &scope, &draft)
            .await
            .map_err(SimError::Setup)?;
    }
    let issue = |audience, name| {
        let claims = Tokens::claims(
            audience,
            edge.token_id(),
            DEFAULT_WORKSPACE,
            name,
            now,
            TOKEN_GOOD_FOR,
        );
        edge.tokens.issue(&claims).map_err(SimError::Token)
    };
    let tokens = OfficeTokens {
        runners: issue(Audience::Runner, "runners")?,
        person: issue(Audience::Api, "a person")?,
    };
    Ok((edge, tokens))
}

fn github() -> IntegrationDraft {
    IntegrationDraft {
        name: "github".into(),
        settings: Settings::Github(GithubSettings {
            api_url: "http://github".into(),
            app_id: None,
            bot_login: "bird[bot]".into(),
            repositories: Vec::new(),
        }),
        secrets: Some(Secrets::Github {
            webhook_secret: SECRET.into(),
            private_key: None,
            token: Some("a-token".into()),
        }),
        enabled: true,
    }
}

fn telegram() -> IntegrationDraft {
    IntegrationDraft {
        name: "telegram".into(),
        settings: Settings::Telegram(TelegramSettings {
            api_url: "http://telegram".into(),
            bot_username: "bird_bot".into(),
            members: Vec::new(),
            keep_webhook: false,
        }),
        secrets: Some(Secrets::Telegram {
            secret_token: SECRET.into(),
            bot_token: "1:x".into(),
        }),
        enabled: true,
    }
}
