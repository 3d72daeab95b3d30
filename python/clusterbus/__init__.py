"""The Valkey/Redis cluster bus as a Python package: Rust moves bytes, Python decides."""
