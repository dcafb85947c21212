//! Why an HTTP request failed, in words: the HTTP client itself says only the outermost.

/// The error and what caused it, without the URL: it may hold what nobody should see.
pub(crate) fn reason(error: &reqwest::Error) -> String {
    let mut text = match error {
        error if error.is_connect() => "can't connect".to_owned(),
        error if error.is_timeout() => "timed out".to_owned(),
        _ => "the connection failed".to_owned(),
    };
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        if cause.source().is_none() {
            text = format!("{text}: {cause}");
        }
        source = cause.source();
    }
    text
}
