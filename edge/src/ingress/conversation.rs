//! The id of a conversation. It follows from integration and key, so that no look-up is needed to write it.
//!
//! Keys that differ only in the number at their end (`acme/shop#41`, `acme/shop#42`) have ids that differ only in their
//! last 48 bits, in the order of the numbers: new issues of a repository fall on the same pages of every index that begins
//! with the conversation, where ids spread evenly would cost each a page of its own.

use roost_shared::{ConversationId, IntegrationId};
use sha2::{Digest, Sha256};

/// The id of the integration's conversation with this key.
pub(super) fn conversation_id(integration: IntegrationId, key: &str) -> ConversationId {
    let (stem, number) = numbered(key).map_or((key, None), |(stem, number)| (stem, Some(number)));
    let digest = Sha256::new()
        .chain_update(integration.to_string())
        // What is numbered shares no digest with what is not.
        .chain_update([u8::from(number.is_some())])
        .chain_update(stem)
        .finalize();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    if let Some(number) = number {
        bytes[10..].copy_from_slice(&number.to_be_bytes()[2..]);
    }
    ConversationId::from_bytes(bytes)
}

/// The key without the number of at most 48 bits at its end, and the number; nothing if the two would not give the key back.
fn numbered(key: &str) -> Option<(&str, u64)> {
    let digits = key.bytes().rev().take_while(u8::is_ascii_digit).count();
    let (stem, digits) = key.split_at_checked(key.len() - digits)?;
    let number = digits.parse().ok().filter(|number| *number < 1 << 48)?;
    let canonical = digits == "0" || !digits.starts_with('0');
    canonical.then_some((stem, number))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use roost_shared::IntegrationId;

    use super::{conversation_id, numbered};

    const INTEGRATION: [u8; 16] = [7; 16];

    fn id(key: &str) -> String {
        conversation_id(IntegrationId::from_bytes(INTEGRATION), key).to_string()
    }

    #[test]
    fn numbers_of_one_stem_stand_side_by_side_and_in_order() {
        let ids: Vec<String> = [0, 9, 10, 41, 100_000]
            .iter()
            .map(|number| id(&format!("acme/shop#{number}")))
            .collect();
        assert!(ids.is_sorted());
        assert!(ids.iter().all(|id| id[..15] == ids[0][..15]), "{ids:?}");
        assert_ne!(id("acme/shop#9")[..15], id("acme/barn#9")[..15]);
        let other = IntegrationId::from_bytes([8; 16]);
        assert_ne!(
            conversation_id(other, "acme/shop#9").to_string(),
            id("acme/shop#9")
        );
    }

    #[test]
    fn a_number_is_one_only_if_it_is_written_as_numbers_are() {
        assert_eq!(numbered("acme/shop#41"), Some(("acme/shop#", 41)));
        assert_eq!(numbered("-1001234567890"), Some(("-", 1_001_234_567_890)));
        assert_eq!(numbered("0"), Some(("", 0)));
        for key in [
            "",
            "#",
            "#041",
            "#00",
            "db-1/disk",
            "#281474976710656",
            "#99999999999999999999999",
            "ü",
        ] {
            assert_eq!(numbered(key), None, "{key}");
        }
    }

    proptest! {
        #[test]
        fn different_keys_have_different_ids(one in "[a-c#]{0,2}[0-2]{0,3}", other in "[a-c#]{0,2}[0-2]{0,3}") {
            prop_assert_eq!(one == other, id(&one) == id(&other));
        }
    }
}
