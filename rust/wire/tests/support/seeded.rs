//! Property tests that can be repeated: every run has a known seed, and a failing test prints the command that repeats
//! it.

use std::hash::BuildHasher;

use proptest::test_runner::{Config, RngSeed};

/// The settings of a property test with this many cases. Its seed is `PROPTEST_RNG_SEED`, or else a new one each time.
/// Prints the command that repeats the run, which the harness shows when the test fails.
pub fn config(cases: u32) -> Config {
    let mut config = Config { cases, failure_persistence: None, ..Config::default() };
    let seed = match config.rng_seed {
        RngSeed::Fixed(seed) => seed,
        RngSeed::Random => std::hash::RandomState::new().hash_one(0),
    };
    config.rng_seed = RngSeed::Fixed(seed);
    // The harness names threads after their tests.
    let thread = std::thread::current();
    let (package, binary) = (env!("CARGO_PKG_NAME"), env!("CARGO_CRATE_NAME"));
    println!(
        "repeat: PROPTEST_RNG_SEED={seed} cargo test --package {package} --test {binary} {}",
        thread.name().unwrap_or_default()
    );
    config
}
