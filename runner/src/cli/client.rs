//! Options of the commands that are clients of an edge: which edge, and by what right.
//!
//! Invariant: a command that was given no token makes one for itself only where the master key lies, and it is good for
//! minutes.

use std::{fmt::Display, time::Duration};

use clap::Args;
use reqwest::Url;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{
    Failure,
    options::{KeyArgs, PlaceArgs},
    output::OutputArgs,
};
use crate::{
    all_in_one::{
        house,
        keys::{self, Holder},
    },
    api_client::{ApiClient, Page, Patience},
    config::{Config, RunnerConfig},
    edge_client::EdgeError,
};

/// Who does what such a command does, where the token says nobody else.
const OWNER: &str = "owner";

/// Which edge, and by what right.
#[derive(Debug, Args)]
pub(super) struct EdgeArgs {
    /// The edge to ask [default: the one of the data directory, or edge in [runner] of roost.toml]
    #[arg(long, env = "ROOST_EDGE_URL", value_name = "URL")]
    edge: Option<Url>,
    /// A token for the API [default: the master key makes one for this command]
    #[arg(long, env = "ROOST_TOKEN", value_name = "TOKEN", hide_env_values = true)]
    token: Option<String>,
    #[command(flatten)]
    place: PlaceArgs,
    #[command(flatten)]
    key: KeyArgs,
}

impl EdgeArgs {
    /// A client of that edge, for somebody who can ask again themselves.
    pub(super) fn client(&self) -> Result<ApiClient, Failure> {
        self.client_with(Patience::ONCE)
    }

    /// A client of that edge that waits so long for it.
    pub(super) fn client_with(&self, patience: Patience) -> Result<ApiClient, Failure> {
        let mut config = self.place.config()?;
        self.key.clone().lay_over(&mut config);
        let data = self.place.data().ok();
        let url = match &self.edge {
            Some(url) => url.to_string(),
            None => address(&config, data.as_deref()),
        };
        let token = match &self.token {
            Some(token) => token.clone(),
            None => {
                let master = keys::master_key(&config, data.as_deref()).map_err(no_token)?;
                let holder = Holder {
                    workspace: keys::WORKSPACE,
                    name: OWNER,
                };
                keys::passing(&master, holder)?
            }
        };
        let http = reqwest::Client::builder()
            .connect_timeout(Duration::from_secs(5))
            .build()
            .map_err(|error| Failure::failed("no_http_client", error))?;
        Ok(ApiClient::new(http, &url, token, patience))
    }

    /// Whether its clients are given a token of their own, good for minutes.
    pub(super) fn makes_tokens(&self) -> bool {
        self.token.is_none()
    }
}

/// How much of a list, and for whom.
#[derive(Debug, Args)]
pub(super) struct ListArgs {
    /// How many
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..))]
    limit: u16,
    #[command(flatten)]
    pub(super) edge: EdgeArgs,
    #[command(flatten)]
    pub(super) output: OutputArgs,
}

impl ListArgs {
    /// Prints what there is of `what` (`runs`, `effects`) that matches; for people as `table` makes it.
    pub(super) async fn print<T: DeserializeOwned>(
        &self,
        client: &ApiClient,
        what: &str,
        filters: &[(&str, Option<String>)],
        table: impl FnOnce(&[T]) -> String,
    ) -> Result<(), Failure> {
        let page: Page<Value> = client
            .list(what, filters, self.limit.into())
            .await
            .map_err(|error| Failure::edge(client.base(), error))?;
        self.output.format().list(&page, what, table)
    }
}

/// What the configuration file says; else where `roost up` listens with that data directory; else where an edge would.
fn address(config: &Config, data: Option<&std::path::Path>) -> String {
    if config.runner.edge != RunnerConfig::default().edge {
        return config.runner.edge.clone();
    }
    data.and_then(house::address)
        .unwrap_or_else(|| format!("http://{}", config.edge.listen))
}

fn no_token(failure: Failure) -> Failure {
    if failure.problem.code != keys::NO_MASTER_KEY {
        return failure;
    }
    let message = "there is neither a token nor a master key to make one: name the data directory of `roost up` with --data, or \
                   give a token (`roost token api --name NAME`) by ROOST_TOKEN";
    Failure::usage("no_token", message)
}

/// The id of the one of `list` (`agents`, `integrations`) whose `field` people know it by, or whose id was given; none where no name
/// was.
pub(super) async fn named(
    client: &ApiClient,
    list: &str,
    field: &str,
    name: Option<&str>,
) -> Result<Option<String>, Failure> {
    let Some(name) = name else {
        return Ok(None);
    };
    let page: Page<Value> = client
        .get(list)
        .await
        .map_err(|error| Failure::edge(client.base(), error))?;
    let found = page
        .items
        .iter()
        .find(|item| item[field] == name || item["id"] == name)
        .and_then(|item| item["id"].as_str());
    let unknown = || {
        let known: Vec<&str> = page
            .items
            .iter()
            .filter_map(|item| item[field].as_str())
            .collect();
        let message = match known.as_slice() {
            [] => format!("there are no {list} yet, so there is no {name:?}"),
            known => format!("{name:?} is none of the {list}; there are {}", known.join(", ")),
        };
        Failure::failed("name_unknown", message)
    };
    found.map(str::to_owned).ok_or_else(unknown).map(Some)
}

/// Why something could not be done with one `what` (`run`, `effect`).
pub(super) fn of_one(client: &ApiClient, what: &str, id: impl Display, error: EdgeError) -> Failure {
    match error {
        EdgeError::Refused(problem) if problem.code == "not_found" => {
            let message = format!("there is no {what} {id} here; look for it in the list");
            Failure::failed("not_found", message)
        }
        error => Failure::edge(client.base(), error),
    }
}
