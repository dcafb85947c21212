//! Deterministic simulation of Roost: two edges, a database server, three runners, two channels, the senders of webhooks and a
//! person who meddles on one thread, on [turmoil](https://docs.rs/turmoil)'s network and clock, with partitions, held and slow links, killed hosts and
//! wrong clocks by seed.
//!
//! The product's own code in it is the edge's core with all its SQL, its client of database servers, and the fold of journals.
//! The runner is a small one by the same rules (see [`runner`]), the database server is SQLite behind the protocol's simplest
//! part (see [`store`]), and the channels are stand-ins.
//!
//! Invariant: a seed decides everything, so what a seed finds it finds again.

pub mod chance;
pub mod channel;
pub mod check;
pub mod edge_host;
pub mod faults;
pub mod history;
pub mod network;
pub mod office;
pub mod payload;
pub mod person;
pub mod runner;
pub mod sender;
pub mod store;
pub mod trace;
pub mod world;
