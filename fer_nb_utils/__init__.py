"""Facial expression recognition on FER-2013: the package under the notebook series."""

__version__ = "0.1.0"
