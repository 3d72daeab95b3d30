"""Tests of `runtime`, a file for each of its modules: these are more than a dozen for the reason that it gives."""
