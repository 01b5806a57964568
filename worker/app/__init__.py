"""The training library: it needs no service, no network and no Redis.

- `transformer`: the model and its configuration.
- `training`: trains it: data, optimizer steps, checkpoints, exact resume.
"""
