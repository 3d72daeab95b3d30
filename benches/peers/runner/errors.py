"""The error of a measurement, which its parts share."""

from __future__ import annotations


class MeasurementError(Exception):
    """A measurement that gave no figures; the text says why."""
