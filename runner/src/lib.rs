//! Roost runner.
