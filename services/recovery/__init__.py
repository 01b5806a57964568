"""Rebuilds what Redis held from the artifact store, into an empty Redis: `recover`.

The journal says what the records were, and the attempts' folders hold the checkpoints, the metrics
and the output. No other code reads the journal. In order of reading:

- `command`: the command, and its exit codes.
- `recovery`: the order of the steps, and when nothing may be done.
- `journal`: the records that the journal holds, and what is wrong with it.
- `manifests`: a job of a release that wrote no journal, from its files.
- `planning`: the state in which a job comes back.
- `restoration`: enters a job, and publishes its metrics and output again.
- `report`: what was found, record by record, as a table and as JSON.
"""
