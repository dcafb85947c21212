//! sprites: what the sprite host takes for what it does.

mod checkpoint;
mod commands;

use super::machine;

/// Runs all parts and prints the numbers.
///
/// # Panics
/// When the host fails.
pub async fn run() {
    println!("sprites · {}", machine());
    commands::run().await;
    checkpoint::run().await;
}
