//! Holds nothing: this package exists for its `[[bench]]` targets.
