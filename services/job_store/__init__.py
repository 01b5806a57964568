"""Job state in Redis: typed records, atomic transitions, streams and history.

The record of a job is the truth about it; the queue is only transport. Each change is one Lua
script (`scripts/`) that checks and changes in one step; `transitions.lua` holds the moves between
states. Knows no gRPC and no torch. In order of reading:

- `records`, `history_records`, `errors`, `ids`: what is stored, what can go wrong, how things are
  named.
- `keys`, `codec`, `scripts`: the names of keys, records to and from what Redis holds, and how a
  script is put together and its reply read.
- `clients`, `connection`, `batches`, `outages`, `durability`: calls to the server: where it is,
  deadlines and retries, commands that go together, which errors mean that it is away, and whether a
  change is in its append-only file.
- `journal`: a copy of each record outside of Redis, made before a change is acknowledged.
- `jobs`, `listing`: what the control plane does with jobs: create, list, stop, resume, delete.
- `attempts`, `attempt_history`: what a worker does with its attempt: claim, renew the lease,
  publish, register, finish.
- `alerts`: rules that fire where points arrive and jobs end.
- `reconcile`: what the reconciler does: see what runs and waits, declare an attempt lost, lead.
- `queues`, `workers`: the queues that attempts wait in; the workers that report themselves.
- `segments`: which attempt's points readers see, after resumes have cut the history.
- `history`, `charts`, `archive`, `packed_history`: the visible history: pages, charts from
  summaries, old points in files, many points at once.
- `events`, `streams`: the same history and a job's events, live, for any number of watchers.
- `restoring`: what the recovery does: enters records that Redis has lost.
- `paging`, `unreadable`: signed page tokens and cursors; records that a list leaves out.
- `sweeps`: searches over values: what is searched, what was decided, which jobs are the children.
- `catalog`, `identity`: configurations and datasets; which artifact store the records belong to.
- `inference_requests`, `generation`, `evaluation`: requests that a worker answers at once: for
  text, and for the loss on data.
"""
