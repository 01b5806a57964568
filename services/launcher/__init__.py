"""Starts workers for jobs over several nodes, as JobSets in Kubernetes, and ends them.

Run it with `python -P -m launcher --help`. In order of reading:

- `__main__`, `settings`: the process.
- `launcher`: which JobSets are to be made and deleted, found again in each round.
- `jobset`: what the JobSet of a job is, as a copy of the one that the overlay holds.
- `kubernetes`: the four calls to the API server.
"""
