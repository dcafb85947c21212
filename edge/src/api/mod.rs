//! The public REST API, below `/api/v1`: one file per resource, and one table of all routes.
//!
//! Invariant: every route wants a [`Person`](crate::auth::session::Person), signing in alone excepted, and every
//! answer but a stream is JSON. `docs/reference/api.md` describes exactly the routes of [`ROUTES`].

pub mod agents;
pub mod control;
pub mod deliveries;
pub mod effects;
pub mod events;
pub(crate) mod extract;
pub(crate) mod follow;
pub mod health;
pub mod integrations;
pub mod notices;
pub mod page;
pub mod runners;
pub mod runs;
pub mod session;
pub(crate) mod sse;
pub mod standing;
pub mod subscriptions;
pub mod tokens;

use std::sync::Arc;

use axum::{
    Router,
    extract::Request,
    routing::{any, delete, get, post, put},
};
use http::StatusCode;

use crate::{edge::Edge, error::ApiError};

macro_rules! routes {
    ($($method:ident $path:literal $handler:path;)*) => {
        /// Every route: its method, in lower case, and its path.
        pub const ROUTES: &[(&str, &str)] = &[$((stringify!($method), concat!("/api/v1", $path))),*];

        fn table() -> Router<Arc<Edge>> {
            Router::new()$(.route(concat!("/api/v1", $path), $method($handler)))*
        }
    };
}

routes! {
    post "/login" session::sign_in;
    post "/logout" session::sign_out;
    get "/session" session::show;
    get "/runs" runs::list;
    get "/runs/{id}" runs::show;
    get "/runs/{id}/events" events::read;
    post "/runs/{id}/cancel" control::cancel;
    post "/runs/{id}/pause" control::pause;
    post "/runs/{id}/resume" control::resume;
    post "/runs/{id}/answer" control::answer;
    get "/deliveries" deliveries::list;
    get "/deliveries/{id}" deliveries::show;
    post "/deliveries/replay" deliveries::replay_span;
    post "/deliveries/{id}/replay" deliveries::replay;
    get "/effects" effects::list;
    get "/effects/{id}" effects::show;
    post "/effects/replay" effects::replay;
    post "/effects/{id}/replay" effects::replay_one;
    post "/effects/{id}/arrived" effects::arrived;
    post "/effects/{id}/drop" effects::drop;
    get "/notices" notices::list;
    get "/integrations" integrations::list;
    post "/integrations" integrations::create;
    post "/integrations/{id}/resume" integrations::resume;
    get "/integrations/{id}" integrations::show;
    put "/integrations/{id}" integrations::update;
    get "/agents" agents::list;
    post "/agents" agents::create;
    get "/agents/{id}" agents::show;
    put "/agents/{id}" agents::update;
    get "/subscriptions" subscriptions::list;
    post "/subscriptions" subscriptions::create;
    delete "/subscriptions/{id}" subscriptions::remove;
    get "/runners" runners::list;
    post "/tokens" tokens::create;
    delete "/tokens/{id}" tokens::revoke;
}

/// The public API's routes, below `/api/v1`.
pub fn router() -> Router<Arc<Edge>> {
    table()
        .route("/api/{*rest}", any(unknown))
        .method_not_allowed_fallback(other_method)
}

async fn unknown() -> ApiError {
    ApiError::not_found("route")
}

async fn other_method(request: Request) -> ApiError {
    let message = format!("{} is not for {}", request.method(), request.uri().path());
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message)
}
