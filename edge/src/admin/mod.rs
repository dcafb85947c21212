//! The web admin: server-rendered pages below `/admin`, plain forms, one small script and one style sheet of our own.
//!
//! Invariants: every page but the one to sign in wants a [`Visitor`](visitor::Visitor); what it shows are the same
//! projections the public API answers with; and text from outside is escaped and stands beside who said it.

mod agent_form;
mod agents;
mod assets;
mod call;
mod control;
mod deliveries;
mod effects;
mod field;
mod integration_form;
mod integrations;
mod layout;
mod list;
mod live;
mod login;
mod markdown;
mod notices;
mod run;
mod runners;
mod runs;
mod show;
mod standing;
mod start;
mod text;
mod timeline;
mod visitor;

use std::sync::Arc;

use axum::{
    Router,
    middleware::map_response,
    response::Redirect,
    routing::{any, get, post},
};

use crate::edge::Edge;

/// The admin's routes.
pub fn router() -> Router<Arc<Edge>> {
    Router::new()
        .route("/", get(home))
        .route("/admin", get(home))
        .route("/admin/assets/{name}", get(assets::serve))
        .route("/admin/login", get(login::ask).post(login::sign_in))
        .route("/admin/logout", post(login::sign_out))
        .route("/admin/runs", get(runs::list))
        .route("/admin/runs/{id}", get(run::show))
        .route("/admin/runs/{id}/live", get(live::stream))
        .route("/admin/runs/{id}/cancel", post(control::cancel))
        .route("/admin/runs/{id}/pause", post(control::pause))
        .route("/admin/runs/{id}/resume", post(control::resume))
        .route("/admin/runs/{id}/answer", post(control::answer))
        .route("/admin/deliveries", get(deliveries::list))
        .route("/admin/deliveries/{id}", get(deliveries::show))
        .route("/admin/deliveries/replay", post(deliveries::replay_span))
        .route("/admin/deliveries/{id}/replay", post(deliveries::replay))
        .route("/admin/effects", get(effects::list))
        .route("/admin/effects/replay", post(effects::replay_all))
        .route("/admin/effects/{id}", get(effects::show))
        .route("/admin/effects/{id}/replay", post(effects::replay))
        .route("/admin/effects/{id}/arrived", post(effects::arrived))
        .route("/admin/effects/{id}/drop", post(effects::drop))
        .route("/admin/integrations", get(integrations::list))
        .route(
            "/admin/integrations/new/{channel}",
            get(integrations::blank).post(integrations::create),
        )
        .route(
            "/admin/integrations/{id}",
            get(integrations::show).post(integrations::update),
        )
        .route("/admin/integrations/{id}/resume", post(integrations::resume))
        .route("/admin/agents", get(agents::list))
        .route("/admin/agents/new", get(agents::blank).post(agents::create))
        .route("/admin/agents/{id}", get(agents::show).post(agents::update))
        .route("/admin/agents/{id}/subscriptions", post(agents::subscribe))
        .route(
            "/admin/agents/{id}/subscriptions/{subscription}/end",
            post(agents::unsubscribe),
        )
        .route("/admin/runners", get(runners::list))
        .route("/admin/runners/token", post(runners::make_token))
        .route("/admin/runners/tokens/{id}/revoke", post(runners::revoke_token))
        .route("/admin/{*rest}", any(visitor::unknown))
        .layer(map_response(visitor::guarded))
}

async fn home() -> Redirect {
    Redirect::to("/admin/runs")
}
