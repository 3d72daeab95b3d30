"""Rows H: what a hostile or broken peer sends, and what a machine does, at a real node."""
