//! The fuzzer: libFuzzer around one target, which the variable `CLUSTERBUS_FUZZ_TARGET` names.
//!
//! `make fuzz` builds it, with rustc's coverage instrumentation, and runs it; by hand: `scripts/fuzz.py --help`.
#![no_main]

use std::sync::LazyLock;

use clusterbus_fuzz::{Target, target};

static CHOSEN: LazyLock<&Target> = LazyLock::new(|| {
    let name = std::env::var("CLUSTERBUS_FUZZ_TARGET").unwrap_or_default();
    target(&name).unwrap_or_else(|| panic!("CLUSTERBUS_FUZZ_TARGET={name:?} names no target"))
});

libfuzzer_sys::fuzz_target!(|data: &[u8]| (CHOSEN.run)(data));
