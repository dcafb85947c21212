//! Tests of Roost across processes.
