//! Who may do what: the master key and what is derived from it, sealed secrets, signed tokens.

pub mod keys;
pub mod seal;
pub mod token;
