//! Fail points: the instants at which a death matters most, right before and right after something became durable or
//! visible. `cargo xtask test` builds a program that can die at each of them, once, when told to.
//!
//! Invariant: without the feature `fail-points` nothing of this is left in a program. With it, a process dies (or falls
//! asleep) at a point only if somebody armed that point, and whoever does disarms it.

macro_rules! points {
    ($($(#[$doc:meta])* $name:ident $text:literal)*) => {
        /// An instant at which a process may die.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum FailPoint {
            $($(#[$doc])* $name,)*
        }

        impl FailPoint {
            /// All there are.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// Its name: the part and the instant.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

points! {
    /// A webhook is verified and planned; nothing is stored.
    IngressPlanned "edge-ingress-planned"
    /// A webhook is stored; its sender has not been answered.
    IngressStored "edge-ingress-stored"
    /// Runs are leased; their runner does not know.
    RunsLeased "edge-runs-leased"
    /// An append has arrived; nothing is stored.
    AppendArrived "edge-append-arrived"
    /// An append is stored; its runner has not been answered.
    AppendStored "edge-append-stored"
    /// A run's end is stored with its reply; its runner has not been answered and nothing is sent.
    EndStored "edge-end-stored"
    /// A reply is claimed; it is not sent.
    ReplyClaimed "edge-reply-claimed"
    /// A channel has answered to a reply; that is not written down.
    ReplyAnswered "edge-reply-answered"
    /// A reply's outcome is written down.
    ReplySettled "edge-reply-settled"
    /// A runner has heard of a lease and not begun.
    LeaseHeard "runner-lease-heard"
    /// The model has answered; that is not journaled.
    ModelAnswered "runner-model-answered"
    /// Events are journaled; the runner has heard so and gone no further.
    EventsWritten "runner-events-written"
    /// A turn's results are journaled while the model is asked about them; the run has not heard so.
    ResultsBehind "runner-results-behind"
    /// A shell is open in the sprite; that is not journaled.
    ShellOpened "runner-shell-opened"
    /// A shell is journaled; nothing was said to it.
    ShellJournaled "runner-shell-journaled"
    /// A command was sent to the shell; nothing was heard of it.
    CommandSent "runner-command-sent"
    /// A command has ended; its result is not journaled.
    CommandEnded "runner-command-ended"
    /// The model is done; that the run is at its end is not journaled.
    EndReached "runner-end-reached"
    /// A run's end is journaled; its shell is still open.
    EndWritten "runner-end-written"
}

/// The variable that names the directory in which points are armed: a file of a point's name there arms it, and is called
/// `NAME.hit` once a process died at it.
pub const DIRECTORY: &str = "ROOST_FAIL_POINTS";

/// What stands in that file where the process is not to die but to stop (SIGSTOP) until somebody lets it go on.
pub const SLEEP: &str = "sleep";

/// Dies or falls asleep here, if the point is armed.
#[cfg(feature = "fail-points")]
pub fn reach(point: FailPoint) {
    use std::{env, fs, path::Path, process};

    let Some(directory) = env::var_os(DIRECTORY) else {
        return;
    };
    let armed = Path::new(&directory).join(point.name());
    let hit = armed.with_extension("hit");
    // Of many that are here at once, in one process or several, the file lets only one through.
    if fs::rename(&armed, &hit).is_err() {
        return;
    }
    if fs::read_to_string(&hit).is_ok_and(|order| order == SLEEP) {
        let own = process::id().to_string();
        // Where there is no `kill` nobody falls asleep, and the test finds that nothing was held up.
        drop(process::Command::new("kill").args(["-STOP", &own]).status());
    } else {
        process::abort();
    }
}

/// Does nothing.
#[cfg(not(feature = "fail-points"))]
#[inline(always)]
pub fn reach(_: FailPoint) {}
