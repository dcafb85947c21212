//! The master key. It is never used itself: every purpose has a key of its own, derived by HKDF-SHA256 (RFC 5869).

use base64::{Engine, engine::general_purpose::STANDARD};
use hkdf::Hkdf;
use sha2::{Digest, Sha256};

/// 32 random bytes that everything secret hangs on.
#[derive(Clone)]
pub struct MasterKey {
    secret: [u8; 32],
    id: String,
}

/// The text is no master key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the master key must be 32 bytes in base 64 (44 characters); make one with `openssl rand -base64 32`"
)]
pub struct InvalidMasterKey;

impl MasterKey {
    /// The key from its text form: 32 bytes in standard base 64.
    ///
    /// # Errors
    /// When the text is anything else.
    pub fn parse(text: &str) -> Result<Self, InvalidMasterKey> {
        let bytes = STANDARD.decode(text.trim()).map_err(|_| InvalidMasterKey)?;
        Ok(Self::from_bytes(bytes.try_into().map_err(|_| InvalidMasterKey)?))
    }

    /// The key of these bytes.
    pub fn from_bytes(secret: [u8; 32]) -> Self {
        let id = hex::encode(&Sha256::digest(secret)[..4]);
        Self { secret, id }
    }

    /// Its text form, as [`parse`](Self::parse) takes it.
    pub fn to_text(&self) -> String {
        STANDARD.encode(self.secret)
    }

    /// What it is called in sealed values: the first 4 bytes of its hash, in hexadecimal.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The key for one purpose.
    pub fn derive(&self, purpose: &str) -> [u8; 32] {
        let mut key = [0; 32];
        let expanded = Hkdf::<Sha256>::new(None, &self.secret).expand(purpose.as_bytes(), &mut key);
        // HKDF refuses only outputs beyond 255 hashes; one hash always fits.
        debug_assert!(expanded.is_ok());
        key
    }
}
