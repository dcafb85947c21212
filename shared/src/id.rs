//! Identifiers: [ULIDs](https://github.com/ulid/spec), one type per thing, so that a run's id can't be passed for an agent's.
//!
//! A ULID sorts by its creation time, so rows keyed by one are appended, not scattered. Text form: 26 characters
//! of Crockford base 32.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use ulid::Ulid;

use crate::UnixMillis;

/// The text is not an id: not 26 characters of Crockford base 32.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an id; an id is 26 letters and digits like 01J9ZD6M5N0000000000000000")]
pub struct InvalidId(String);

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Ulid);

        impl $name {
            /// The id made at `now` with 10 random bytes.
            pub fn new(now: UnixMillis, random: [u8; 10]) -> Self {
                let mut low = [0; 16];
                low[6..].copy_from_slice(&random);
                Self(Ulid::from_parts(now.0.max(0).cast_unsigned(), u128::from_be_bytes(low)))
            }

            /// The id made of 16 given bytes, for ids that are derived (from a hash) rather than drawn.
            pub fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(Ulid(u128::from_be_bytes(bytes)))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.0)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                Ulid::from_string(text).map(Self).map_err(|_| InvalidId(text.to_owned()))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let mut buffer = [0; ulid::ULID_LEN];
                serializer.serialize_str(self.0.array_to_str(&mut buffer))
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}

ids! {
    /// An agent: an employee.
    AgentId
    /// The thread in a channel that work items belong to; derived from the integration and the channel's own key.
    ConversationId
    /// One webhook request as received.
    DeliveryId
    /// Something visible outside, in the outbox.
    EffectId
    /// One configured connection to a channel.
    IntegrationId
    /// One request of a runner for work.
    PollId
    /// One connection by which an edge sees that a runner lives.
    PresenceId
    /// One runner process, from its start to its end.
    ProcessId
    /// One piece of work by one agent.
    RunId
    /// Something a run is told from outside (a cancel, a message) that its runner has yet to journal.
    SignalId
    /// A rule by which an agent listens to an integration.
    SubscriptionId
    /// A credential: a runner token, a session, a login code.
    TokenId
    /// A normalised event.
    WorkItemId
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_sort_by_time_and_round_trip_as_text() {
        let early = RunId::new(UnixMillis(1_000), [0xff; 10]);
        let late = RunId::new(UnixMillis(1_001), [0; 10]);
        assert!(early < late && early.to_string() < late.to_string());
        assert_eq!(early.to_string().parse::<RunId>().unwrap(), early);
        assert_eq!(serde_json::to_string(&late).unwrap(), format!("\"{late}\""));
        assert!("not an id".parse::<RunId>().is_err());
    }
}
