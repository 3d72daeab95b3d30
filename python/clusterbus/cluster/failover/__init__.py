"""Failures and what follows from them: PFAIL and FAIL, elections and votes, epochs, roles, replication."""
