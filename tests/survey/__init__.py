"""Tests of the survey of a cluster by its client ports."""
