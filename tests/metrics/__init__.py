"""Metrics: the table, the numbers and the text."""
