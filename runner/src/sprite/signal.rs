//! The signals the Sprites API knows, and their names.
//!
//! Invariant: a name is accepted with or without `SIG`, in any case, or as its number; written names always carry `SIG`.

use std::fmt;

/// A signal one can send to an exec session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// Hang up.
    Hup,
    /// Interrupt, as from Ctrl-C.
    Int,
    /// Quit.
    Quit,
    /// Ask to end.
    Term,
    /// End without asking.
    Kill,
    /// First one free for use.
    Usr1,
    /// Second one free for use.
    Usr2,
    /// Stop, to be continued.
    Stop,
    /// Continue after a stop.
    Cont,
}

impl Signal {
    /// Every signal, in the order of their numbers.
    pub const ALL: [Self; 9] = [
        Self::Hup,
        Self::Int,
        Self::Quit,
        Self::Kill,
        Self::Usr1,
        Self::Usr2,
        Self::Term,
        Self::Cont,
        Self::Stop,
    ];

    /// Its name, for example `SIGTERM`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hup => "SIGHUP",
            Self::Int => "SIGINT",
            Self::Quit => "SIGQUIT",
            Self::Term => "SIGTERM",
            Self::Kill => "SIGKILL",
            Self::Usr1 => "SIGUSR1",
            Self::Usr2 => "SIGUSR2",
            Self::Stop => "SIGSTOP",
            Self::Cont => "SIGCONT",
        }
    }

    /// Its number on Linux.
    pub fn number(self) -> i32 {
        match self {
            Self::Hup => 1,
            Self::Int => 2,
            Self::Quit => 3,
            Self::Kill => 9,
            Self::Usr1 => 10,
            Self::Usr2 => 12,
            Self::Term => 15,
            Self::Cont => 18,
            Self::Stop => 19,
        }
    }

    /// Reads `SIGTERM`, `TERM`, `term` or `15`.
    pub fn parse(text: &str) -> Option<Self> {
        let upper = text.to_ascii_uppercase();
        let bare = upper.strip_prefix("SIG").unwrap_or(&upper);
        Self::ALL.into_iter().find(|signal| {
            signal.as_str().strip_prefix("SIG") == Some(bare) || signal.number().to_string() == bare
        })
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_every_signal_is_read() {
        for signal in Signal::ALL {
            let name = signal.as_str();
            for text in [
                name.to_owned(),
                name[3..].to_owned(),
                name.to_lowercase(),
                signal.number().to_string(),
            ] {
                assert_eq!(Signal::parse(&text), Some(signal), "{text}");
            }
        }
        assert_eq!(Signal::parse("SIGWHAT"), None);
    }
}
