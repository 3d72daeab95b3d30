"""Rows H: what a hostile or broken peer sends, and what a machine does, at a real node.

More than a dozen modules, because each holds the rows of one subject.
"""
