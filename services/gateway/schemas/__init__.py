"""The shapes of requests and answers, as OpenAPI shows them.

- `base`: what every shape shares; read it first.
- `jobs`, `metrics`, `checkpoints`, `configs`, `datasets`, `workers`, `session`: one module a
  resource.
- `examples`: the run that all examples of the OpenAPI document show.
"""
