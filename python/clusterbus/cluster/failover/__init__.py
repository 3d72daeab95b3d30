"""Failures and their consequences: PFAIL and FAIL, elections and votes, epochs, roles, replication."""
