"""REST, server-sent events and the dashboard: a client of the control plane like any other.

Run it with `python -P -m gateway --help`.
"""
