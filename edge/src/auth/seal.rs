//! Sealed values: AES-256-GCM, bound to the row they belong to, so that one row's secret can't be moved into another.
//!
//! Text form: `v1.<key id>.<base64 of nonce ‖ ciphertext>`.

use aes_gcm::{
    Aes256Gcm, Key, KeyInit, Nonce,
    aead::{Aead, Payload},
};
use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};

use super::keys::MasterKey;
use crate::ports::Random;

const NONCE: usize = 12;

/// A sealed value could not be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// It was sealed under another master key.
    #[error("a secret was sealed under another master key; start with the key it was sealed under")]
    OtherKey,
    /// It was changed, or belongs to another row.
    #[error("a secret is damaged; enter it again")]
    Damaged,
}

/// Seals and opens values.
#[derive(Clone)]
pub struct Sealer {
    cipher: Aes256Gcm,
    key_id: String,
}

impl Sealer {
    /// The sealer of a master key.
    pub fn new(master: &MasterKey) -> Self {
        let key = Key::<Aes256Gcm>::from(master.derive("roost/seal"));
        Self {
            cipher: Aes256Gcm::new(&key),
            key_id: master.id().to_owned(),
        }
    }

    /// Seals `plain` for the row named `row`.
    ///
    /// # Errors
    /// When the value is longer than AES-GCM takes (64 GiB).
    pub fn seal(&self, random: &dyn Random, row: &str, plain: &[u8]) -> Result<String, SealError> {
        let mut sealed = vec![0; NONCE];
        random.fill(&mut sealed);
        let nonce = Nonce::clone_from_slice(&sealed);
        let ciphertext = self
            .cipher
            .encrypt(
                &nonce,
                Payload {
                    msg: plain,
                    aad: row.as_bytes(),
                },
            )
            .map_err(|_| SealError::Damaged)?;
        sealed.extend(ciphertext);
        Ok(format!("v1.{}.{}", self.key_id, STANDARD_NO_PAD.encode(sealed)))
    }

    /// Opens a value sealed for the row named `row`.
    ///
    /// # Errors
    /// When it was sealed under another key, for another row, or was changed.
    pub fn open(&self, row: &str, sealed: &str) -> Result<Vec<u8>, SealError> {
        let mut parts = sealed.splitn(3, '.');
        let (Some("v1"), Some(key_id), Some(text)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(SealError::Damaged);
        };
        if key_id != self.key_id {
            return Err(SealError::OtherKey);
        }
        let bytes = STANDARD_NO_PAD.decode(text).map_err(|_| SealError::Damaged)?;
        let (nonce, ciphertext) = bytes.split_at_checked(NONCE).ok_or(SealError::Damaged)?;
        self.cipher
            .decrypt(
                Nonce::from_slice(nonce),
                Payload {
                    msg: ciphertext,
                    aad: row.as_bytes(),
                },
            )
            .map_err(|_| SealError::Damaged)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Zeros;

    impl Random for Zeros {
        fn fill(&self, buffer: &mut [u8]) {
            buffer.fill(0);
        }
    }

    #[test]
    fn opens_only_with_the_key_and_the_row_it_was_sealed_for() {
        let sealer = Sealer::new(&MasterKey::from_bytes([7; 32]));
        let sealed = sealer.seal(&Zeros, "integrations/1", b"hush").unwrap();
        assert!(!sealed.contains("hush"));
        assert_eq!(sealer.open("integrations/1", &sealed).unwrap(), b"hush");
        assert_eq!(sealer.open("integrations/2", &sealed), Err(SealError::Damaged));
        let other = Sealer::new(&MasterKey::from_bytes([8; 32]));
        assert_eq!(other.open("integrations/1", &sealed), Err(SealError::OtherKey));
    }
}
