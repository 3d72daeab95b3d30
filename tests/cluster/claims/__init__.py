"""Tests of slots that a program takes: votes, promises, gifts, and letters that make no sense."""
