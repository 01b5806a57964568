"""Timed claims, each measured against something run side by side. Run: make bench."""
