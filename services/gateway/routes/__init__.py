"""The REST resources.

- `declare`: how a route names its RPC and the problems that it may answer with; read it first.
- `unary`: the routes of all calls that take one message and answer with one, made from the protos.
- `jobs`, `stream`: a job's state, and its events.
- `checkpoints`, `datasets`, `generation`, `evaluation`, `answering`: downloads, uploads, sampled
  text, the loss on data; how answers that take a while are sent.
- `operations`, `session`, `pages`: health, signing in, the dashboard's files.
"""
