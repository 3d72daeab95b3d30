"""Tests of the simulated world: more than a dozen modules, as each stands beside the one of `sim` that it tests."""
