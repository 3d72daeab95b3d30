"""The tests. This folder is a package so that test modules can import `tests.peers`."""
