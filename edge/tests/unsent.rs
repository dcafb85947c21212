//! An edge that claimed effects and could not begin to send them gives them back: nobody is asked about what it knows.

#![allow(clippy::unwrap_used)]

mod common;

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use bytes::Bytes;
use common::TestEdge;
use futures::future::BoxFuture;
use roost_edge::{
    auth::keys::MasterKey,
    db::{Database, DbError, Mode, Outcome, Statement},
    edge::{DEFAULT_WORKSPACE, Edge, PrivateAddresses},
    integration::{GenericSettings, Settings},
    outbox::send_due,
    ports::{Background, HttpClient, HttpError, Ports},
    setup::{self, IntegrationDraft},
};

/// A database whose answer to one batch is lost: to the next one with this text in it. What it writes stays written.
struct Cut {
    inner: Arc<dyn Database>,
    next: Mutex<Option<&'static str>>,
}

impl Database for Cut {
    fn batch(&self, mode: Mode, statements: Vec<Statement>) -> BoxFuture<'_, Outcome> {
        Box::pin(async move {
            let has = |text: &str| statements.iter().any(|statement| statement.sql.contains(text));
            let lost = self.next.lock().unwrap().take_if(|text| has(text)).is_some();
            let outcome = self.inner.batch(mode, statements).await;
            if lost {
                return Err(DbError::Unavailable("the connection was cut".into()));
            }
            outcome
        })
    }
}

/// A channel that takes everything.
#[derive(Default)]
struct Channel(AtomicUsize);

impl HttpClient for Channel {
    fn send(&self, _: http::Request<Bytes>) -> BoxFuture<'_, Result<http::Response<Bytes>, HttpError>> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Box::pin(async { Ok(http::Response::new(Bytes::new())) })
    }
}

/// Nothing is sent but when the test says so.
struct Later;

impl Background for Later {
    fn spawn(&self, _: BoxFuture<'static, ()>) {}
}

#[tokio::test]
async fn what_was_claimed_and_never_begun_is_sent_as_soon_as_the_database_is_back() {
    let mut t = TestEdge::with(|settings| settings.private_addresses = PrivateAddresses::Allowed).await;
    let database = Arc::new(Cut {
        inner: t.edge.ports.database.clone(),
        next: Mutex::default(),
    });
    let channel = Arc::new(Channel::default());
    let ports = Ports {
        database: database.clone(),
        http: channel.clone(),
        background: Arc::new(Later),
        ..t.edge.ports.clone()
    };
    t.edge = Edge::new(ports, t.edge.settings.clone(), &MasterKey::from_bytes([5; 32]));
    let scope = t.edge.scope(DEFAULT_WORKSPACE);
    let hooks = common::hooks();
    let Settings::Generic(settings) = hooks.settings.clone() else {
        panic!("a generic integration");
    };
    let settings = GenericSettings {
        reply_url: Some("http://127.0.0.1:9/reply".into()),
        ..settings
    };
    let draft = IntegrationDraft {
        settings: Settings::Generic(settings),
        ..hooks
    };
    setup::create_integration(&t.edge, &scope, draft).await.unwrap();
    t.employ("ada").await;

    let claim = "SET state = CASE state WHEN 'pending' THEN 'sending'";
    let set_up = "FROM integrations WHERE workspace_id = ?1 ORDER BY id";
    let mut runs = Vec::new();
    for (replies, id, lost) in [(1, "claim", claim), (2, "set-up", set_up)] {
        runs.push(t.completed(id).await);
        *database.next.lock().unwrap() = Some(lost);
        send_due(&t.edge, &scope).await.unwrap_err();
        assert_eq!(*database.next.lock().unwrap(), None, "the answer was lost");
        assert_eq!(channel.0.load(Ordering::SeqCst), replies - 1);
        send_due(&t.edge, &scope).await.unwrap();
        assert_eq!(channel.0.load(Ordering::SeqCst), replies, "{id}");
    }
    // What was never begun does not count as tried.
    let settled = "SELECT count(*), sum(state = 'sent'), sum(attempts - replayed_after) FROM effects \
                   WHERE workspace_id = ?1 AND run_id = ?2";
    for run in runs {
        let rows = scope.query(settled, [run.into()]).await.unwrap();
        let number = |column| rows[0].integer(column).unwrap();
        assert_eq!((number(0), number(1), number(2)), (1, 1, 1));
    }
}
