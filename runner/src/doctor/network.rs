//! What is reached over the network: edge, public address, sprites, models.

use std::time::{Duration, SystemTime};

use http::header::DATE;
use reqwest::{Client, Response};

use super::{Finding, PATIENCE, Patient};
use crate::{
    config::{Config, Secret},
    edge_client::{EdgeClient, EdgeError},
    model::Api,
    node,
    reason::reason,
    sprite::{SpriteError, Sprites},
};

/// Clocks further apart than this break signatures with an age limit, tokens and leases.
const SKEW: Duration = Duration::from_secs(30);

fn client() -> Option<Client> {
    Client::builder().timeout(PATIENCE).build().ok()
}

async fn get(url: &str) -> Result<Response, String> {
    let Some(client) = client() else {
        return Err("no HTTP client can be made here".into());
    };
    client
        .get(url)
        .send()
        .await
        .map_err(|error| format!("{url} does not answer: {}", reason(&error)))
}

pub(super) async fn edge(url: &str, patient: &Patient) -> Vec<Finding> {
    let url = url.trim_end_matches('/');
    let response = match get(&format!("{url}/healthz")).await {
        Ok(response) => response,
        Err(message) => {
            return vec![Finding::fail(
                "edge",
                format!("{message}; start it with `roost up` or `roost edge`"),
            )];
        }
    };
    let mut findings = vec![skew(&response)];
    let status = response.status();
    findings.push(if status.is_success() {
        Finding::ok("edge", format!("{url} is well"))
    } else {
        let body: serde_json::Value = response.json().await.unwrap_or_default();
        let message = body["error"]["message"]
            .as_str()
            .unwrap_or("is this a Roost edge?");
        Finding::fail("edge", format!("{url} answers {status}: {message}"))
    });
    findings.extend(runner_token(url, patient.config.runner.token.as_ref()).await);
    findings
}

/// How far this machine's clock is from the edge's, by the answer's date.
fn skew(response: &Response) -> Finding {
    const CHECK: &str = "clock";
    let date = response.headers().get(DATE).and_then(|date| date.to_str().ok());
    let Some(theirs) = date.and_then(|date| jiff::fmt::rfc2822::parse(date).ok()) else {
        return Finding::warn(CHECK, "the edge gives no date; compare the clocks by hand");
    };
    let ours = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let theirs = Duration::from_secs(u64::try_from(theirs.timestamp().as_second()).unwrap_or(0));
    let apart = ours.abs_diff(theirs);
    if apart > SKEW {
        let message = format!(
            "the edge's clock is {} s away from this machine's; set both by NTP",
            apart.as_secs()
        );
        return Finding::fail(CHECK, message);
    }
    Finding::ok(CHECK, "the edge's clock and this machine's agree")
}

async fn runner_token(url: &str, token: Option<&Secret>) -> Option<Finding> {
    const CHECK: &str = "runner token";
    let client = EdgeClient::new(client()?, url, token?.expose());
    Some(match client.tick().await {
        Ok(_) => Finding::ok(CHECK, "the edge takes it"),
        Err(EdgeError::Refused(problem)) => Finding::fail(
            CHECK,
            format!("{} (`roost token runner --name NAME`)", problem.message),
        ),
        Err(error) => Finding::warn(CHECK, error.to_string()),
    })
}

pub(super) async fn public_url(config: &Config) -> Option<Finding> {
    const CHECK: &str = "public URL";
    let url = config.edge.public_url.as_deref()?.trim_end_matches('/');
    Some(match get(&format!("{url}/healthz")).await {
        Ok(response) if response.status().is_success() && url.starts_with("https://") => {
            Finding::ok(CHECK, format!("{url} reaches the edge"))
        }
        Ok(response) if response.status().is_success() => Finding::warn(
            CHECK,
            format!("{url} reaches the edge, but without TLS; providers and browsers want https"),
        ),
        Ok(response) => Finding::fail(
            CHECK,
            format!(
                "{url} answers {}; check that your proxy passes requests on to the edge",
                response.status()
            ),
        ),
        Err(message) => Finding::warn(CHECK, format!("{message}; from outside it may, try it there")),
    })
}

pub(super) async fn sprites(config: &Config) -> Option<Finding> {
    const CHECK: &str = "sprites";
    let token = config.sprites.token.as_ref()?;
    let url = &config.sprites.url;
    let host = match Sprites::new(url, token.expose()) {
        Ok(host) => host,
        Err(error) => return Some(Finding::fail(CHECK, error.to_string())),
    };
    let looked = tokio::time::timeout(PATIENCE, host.get("roost-doctor")).await;
    Some(match looked {
        Ok(Ok(_) | Err(SpriteError::Gone { .. })) => {
            Finding::ok(CHECK, format!("{url} answers and takes the token"))
        }
        Ok(Err(error)) => Finding::fail(CHECK, format!("{url}: {error}")),
        Err(_) => Finding::fail(
            CHECK,
            format!("{url} does not answer; start it with `roost sprites`"),
        ),
    })
}

/// Asks every provider for its list of models, which costs nothing and wants the key.
pub(super) async fn models(config: &Config) -> Vec<Finding> {
    const CHECK: &str = "model provider";
    let providers = node::with_usual_providers(config.models.clone()).providers;
    if providers.is_empty() {
        return vec![Finding::warn(
            CHECK,
            "none is configured; set ANTHROPIC_API_KEY, OPENAI_API_KEY or OPENAI_BASE_URL where the runner runs",
        )];
    }
    let mut findings = Vec::new();
    for (name, provider) in providers {
        let Some(client) = client() else { continue };
        let base = provider.base_url();
        let request = match provider.api {
            Api::Anthropic => client
                .get(format!("{base}/v1/models"))
                .header("anthropic-version", "2023-06-01"),
            Api::Openai => client.get(format!("{base}/models")),
        };
        let answer = provider.authorize(request).send().await;
        findings.push(match answer {
            Ok(answer) if answer.status().is_success() => {
                Finding::ok(CHECK, format!("{name} at {base} takes the key"))
            }
            Ok(answer) if matches!(answer.status().as_u16(), 401 | 403) => Finding::fail(
                CHECK,
                format!("{name} at {base} refuses the key; enter a good one"),
            ),
            Ok(answer) => Finding::warn(
                CHECK,
                format!(
                    "{name} at {base} answers {} when asked for its models; whether it works shows with the first call",
                    answer.status()
                ),
            ),
            Err(error) => Finding::fail(
                CHECK,
                format!("{name} at {base} does not answer: {}", reason(&error)),
            ),
        });
    }
    findings
}
