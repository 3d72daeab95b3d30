//! Empty: this package exists for its `[[bench]]` targets.
