//! Setting up what an edge finds in its database: a workspace with integrations and an agent, and tokens for it.
//!
//! It writes to the same database as the edge under test, as another edge of the same deployment would.

use std::{sync::Arc, time::Duration};

use roost_edge::{
    auth::{
        keys::MasterKey,
        token::{Audience, Tokens},
    },
    config::Rule,
    db::{Scope, migrate::migrate},
    edge::{DEFAULT_WORKSPACE, Edge, Settings},
    host::native::{self, DatabaseAddress},
    integration::{
        DigestEncoding, GenericSettings, GithubSettings, Secrets, Settings as ChannelSettings,
        SignatureScheme, TelegramSettings,
    },
    ports::Ports,
    setup::{self, AgentDraft, IntegrationDraft, SubscriptionDraft},
};
use roost_shared::{
    agent::{AgentSpec, LaneRules, RunLimits},
    sprite::SpriteOwner,
};

/// The master key of every edge under test, in base 64.
pub const MASTER_KEY: &str = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=";
/// The secret every integration's webhooks are signed with.
pub const SECRET: &str = "whsec_c2VjcmV0LWZvci10ZXN0cy1vbmx5";
/// The GitHub and Telegram bot's login.
pub const BOT: &str = "roost-test[bot]";

/// A set-up database.
pub struct Office {
    /// An edge of our own on the database.
    pub edge: Arc<Edge>,
    /// Its one workspace.
    pub scope: Scope,
}

/// Where the stand-ins of the channels listen, for integrations that answer.
#[derive(Debug, Clone)]
pub struct Channels {
    /// GitHub's API.
    pub github: String,
    /// Telegram's Bot API.
    pub telegram: String,
}

impl Default for Channels {
    /// Addresses nobody listens on: for tests that don't look at replies.
    fn default() -> Self {
        Self {
            github: "http://127.0.0.1:9".into(),
            telegram: "http://127.0.0.1:9".into(),
        }
    }
}

impl Office {
    /// Migrates the database and creates the workspace.
    ///
    /// # Panics
    /// When the database can't be reached.
    pub async fn open(address: &DatabaseAddress) -> Self {
        let ports = native::ports(address).expect("the database opens");
        Self::with(ports, Settings::new("http://127.0.0.1")).await
    }

    /// The same on these ports, with these settings.
    ///
    /// # Panics
    /// When the database can't be reached.
    pub async fn with(ports: Ports, settings: Settings) -> Self {
        let now = ports.clock.now();
        migrate(&ports.database, now).await.expect("the migrations apply");
        setup::ensure_workspace(&ports.database, DEFAULT_WORKSPACE, now)
            .await
            .expect("the workspace is created");
        let master = MasterKey::parse(MASTER_KEY).expect("a key");
        let edge = Edge::new(ports, settings, &master);
        let scope = edge.scope(DEFAULT_WORKSPACE);
        Self { edge, scope }
    }

    /// One integration per channel: `github`, `telegram`, `generic`, and `hmac` with a header of its own.
    ///
    /// # Panics
    /// When they exist already.
    pub async fn connect(&self, channels: &Channels) {
        let github = ChannelSettings::Github(GithubSettings {
            api_url: channels.github.clone(),
            app_id: None,
            bot_login: BOT.into(),
            repositories: Vec::new(),
        });
        let telegram = ChannelSettings::Telegram(TelegramSettings {
            api_url: channels.telegram.clone(),
            bot_username: "roost_test_bot".into(),
            members: Vec::new(),
            keep_webhook: false,
        });
        let generic = ChannelSettings::Generic(GenericSettings {
            signature: SignatureScheme::StandardWebhooks,
            reply_url: None,
        });
        let hmac = ChannelSettings::Generic(GenericSettings {
            signature: SignatureScheme::Hmac {
                header: "x-signature".into(),
                prefix: "sha256=".into(),
                encoding: DigestEncoding::Hex,
                id_header: None,
            },
            reply_url: None,
        });
        for (name, settings, secrets) in [
            (
                "github",
                github,
                Secrets::Github {
                    webhook_secret: SECRET.into(),
                    private_key: None,
                    token: Some("a GitHub token".into()),
                },
            ),
            (
                "telegram",
                telegram,
                Secrets::Telegram {
                    secret_token: SECRET.into(),
                    bot_token: "1:bot-token".into(),
                },
            ),
            (
                "generic",
                generic,
                Secrets::Generic {
                    signing: vec![SECRET.into()],
                },
            ),
            (
                "hmac",
                hmac,
                Secrets::Generic {
                    signing: vec![SECRET.into()],
                },
            ),
        ] {
            let draft = IntegrationDraft {
                name: name.into(),
                settings,
                secrets: Some(secrets),
                enabled: true,
            };
            setup::create_integration(&self.edge, &self.scope, draft)
                .await
                .expect("the integration is created");
        }
    }

    /// An agent that answers to `@handle`, with `model`, listening to mentions on all integrations.
    ///
    /// # Panics
    /// When it exists already.
    pub async fn employ(&self, handle: &str, model: &str) -> AgentSpec {
        let draft = AgentDraft {
            handle: handle.into(),
            name: handle.into(),
            persona: "You repair what is broken.".into(),
            model: model.into(),
            tools: Vec::new(),
            sprite: SpriteOwner::Agent,
            lane: LaneRules::default(),
            limits: RunLimits::default(),
            enabled: true,
        };
        let agent = setup::create_agent(&self.edge, &self.scope, draft)
            .await
            .expect("the agent is created");
        let config = self
            .edge
            .configs
            .reload(&self.scope)
            .await
            .expect("the set-up can be read");
        for stored in &config.integrations {
            let draft = SubscriptionDraft {
                agent: agent.id,
                integration: stored.integration.id,
                rule: Rule::Mention,
            };
            setup::subscribe(&self.edge, &self.scope, &draft)
                .await
                .expect("the agent listens");
        }
        agent
    }

    /// The rows of one statement; `?1` is the workspace.
    ///
    /// # Panics
    /// When the database can't be read.
    pub async fn count(&self, sql: &'static str) -> i64 {
        let rows = self.scope.query(sql, []).await.expect("the database answers");
        rows[0].integer(0).expect("a number")
    }

    /// A token of this deployment.
    ///
    /// # Panics
    /// Never: signing does not fail.
    pub fn token(&self, audience: Audience, name: &str, span: Duration) -> String {
        let id = self.edge.token_id();
        let claims = Tokens::claims(audience, id, DEFAULT_WORKSPACE, name, self.edge.now(), span);
        self.edge.tokens.issue(&claims).expect("a token")
    }

    /// A token that expired a minute ago.
    ///
    /// # Panics
    /// Never: signing does not fail.
    pub fn expired_token(&self, audience: Audience, name: &str) -> String {
        let id = self.edge.token_id();
        let past = self.edge.now() - Duration::from_secs(60);
        let claims = Tokens::claims(audience, id, DEFAULT_WORKSPACE, name, past, Duration::ZERO);
        self.edge.tokens.issue(&claims).expect("a token")
    }
}
