//! What a provider's refusal means: HTTP status, headers and error body → [`ModelError`].
//!
//! Invariant: the provider's own words are cut to a sentence's length and never hold the key that was sent.

use std::time::Duration;

use http::{HeaderMap, StatusCode};
use roost_shared::UnixMillis;
use serde_json::Value;

use super::{config::Secret, error::ModelError};

const SAID_CHARS: usize = 300;

/// Whom the call went to, and with what.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) provider: &'a str,
    pub(super) model: &'a str,
    pub(super) key: Option<&'a Secret>,
}

/// What an error body says, in any of the forms in use: `{"error": {"type", "code", "message"}}`, `{"error": "…"}`,
/// `{"message", "code"}`, `{"detail": "…"}`.
struct Said {
    kind: String,
    code: String,
    text: String,
}

impl Asked<'_> {
    /// An answer with an error status.
    pub(super) fn refused(
        &self,
        status: StatusCode,
        headers: &HeaderMap,
        body: &[u8],
        now: UnixMillis,
    ) -> ModelError {
        let said = match serde_json::from_slice::<Value>(body) {
            Ok(body) => self.said(
                body.get("error")
                    .filter(|error| !error.is_null())
                    .unwrap_or(&body),
            ),
            Err(_) => self.said(&Value::String(String::from_utf8_lossy(body).into_owned())),
        };
        self.sort(Some(status), retry_after(headers, now), said)
    }

    /// An error in the middle of a stream that had begun well.
    pub(super) fn failed(&self, error: &Value) -> ModelError {
        let said = self.said(error);
        let status = said
            .code
            .parse::<u16>()
            .ok()
            .and_then(|code| StatusCode::from_u16(code).ok());
        self.sort(status, None, said)
    }

    fn said(&self, error: &Value) -> Said {
        let field = |name: &str| match error.get(name) {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Number(number)) => number.to_string(),
            _ => String::new(),
        };
        let text = match error {
            Value::String(text) => text.clone(),
            _ => [field("message"), field("detail")]
                .into_iter()
                .find(|text| !text.is_empty())
                .unwrap_or_default(),
        };
        let text = match self.key {
            Some(key) if !key.expose().is_empty() => text.replace(key.expose(), "…"),
            _ => text,
        };
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let cut = text
            .char_indices()
            .nth(SAID_CHARS)
            .map_or(text.len(), |(at, _)| at);
        let dots = if cut < text.len() { "…" } else { "" };
        let text = format!("{}{dots}", &text[..cut]);
        Said {
            kind: field("type"),
            code: field("code"),
            text,
        }
    }

    fn sort(&self, status: Option<StatusCode>, retry_after: Option<Duration>, said: Said) -> ModelError {
        let Said { kind, code, text } = said;
        let provider = self.provider.to_owned();
        let status_number = status.map_or(0, |status| status.as_u16());
        let words = text.to_ascii_lowercase();
        let said = match (text.is_empty(), status) {
            (false, _) => text,
            (true, Some(status)) => format!("HTTP {status}"),
            (true, None) if kind.is_empty() => "no reason given".to_owned(),
            (true, None) => kind.clone(),
        };
        let no_credit = status_number == 402
            || kind == "billing_error"
            || [kind.as_str(), code.as_str()].contains(&"insufficient_quota")
            || words.contains("credit balance is too low");
        if no_credit {
            return ModelError::NoCredit { provider, said };
        }
        let too_long = matches!(status_number, 0 | 400 | 413 | 422 | 500)
            && (code == "context_length_exceeded"
                || kind == "exceed_context_size_error"
                || TOO_LONG.iter().any(|phrase| words.contains(phrase)));
        if too_long {
            return ModelError::ContextExceeded {
                limit: limit(&words),
                said,
            };
        }
        match (status_number, kind.as_str()) {
            (401 | 403, _) | (_, "authentication_error" | "permission_error") => {
                ModelError::KeyRefused { provider, said }
            }
            (404, _) | (_, "not_found_error") => ModelError::NotFound {
                provider,
                model: self.model.to_owned(),
                said,
            },
            (429, _) | (_, "rate_limit_error") => ModelError::RateLimited {
                provider,
                retry_after,
                said,
            },
            (529 | 503, _) | (_, "overloaded_error") => ModelError::Overloaded {
                provider,
                retry_after,
                said,
            },
            (408 | 425, _) | (_, "api_error" | "timeout_error") => ModelError::Unavailable {
                provider,
                reason: said,
            },
            (400..=499, _) | (_, "invalid_request_error" | "request_too_large") => {
                ModelError::RequestInvalid { provider, said }
            }
            (0, _) => ModelError::StreamCut {
                provider,
                reason: said,
            },
            _ => ModelError::Unavailable {
                provider,
                reason: said,
            },
        }
    }
}

/// How Anthropic, OpenAI, vLLM, OpenRouter and llama.cpp say that the conversation is too long.
const TOO_LONG: [&str; 6] = [
    "prompt is too long",
    "exceed context limit",
    "maximum context length",
    "exceeds the context window",
    "exceeds the available context size",
    "maximum prompt length",
];

/// The window a provider names: the number after `> `, `length is` or `context limit:`.
fn limit(words: &str) -> Option<u64> {
    let after = |mark: &str| {
        let rest = &words[words.rfind(mark)? + mark.len()..];
        let digits: String = rest
            .trim_start()
            .chars()
            .take_while(char::is_ascii_digit)
            .collect();
        digits.parse().ok()
    };
    ["> ", "context length is ", "context length of "]
        .into_iter()
        .find_map(after)
}

/// How long the provider asks to wait. `retry-after` wins; without it the latest reset of a budget that is used up.
fn retry_after(headers: &HeaderMap, now: UnixMillis) -> Option<Duration> {
    let text = |name: &str| {
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .map(str::trim)
    };
    let number = |name: &str| text(name).and_then(|text| text.parse::<f64>().ok());
    let seconds = number("retry-after-ms")
        .map(|ms| ms / 1000.0)
        .or_else(|| number("retry-after"));
    if let Some(seconds) = seconds {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let until = |time: jiff::Timestamp| UnixMillis(time.as_millisecond()).since(now);
    if let Some(date) = text("retry-after") {
        let date = jiff::fmt::rfc2822::parse(date).ok()?;
        return Some(until(date.timestamp()));
    }
    let resets = ["requests", "tokens", "input-tokens", "output-tokens"]
        .into_iter()
        .filter_map(|budget| {
            let left = text(&format!("anthropic-ratelimit-{budget}-remaining"))?;
            let reset = text(&format!("anthropic-ratelimit-{budget}-reset"))?;
            (left == "0").then_some(())?;
            Some(until(reset.parse().ok()?))
        });
    resets.max().or_else(|| others_reset(&text, now))
}

/// The resets of OpenAI and those who speak like it: spans (`6m0s`) per budget, or one moment for all, as seconds or as a
/// time since 1970 in seconds or milliseconds.
fn others_reset<'a>(text: &impl Fn(&str) -> Option<&'a str>, now: UnixMillis) -> Option<Duration> {
    let spans = ["requests", "tokens"].into_iter().filter_map(|budget| {
        let left = text(&format!("x-ratelimit-remaining-{budget}"))?;
        let reset: jiff::SignedDuration = text(&format!("x-ratelimit-reset-{budget}"))?.parse().ok()?;
        (left == "0").then_some(())?;
        Duration::try_from(reset).ok()
    });
    let moment = |prefix: &str| {
        let reset: f64 = text(&format!("{prefix}ratelimit-reset"))?.parse().ok()?;
        let since_1970 = |seconds: f64| Duration::try_from_secs_f64(seconds).ok();
        let at = match reset {
            span if span < 1e9 => return since_1970(span),
            seconds if seconds < 1e12 => since_1970(seconds)?,
            millis => since_1970(millis / 1e3)?,
        };
        Some(UnixMillis(i64::try_from(at.as_millis()).ok()?).since(now))
    };
    spans.max().or_else(|| moment("x-")).or_else(|| moment(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMillis = UnixMillis(1_780_000_000_000); // 2026-05-28T20:26:40Z

    fn refused(status: u16, headers: &[(&'static str, &str)], body: &str) -> ModelError {
        let key = Secret::from("sk-secret".to_owned());
        let asked = Asked {
            provider: "p",
            model: "m",
            key: Some(&key),
        };
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, value.parse().unwrap());
        }
        asked.refused(StatusCode::from_u16(status).unwrap(), &map, body.as_bytes(), NOW)
    }

    #[test]
    fn refusals_are_sorted_by_what_to_do_next() {
        let anthropic = |kind: &str, message: &str| {
            serde_json::json!({"type": "error", "error": {"type": kind, "message": message}}).to_string()
        };
        let openai = |code: Value, message: &str| {
            serde_json::json!({"error": {"message": message, "type": "x", "code": code}}).to_string()
        };
        let cases = [
            (
                401,
                anthropic("authentication_error", "invalid x-api-key"),
                "model_key_refused",
            ),
            (403, anthropic("permission_error", "no"), "model_key_refused"),
            (402, anthropic("billing_error", "pay"), "model_no_credit"),
            (
                400,
                anthropic(
                    "invalid_request_error",
                    "Your credit balance is too low to access",
                ),
                "model_no_credit",
            ),
            (404, anthropic("not_found_error", "model: x"), "model_not_found"),
            (
                413,
                anthropic("request_too_large", "too large"),
                "model_request_invalid",
            ),
            (
                400,
                anthropic("invalid_request_error", "messages: at least one message"),
                "model_request_invalid",
            ),
            (
                400,
                anthropic(
                    "invalid_request_error",
                    "prompt is too long: 208310 tokens > 200000 maximum",
                ),
                "model_context_exceeded",
            ),
            (
                429,
                anthropic("rate_limit_error", "slow down"),
                "model_rate_limited",
            ),
            (
                529,
                anthropic("overloaded_error", "Overloaded"),
                "model_overloaded",
            ),
            (
                500,
                anthropic("api_error", "Internal server error"),
                "model_unavailable",
            ),
            (
                400,
                openai("context_length_exceeded".into(), "too long"),
                "model_context_exceeded",
            ),
            (
                429,
                openai("insufficient_quota".into(), "quota"),
                "model_no_credit",
            ),
            (
                429,
                openai("rate_limit_exceeded".into(), "rpm"),
                "model_rate_limited",
            ),
            (
                404,
                r#"{"error":"model 'x' not found"}"#.into(),
                "model_not_found",
            ),
            (503, "no healthy upstream".into(), "model_overloaded"),
            (502, "<html>Bad gateway</html>".into(), "model_unavailable"),
            (422, r#"{"detail":"bad"}"#.into(), "model_request_invalid"),
        ];
        for (status, body, code) in cases {
            assert_eq!(refused(status, &[], &body).code(), code, "{status} {body}");
        }
    }

    #[test]
    fn a_window_is_read_where_a_provider_names_it() {
        for message in [
            "prompt is too long: 208310 tokens > 4096 maximum",
            "This model's maximum context length is 4096 tokens. However, you requested 5000 tokens",
        ] {
            let body = serde_json::json!({"error": {"message": message}}).to_string();
            let ModelError::ContextExceeded { limit, .. } = refused(400, &[], &body) else {
                panic!("{message}");
            };
            assert_eq!(limit, Some(4_096));
        }
    }

    #[test]
    fn the_wait_a_provider_asks_for_is_read_in_all_its_forms() {
        let wait = |headers: &[(&'static str, &str)]| refused(429, headers, "{}").retry_after();
        assert_eq!(wait(&[("retry-after", "7")]), Some(Duration::from_secs(7)));
        assert_eq!(
            wait(&[("retry-after-ms", "1500"), ("retry-after", "2")]),
            Some(Duration::from_millis(1500))
        );
        assert_eq!(
            wait(&[("retry-after", "Thu, 28 May 2026 20:27:10 GMT")]),
            Some(Duration::from_secs(30))
        );
        assert_eq!(
            wait(&[
                ("anthropic-ratelimit-tokens-remaining", "0"),
                ("anthropic-ratelimit-tokens-reset", "2026-05-28T20:26:50Z"),
                ("anthropic-ratelimit-requests-remaining", "5"),
                ("anthropic-ratelimit-requests-reset", "2026-05-28T21:00:00Z"),
            ]),
            Some(Duration::from_secs(10))
        );
        assert_eq!(
            wait(&[
                ("x-ratelimit-remaining-tokens", "0"),
                ("x-ratelimit-reset-tokens", "6m1s"),
                ("x-ratelimit-remaining-requests", "3"),
                ("x-ratelimit-reset-requests", "9h"),
            ]),
            Some(Duration::from_secs(361))
        );
        assert_eq!(
            wait(&[("x-ratelimit-reset", "1780000010000")]),
            wait(&[("x-ratelimit-reset", "1780000010")])
        );
        assert_eq!(wait(&[("ratelimit-reset", "12")]), Some(Duration::from_secs(12)));
        assert_eq!(wait(&[("retry-after", "soon")]), None);
        assert_eq!(wait(&[]), None);
    }

    #[test]
    fn what_a_provider_says_is_cut_and_holds_no_key() {
        let body =
            serde_json::json!({"error": {"message": format!("bad key sk-secret {}", "x".repeat(900))}});
        let text = refused(401, &[], &body.to_string()).to_string();
        assert!(text.contains("bad key … xxx") && text.len() < 500, "{text}");
    }
}
