//! The pieces of keyed hashing that channels share.
//!
//! Invariant: what comes from outside is compared in constant time, and an empty key signs nothing.

use base64::{Engine, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::ingress::channel::Rejection;

/// How far a signature's timestamp may be from now, either way, in seconds.
pub const MAX_AGE_S: u64 = 300;

/// HMAC-SHA256 of the concatenated `parts`.
pub fn sign(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    mac(key, parts).finalize().into_bytes().into()
}

/// Whether `digest` is the HMAC-SHA256 of the concatenated `parts`; never with an empty key.
pub fn is_signed(key: &[u8], parts: &[&[u8]], digest: &[u8]) -> bool {
    !key.is_empty() && mac(key, parts).verify_slice(digest).is_ok()
}

/// Whether two secrets are equal, in a time that tells nothing but their lengths; an empty one equals nothing.
pub fn is_same(ours: &str, theirs: &[u8]) -> bool {
    !ours.is_empty() && bool::from(ours.as_bytes().ct_eq(theirs))
}

/// SHA-256 of the body in hex: names an event whose sender gave it no name.
pub fn fingerprint(body: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(body)))
}

/// The key bytes of a generic secret: base 64 after `whsec_`, else the text itself.
///
/// # Errors
/// [`Rejection::Secret`] if it is empty or not base 64.
pub fn generic_key(secret: &str) -> Result<Vec<u8>, Rejection> {
    let key = match secret.strip_prefix("whsec_") {
        Some(encoded) => STANDARD
            .decode(encoded.trim())
            .map_err(|_| Rejection::Secret("what follows whsec_ is not base 64"))?,
        None => secret.as_bytes().to_vec(),
    };
    if key.is_empty() {
        return Err(Rejection::Secret("it is empty"));
    }
    Ok(key)
}

/// The `webhook-signature` that [Standard Webhooks](https://www.standardwebhooks.com) 1.0 asks for: `v1,` and base 64.
pub fn standard_signature(key: &[u8], id: &str, timestamp_s: i64, body: &[u8]) -> String {
    let timestamp = timestamp_s.to_string();
    let digest = sign(key, &[id.as_bytes(), b".", timestamp.as_bytes(), b".", body]);
    format!("v1,{}", STANDARD.encode(digest))
}

fn mac(key: &[u8], parts: &[&[u8]]) -> Hmac<Sha256> {
    // RFC 2104: a key longer than the block is hashed, a shorter one padded with zeros.
    let mut block = [0; 64];
    if key.len() > block.len() {
        block[..32].copy_from_slice(&Sha256::digest(key));
    } else {
        block[..key.len()].copy_from_slice(key);
    }
    let mut mac = Hmac::<Sha256>::new(&block.into());
    for part in parts {
        mac.update(part);
    }
    mac
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_rfc_4231() {
        let long_key = [0xaa; 131];
        let message = b"Test Using Larger Than Block-Size Key - Hash Key First";
        assert_eq!(
            hex::encode(sign(&long_key, &[message])),
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"
        );
        let digest = sign(b"Jefe", &[b"what do ya want ", b"for nothing?"]);
        assert_eq!(
            hex::encode(digest),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
        assert!(is_signed(b"Jefe", &[b"what do ya want for nothing?"], &digest));
        assert!(!is_signed(
            b"Jefe",
            &[b"what do ya want for nothing?"],
            &digest[..31]
        ));
    }

    #[test]
    fn an_empty_secret_proves_nothing() {
        assert!(!is_signed(b"", &[b"x"], &sign(b"", &[b"x"])));
        assert!(!is_same("", b""));
        assert!(
            generic_key("").is_err() && generic_key("whsec_").is_err() && generic_key("whsec_%%").is_err()
        );
    }

    #[test]
    fn agrees_with_the_standard_webhooks_example() {
        let key = generic_key("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        assert_eq!(
            standard_signature(
                &key,
                "msg_p5jXN8AQM9LWM0D4loKWxJek",
                1_614_265_330,
                br#"{"test": 2432232314}"#
            ),
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
        );
    }
}
