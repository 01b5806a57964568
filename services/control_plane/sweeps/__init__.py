"""Sweeps: many values of a configuration, trained as jobs and compared as one.

In order of reading:

- `document`, `values`, `execution`: what a person wants, checked as a whole; the values of each
  child; how it is run.
- `rungs`, `importance`: who goes on and who is best; which parameter mattered.
- `children`, `driver`: the children as jobs; what starts, continues, stops and deletes them.
- `service`, `messages`: the calls, and sweeps as messages.
"""
