"""The example programs, each with its test, so these are more than a dozen modules."""
