//! How often and how fast: attempts, and looks for what may have been sent.

use std::time::Duration;

use roost_shared::UnixMillis;

use crate::edge::Edge;

/// How often an effect is tried before it is given up: with the pauses below, for some 70 minutes.
pub(super) const ATTEMPTS: u32 = 12;
/// The longest pause between two attempts, unless the channel asks for a longer one.
const LONGEST: Duration = Duration::from_secs(3600);
/// How long sending may take before its outcome is unknown: channels are given 30 s for a call.
pub(crate) const SEND_WITHIN: Duration = Duration::from_secs(60);
/// After so many looks that saw it is not there, it is not there.
pub(super) const MISSED_LOOKS: u32 = 2;
/// After so many looks in which the channel could not say, a person is asked.
pub(super) const LOOKS: u32 = 10;

/// When to look first for what may have been sent: after 15 s. GitHub ends a request of its own after 10 s, so what is still
/// to be made of one without an answer has been made by then.
pub(super) fn first_look(edge: &Edge) -> UnixMillis {
    edge.now() + edge.settings.send_within / 4
}

/// When to look again for what was not there, after 45 s: what was made may be shown a while later.
pub(super) fn next_look(edge: &Edge) -> UnixMillis {
    edge.now() + edge.settings.send_within * 3 / 4
}

/// When to try again after `attempts`: 2 s, 4 s, 8 s, … up to an hour, and up to a tenth more so that many don't come
/// at once; never before the channel said.
pub(super) fn next_attempt(edge: &Edge, attempts: u32, after: Option<Duration>) -> UnixMillis {
    let pause = Duration::from_secs(1 << attempts.clamp(1, 12)).min(LONGEST);
    let mut byte = [0];
    edge.ports.random.fill(&mut byte);
    let pause = pause.max(after.unwrap_or_default());
    edge.now() + pause + pause * u32::from(byte[0]) / 2560
}
