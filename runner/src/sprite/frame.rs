//! The binary frames of an exec connection without a terminal: one stream byte, then the payload.
//!
//! Invariant: decoding never panics and never copies; a frame that is not understood is `None` and may be skipped.
//! With a terminal, binary messages are raw bytes in both directions and this codec is not used.

use bytes::{BufMut, Bytes, BytesMut};

/// Which stream a frame belongs to (first byte on the wire).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum StreamId {
    Stdin = 0,
    Stdout = 1,
    Stderr = 2,
    Exit = 3,
    StdinEof = 4,
}

/// A decoded frame, either direction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Frame {
    Stdin(Bytes),
    Stdout(Bytes),
    Stderr(Bytes),
    /// Exit code as the one byte the wire has room for.
    Exit(u8),
    StdinEof,
}

impl Frame {
    /// Reads one binary message. `None`: empty, or a stream this version doesn't know.
    pub(super) fn decode(message: &Bytes) -> Option<Self> {
        let (stream, payload) = (*message.first()?, message.slice(1..));
        match stream {
            0 => Some(Self::Stdin(payload)),
            1 => Some(Self::Stdout(payload)),
            2 => Some(Self::Stderr(payload)),
            3 => Some(Self::Exit(payload.first().copied().unwrap_or(0))),
            4 => Some(Self::StdinEof),
            _ => None,
        }
    }

    /// Writes one binary message. Copies the payload once; the host's output path avoids even that by reading
    /// behind a stream byte that is already in the buffer.
    pub(super) fn encode(&self) -> Bytes {
        match self {
            Self::Stdin(payload) => prefixed(StreamId::Stdin, payload),
            Self::Stdout(payload) => prefixed(StreamId::Stdout, payload),
            Self::Stderr(payload) => prefixed(StreamId::Stderr, payload),
            Self::Exit(code) => Bytes::copy_from_slice(&[StreamId::Exit as u8, *code]),
            Self::StdinEof => Bytes::from_static(&[StreamId::StdinEof as u8]),
        }
    }
}

fn prefixed(stream: StreamId, payload: &[u8]) -> Bytes {
    let mut message = BytesMut::with_capacity(payload.len() + 1);
    message.put_u8(stream as u8);
    message.put_slice(payload);
    message.freeze()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frames() -> impl Strategy<Value = Frame> {
        let payload = || proptest::collection::vec(any::<u8>(), 0..300).prop_map(Bytes::from);
        prop_oneof![
            payload().prop_map(Frame::Stdin),
            payload().prop_map(Frame::Stdout),
            payload().prop_map(Frame::Stderr),
            any::<u8>().prop_map(Frame::Exit),
            Just(Frame::StdinEof),
        ]
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(frame in frames()) {
            prop_assert_eq!(Frame::decode(&frame.encode()), Some(frame));
        }

        #[test]
        fn the_law_holds_for_any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            crate::sprite::frame_law::holds(&bytes);
        }
    }

    #[test]
    fn an_exit_frame_without_a_code_means_zero() {
        assert_eq!(Frame::decode(&Bytes::from_static(&[3])), Some(Frame::Exit(0)));
    }
}
