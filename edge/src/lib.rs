//! Roost edge.
