//! What an exec request asks for, read from its query.
//!
//! Invariant: what a command gets as directory, environment and lifetime is decided here alone, with the API's defaults.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use super::{
    egress,
    error::{ApiError, FileError},
    local::LocalSprite,
    process::Command,
    resolve::{LastLink, Parents},
    session::Terms,
};
use crate::sprite::{HOME, wire_services::Definition};

const MAX_COMMAND_BYTES: usize = 128 << 10;
/// How long pipes run on without a client unless the request says so; terminals run for ever.
const KEEP_PIPES: Duration = Duration::from_secs(10);

/// An exec request as its query says it.
#[derive(Debug, Default)]
pub(super) struct Request {
    command: Vec<String>,
    program: Option<String>,
    dir: Option<String>,
    env: Vec<String>,
    stdin: Option<bool>,
    pub(super) tty: bool,
    /// Rows and columns.
    pub(super) size: (u16, u16),
    detachable: bool,
    keep: Option<Option<Duration>>,
    /// A session to attach to instead.
    pub(super) attach: Option<String>,
}

impl Request {
    /// Reads it; what it doesn't know it ignores, because newer clients may say more.
    pub(super) fn parse(query: Vec<(String, String)>) -> Result<Self, ApiError> {
        let mut request = Self {
            size: (24, 80),
            ..Self::default()
        };
        let bytes: usize = query.iter().map(|(key, value)| key.len() + value.len()).sum();
        if bytes > MAX_COMMAND_BYTES {
            return Err(ApiError::bad_request(
                "the command and its environment are longer than 128 KiB",
            ));
        }
        for (key, value) in query {
            let cells = || {
                value
                    .parse::<u16>()
                    .map_err(|_| ApiError::bad_request(format!("{key} must be a number")))
            };
            let yes = matches!(value.as_str(), "true" | "1");
            match key.as_str() {
                "cmd" => request.command.push(value),
                "path" => request.program = Some(value).filter(|path| !path.is_empty()),
                "dir" => request.dir = Some(value).filter(|dir| !dir.is_empty()),
                "env" => request.env.push(value),
                "stdin" => request.stdin = Some(yes),
                "tty" => request.tty = yes,
                "rows" => request.size.0 = cells()?,
                "cols" => request.size.1 = cells()?,
                "detachable" => request.detachable = yes,
                "max_run_after_disconnect" => request.keep = Some(duration(&value)?),
                "id" | "session_id" => request.attach = Some(value),
                _ => {}
            }
        }
        Ok(request)
    }

    /// Whether the command reads what clients send; a terminal does unless told otherwise.
    pub(super) fn takes_stdin(&self) -> bool {
        self.stdin.unwrap_or(self.tty)
    }

    /// The command in that sprite. `path`: where programs are looked for by default.
    pub(super) fn command(self, sprite: &LocalSprite, path: &str) -> Result<(Command, Terms), ApiError> {
        let stdin = self.takes_stdin();
        let dir = directory(sprite, self.dir.as_deref())?;
        let mut arguments = self.command;
        if arguments.is_empty() {
            arguments.push(self.program.clone().unwrap_or_else(|| "bash".into()));
        }
        let program = self.program.unwrap_or_else(|| arguments[0].clone());
        let mut env = if self.env.is_empty() {
            default_env(sprite, path, self.tty)
        } else {
            BTreeMap::new()
        };
        for entry in self.env {
            let pair = entry.split_once('=').filter(|(key, _)| !key.is_empty());
            let (key, value) =
                pair.ok_or_else(|| ApiError::bad_request("env must have the form KEY=VALUE"))?;
            env.insert(key.to_owned(), value.to_owned());
        }
        if sprite.is_walled() {
            // Without them there is no network; a request that replaces the environment does not mean that.
            for (key, value) in egress::variables() {
                env.entry(key.to_owned()).or_insert(value);
            }
        }
        let nul = |text: &String| text.contains('\0');
        if arguments
            .iter()
            .chain(env.keys())
            .chain(env.values())
            .chain([&program])
            .any(nul)
        {
            return Err(ApiError::bad_request("the command has a NUL in it"));
        }
        let keep = self
            .keep
            .unwrap_or(if self.tty { None } else { Some(KEEP_PIPES) });
        let tty = self.tty.then_some(self.size);
        let command = Command {
            program,
            arguments,
            dir,
            env,
            stdin,
            tty,
        };
        Ok((
            command,
            Terms {
                detachable: self.detachable,
                keep,
            },
        ))
    }
}

/// The command of a service: with the environment every command has, and its own variables.
pub(super) fn service_command(
    sprite: &LocalSprite,
    path: &str,
    service: &Definition,
) -> Result<Command, ApiError> {
    let mut env = default_env(sprite, path, false);
    env.extend(service.env.clone());
    let mut arguments = vec![service.cmd.clone()];
    arguments.extend(service.args.iter().cloned());
    Ok(Command {
        program: service.cmd.clone(),
        arguments,
        dir: directory(sprite, service.dir.as_deref())?,
        env,
        stdin: false,
        tty: None,
    })
}

/// Where a command starts, as it sees it: there, or in the home.
fn directory(sprite: &LocalSprite, dir: Option<&str>) -> Result<PathBuf, ApiError> {
    let found = match dir {
        Some(dir) => sprite.root.find(dir, HOME, LastLink::Follow, Parents::MustExist),
        None => sprite.root.find(HOME, "/", LastLink::Follow, Parents::Create),
    };
    let place = found.map_err(|lost| {
        let shown = dir.unwrap_or(HOME);
        let message = FileError::lost(shown, lost).message;
        ApiError::bad_request(format!("the directory {shown}: {message}"))
    })?;
    Ok(place.path)
}

/// What a command's environment is unless its request replaces it.
fn default_env(sprite: &LocalSprite, path: &str, tty: bool) -> BTreeMap<String, String> {
    // Without the slash that the walled root is.
    let root = sprite.root.seen().to_string_lossy();
    let root = root.trim_end_matches('/');
    let home = format!("{root}{HOME}");
    let mut env = BTreeMap::from(
        [
            ("HOME", home.clone()),
            ("LANG", "C.UTF-8".into()),
            ("LOGNAME", "sprite".into()),
            ("PATH", format!("{home}/.local/bin:{path}")),
            ("SHELL", "/bin/bash".into()),
            ("TMPDIR", format!("{root}/tmp")),
            ("USER", "sprite".into()),
        ]
        .map(|(key, value)| (key.to_owned(), value)),
    );
    if tty {
        env.insert("TERM".into(), "xterm-256color".into());
    }
    env.extend(sprite.record.environment.clone());
    env
}

/// Reads `0` (`None`, for ever), `30s`, `1m30s`, `500ms`, `2h`, or seconds without a unit.
pub(super) fn duration(text: &str) -> Result<Option<Duration>, ApiError> {
    let wrong = || ApiError::bad_request(format!("{text} is not a duration; write it like 30s, 5m or 0"));
    let mut rest = text.trim();
    let mut total = 0.0_f64;
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let number = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(rest.len());
        let value: f64 = rest[..number].parse().map_err(|_| wrong())?;
        rest = &rest[number..];
        let unit = rest
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(rest.len());
        total += value
            * match &rest[..unit] {
                "ms" => 0.001,
                "s" | "" => 1.0,
                "m" => 60.0,
                "h" => 3_600.0,
                _ => return Err(wrong()),
            };
        rest = &rest[unit..];
    }
    let duration = Duration::try_from_secs_f64(total).map_err(|_| wrong())?;
    Ok((!duration.is_zero()).then_some(duration))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_the_api_writes_them() {
        let cases = [
            ("30s", 30_000),
            ("1m30s", 90_000),
            ("500ms", 500),
            ("2h", 7_200_000),
            ("15", 15_000),
            ("1.5s", 1_500),
        ];
        for (text, millis) in cases {
            assert_eq!(
                duration(text).unwrap(),
                Some(Duration::from_millis(millis)),
                "{text}"
            );
        }
        assert_eq!(duration("0").unwrap(), None);
        assert_eq!(duration("0s").unwrap(), None);
        for wrong in ["", "s", "-1s", "1d", "1s!", "1..5s"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
