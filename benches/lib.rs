//! Empty: this package exists only for its `[[bench]]` targets.
