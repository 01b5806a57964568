"""The shapes of requests and answers, as OpenAPI shows them.

- `base`: what every shape shares; read it first.
- `shapes`: the shapes of the contract's messages, made from the protos.
- `problem`, `generation`, `evaluation`, `session`: the shapes that no message has.
- `examples`: the run that all examples of the OpenAPI document show.
"""
