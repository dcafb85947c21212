//! `roost send`: posts signed webhooks as a channel would.

use std::{io::Read, time::Duration};

use serde_json::{Value, json};

use super::{
    Exit, Failure,
    output::{Format, OutputArgs},
};
use crate::{
    all_in_one::runtime,
    clock,
    fixture::{Fixture, Order, Place},
    random,
    reason::reason,
};

/// Send a signed webhook to an edge, as a channel would
///
/// Fixtures: github issue_comment, github issues, github pull_request_review_comment, telegram message, generic message.
/// Prints what the edge makes of it.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  roost send github issue_comment --to http://127.0.0.1:8080/hooks/main/github \\
    --secret \"$WEBHOOK_SECRET\" --text '@roost the tests fail, can you have a look?'")]
pub(super) struct Args {
    /// github, telegram or generic
    channel: String,
    /// The event, e.g. issue_comment or message
    event: String,
    /// The integration's address: EDGE/hooks/WORKSPACE/INTEGRATION
    #[arg(long, value_name = "URL")]
    to: String,
    /// What the integration's webhooks are signed with
    #[arg(long, env = "ROOST_WEBHOOK_SECRET", hide_env_values = true)]
    secret: String,
    /// What is said; - reads it from standard input
    #[arg(long, default_value = "@roost hello")]
    text: String,
    /// Who says it
    #[arg(long, default_value = "ada")]
    author: String,
    /// GitHub's repository
    #[arg(long, default_value = "octo/hello", value_name = "OWNER/NAME")]
    repository: String,
    /// The number on GitHub, the chat on Telegram, the conversation elsewhere
    #[arg(long, default_value_t = 1)]
    number: u32,
    /// The GitHub App's installation
    #[arg(long)]
    installation: Option<u64>,
    /// Names the event: the same number again is a redelivery [default: a random one]
    #[arg(long)]
    id: Option<u64>,
    #[command(flatten)]
    pub(super) output: OutputArgs,
}

pub(super) fn run(args: Args) -> Result<Exit, Failure> {
    let fixture: Fixture = format!("{} {}", args.channel, args.event)
        .parse()
        .map_err(|error: crate::fixture::UnknownFixture| Failure::usage(error.code(), error))?;
    let mut text = args.text;
    if text == "-" {
        text.clear();
        std::io::stdin()
            .take(1 << 20)
            .read_to_string(&mut text)
            .map_err(|error| {
                Failure::usage(
                    "stdin_unreadable",
                    format!("standard input can't be read: {error}"),
                )
            })?;
    }
    let order = Order {
        secret: &args.secret,
        text: &text,
        // Numbers that JavaScript can hold, as the channels give.
        id: args
            .id
            .unwrap_or_else(|| u64::from_be_bytes(random::bytes()) >> 12),
        now: clock::now(),
        place: Place {
            repository: &args.repository,
            number: args.number,
            installation: args.installation,
        },
        author: &args.author,
    };
    let signed = fixture.make(&order);
    let (status, body) = runtime()?.block_on(post(&args.to, signed))?;
    verdict(args.output.format(), fixture, order.id, status, &body)
}

/// Posts a webhook and gives status and body of the answer.
async fn post(to: &str, signed: crate::fixture::Signed) -> Result<(u16, String), Failure> {
    let unreachable = |error: reqwest::Error| {
        let message = format!(
            "{to} can't be reached: {}; does the edge run there?",
            reason(&error)
        );
        Failure::failed("edge_unreachable", message)
    };
    let client = reqwest::Client::builder()
        .timeout(Duration::from_secs(30))
        .build()
        .map_err(|error| Failure::failed("no_http_client", error))?;
    let response = client
        .post(to)
        .headers(signed.headers)
        .body(signed.body)
        .send()
        .await
        .map_err(unreachable)?;
    let status = response.status().as_u16();
    Ok((status, response.text().await.map_err(unreachable)?))
}

fn verdict(format: Format, fixture: Fixture, id: u64, status: u16, body: &str) -> Result<Exit, Failure> {
    let answer: Value = serde_json::from_str(body).unwrap_or_else(|_| json!(body));
    if !(200..300).contains(&status) {
        let code = answer["error"]["code"].as_str().unwrap_or("http_error");
        let message = answer["error"]["message"].as_str().unwrap_or(body);
        return Err(Failure::failed(
            code,
            format!("the edge answered {status}: {message}"),
        ));
    }
    let text = format!("{} {id}: {status} {body}", fixture.name());
    format.print(
        &json!({ "fixture": fixture.name(), "id": id, "status": status, "answer": answer }),
        &text,
    );
    Ok(Exit::Ok)
}
