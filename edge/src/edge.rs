//! The edge itself: its ports, its keys, and what it keeps in memory between requests, all of which can be lost.

use std::{
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::Router;
use http::StatusCode;
use roost_shared::{TokenId, UnixMillis};

use crate::{
    admin, api,
    auth::{keys::MasterKey, seal::Sealer, token::Tokens},
    bells::Bells,
    config::Configs,
    db::{Scope, migrate, migrate::Schema},
    error::ApiError,
    ingress,
    once::AtATime,
    outbox::{Senders, Unsent, pace::SEND_WITHIN},
    ports::Ports,
    runs::{self, offer::Offers},
};

/// The default workspace, which `roost migrate` creates.
pub const DEFAULT_WORKSPACE: &str = "main";

/// How an edge behaves; the same on every host.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How people and providers reach it, without a slash at the end, e.g. `https://roost.example`.
    pub public_url: String,
    /// How long a lease lasts without a poll.
    pub lease: Duration,
    /// How long sending an effect may take before its outcome counts as unknown and is looked for. It must be longer than
    /// any channel takes to answer, for a sender that is merely slow is not told from one that died.
    pub send_within: Duration,
    /// Leases in a row that may end without a word and without progress; then the run is kept from runners until a person
    /// has looked at it.
    pub crash_limit: u32,
    /// Days after which headers and bodies of deliveries are removed; without, they are kept for ever.
    pub keep_payloads_days: Option<NonZeroU32>,
    /// How often a waiting request looks again where no bell can reach it.
    pub look_again: Duration,
    /// How often a native edge does by itself what is due in all workspaces. Runners ask for it more often, each in its own.
    pub tick: Duration,
    /// Whether replies may be sent to private and loopback addresses.
    pub private_addresses: PrivateAddresses,
}

/// Whether the edge may call private and loopback addresses on behalf of an integration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PrivateAddresses {
    /// Never; the default.
    Refused,
    /// For tests, and for services on one's own network.
    Allowed,
}

impl Settings {
    /// The defaults for an edge reached at `public_url`.
    pub fn new(public_url: impl Into<String>) -> Self {
        Self {
            public_url: public_url.into(),
            lease: Duration::from_secs(30),
            send_within: SEND_WITHIN,
            crash_limit: 5,
            keep_payloads_days: NonZeroU32::new(30),
            look_again: Duration::from_millis(500),
            tick: Duration::from_secs(10),
            private_addresses: PrivateAddresses::Refused,
        }
    }
}

/// One edge. Cheap to share; a host makes one per process (or isolate).
pub struct Edge {
    /// The host's ports.
    pub ports: Ports,
    /// How it behaves.
    pub settings: Settings,
    /// Seals and opens secrets.
    pub sealer: Sealer,
    /// Issues and checks tokens.
    pub tokens: Tokens,
    /// Wakes waiting requests.
    pub bells: Bells,
    /// Polls that wait for the next run.
    pub(crate) offers: Offers,
    /// Kept snapshots of workspaces.
    pub configs: Arc<Configs>,
    /// Kept channel credentials.
    pub senders: Arc<Senders>,
    /// Claims of effects under which nothing was sent.
    pub(crate) unsent: Unsent,
    /// At most one sender of effects per workspace at work in this process.
    pub(crate) sending: AtATime,
    /// At most one sweeper of missed deliveries per workspace at work in this process.
    pub(crate) sweeping: AtATime,
    /// At most one ringer of doorbells per workspace at work in this process.
    pub(crate) ringing: AtATime,
    /// At most one of the host's own ticks per workspace at work in this process.
    pub(crate) ticking: AtATime,
    schema_checked: Arc<AtomicBool>,
}

impl Edge {
    /// An edge on these ports.
    pub fn new(ports: Ports, settings: Settings, master: &MasterKey) -> Arc<Self> {
        Arc::new(Self {
            ports,
            settings,
            sealer: Sealer::new(master),
            tokens: Tokens::new(master.clone()),
            bells: Bells::default(),
            offers: Offers::default(),
            configs: Arc::default(),
            senders: Arc::default(),
            unsent: Unsent::default(),
            sending: AtATime::default(),
            sweeping: AtATime::default(),
            ringing: AtATime::default(),
            ticking: AtATime::default(),
            schema_checked: Arc::default(),
        })
    }

    /// This edge for one request alone, on hosts where nothing that waits or wakes may serve two requests: it shares
    /// what is kept and who does what follows, and has its own bells and background.
    #[cfg(target_family = "wasm")]
    pub(crate) fn for_request(&self, background: Arc<dyn crate::ports::Background>) -> Arc<Self> {
        let ports = Ports {
            background,
            ..self.ports.clone()
        };
        Arc::new(Self {
            ports,
            settings: self.settings.clone(),
            sealer: self.sealer.clone(),
            tokens: self.tokens.clone(),
            bells: Bells::default(),
            offers: Offers::default(),
            configs: self.configs.clone(),
            senders: self.senders.clone(),
            unsent: self.unsent.clone(),
            sending: self.sending.among_requests(),
            sweeping: self.sweeping.among_requests(),
            ringing: self.ringing.among_requests(),
            ticking: self.ticking.among_requests(),
            schema_checked: self.schema_checked.clone(),
        })
    }

    /// Does what is due in every workspace, for a host's own timer: where there are many, in some at each tick, in turns.
    ///
    /// # Errors
    /// When the database is away or has another schema. What fails in one workspace is logged, and left for its next turn.
    pub async fn tick(self: &Arc<Self>) -> Result<(), ApiError> {
        self.require_schema().await?;
        Ok(runs::tick::everywhere(self).await?)
    }

    /// All it answers to.
    pub fn router(self: &Arc<Self>) -> Router {
        Router::new()
            .merge(ingress::router())
            .merge(runs::router())
            .merge(api::router())
            .merge(admin::router())
            .layer(axum::middleware::from_fn_with_state(
                self.clone(),
                api::health::schema_gate,
            ))
            .merge(api::health::router())
            .with_state(self.clone())
    }

    /// The database, seen from inside a workspace. The directory that maps workspaces to databases maps all to one.
    pub fn scope(&self, workspace: &str) -> Scope {
        Scope::new(self.ports.database.clone(), workspace.into())
    }

    /// Now.
    pub fn now(&self) -> UnixMillis {
        self.ports.clock.now()
    }

    /// Ten random bytes, for an id.
    pub fn entropy(&self) -> [u8; 10] {
        let mut bytes = [0; 10];
        self.ports.random.fill(&mut bytes);
        bytes
    }

    /// A fresh token id.
    pub fn token_id(&self) -> TokenId {
        TokenId::new(self.now(), self.entropy())
    }

    /// Says no unless the database has exactly the schema this edge was built for.
    ///
    /// # Errors
    /// 503 `schema_older`, `schema_newer` or `database_unavailable`.
    pub async fn require_schema(&self) -> Result<(), ApiError> {
        if self.schema_checked.load(Ordering::Relaxed) {
            return Ok(());
        }
        let unfit = |code, message| {
            let error = ApiError::new(StatusCode::SERVICE_UNAVAILABLE, code, message);
            Err(ApiError {
                retry_after: Some(Duration::from_secs(30)),
                ..error
            })
        };
        match migrate::inspect(&self.ports.database).await? {
            Schema::Current => {
                self.schema_checked.store(true, Ordering::Relaxed);
                Ok(())
            }
            Schema::Older { found, wanted } => unfit(
                "schema_older",
                format!(
                    "the database has {found} of {wanted} migrations; run `roost migrate --database URL`"
                ),
            ),
            Schema::Newer { found, wanted } => unfit(
                "schema_newer",
                format!("the database has {found} migrations, this edge knows {wanted}; deploy a newer edge"),
            ),
        }
    }
}
