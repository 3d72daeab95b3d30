"""HTTP at metrics-port."""
