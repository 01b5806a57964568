"""The REST resources, one router each.

- `declare`: how a route names its RPC and the problems that it may answer with; read it first.
- `jobs`, `stream`, `metrics`, `checkpoints`, `generation`: a job, its events, what it measured and
  saved.
- `configs`, `datasets`, `workers`: what jobs refer to and who runs them.
- `operations`, `session`, `pages`: health, signing in, the dashboard's files.
"""
