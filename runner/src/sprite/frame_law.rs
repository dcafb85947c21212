//! What holds for every binary message, whatever is in it. For tests and the fuzzer.
//!
//! Invariant: as of [`frame`](super::frame): known streams are read and nothing else is, no byte of a payload is lost or
//! invented, and what was read can be written and is read again as the same.

use bytes::Bytes;

use super::frame::Frame;

/// Fails if the codec does something else with these bytes.
pub(crate) fn holds(bytes: &[u8]) {
    let message = Bytes::copy_from_slice(bytes);
    let decoded = Frame::decode(&message);
    assert_eq!(
        decoded.is_some(),
        bytes.first().is_some_and(|stream| *stream <= 4)
    );
    let Some(frame) = decoded else { return };
    if let Frame::Stdin(payload) | Frame::Stdout(payload) | Frame::Stderr(payload) = &frame {
        assert_eq!(payload.as_ref(), &bytes[1..]);
    }
    let written = frame.encode();
    assert_eq!(written.first(), bytes.first());
    assert_eq!(Frame::decode(&written), Some(frame));
}
