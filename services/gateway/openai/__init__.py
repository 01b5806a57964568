"""OpenAI's API for text over the checkpoints of this service, below `/v1`.

- `bodies`: what is taken, what is refused and what is ignored.
- `models`: which checkpoint a `model` means.
- `answers`: the answers, whole and in chunks.
- `errors`: problems in OpenAI's form.
- `routes`: the addresses.
"""
