//! Roost shared.
