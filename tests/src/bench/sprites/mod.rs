//! sprites: what the sprite host takes for what it does.

mod checkpoint;

use super::machine;

/// Runs all parts and prints the numbers.
///
/// # Panics
/// When the host fails.
pub async fn run() {
    println!("sprites · {}", machine());
    checkpoint::run().await;
}
