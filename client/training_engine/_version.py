"""The version of every distribution built from this repository; pyproject files read it here."""

__version__ = "0.1.0"
