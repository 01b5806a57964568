"""Serves REST, server-sent events and the dashboard, as a client of the control plane.

Run it with `python -P -m gateway --help`. In order of reading:

- `__main__`, `settings`, `application`: the process and its ASGI application.
- `contract`: what the protos say about REST: each call's route, and how its messages are shown.
- `schemas`: the shapes of requests and answers, made from the contract.
- `routes`: a request passes from a route to the control plane and back. Those of calls with one
  message each way are made from the contract; those of streams and files are written by hand.
- `openai`: OpenAI's API for text, below `/v1`.
- `control_plane`, `codec`, `documents`: the connection to the control plane, writing JSON, and
  reading bodies and queries strictly.
- `problems`: answers every error as `application/problem+json`.
- `following`, `streaming`: a job's events for one client, across restarts of the control plane.
- `guard`, `hosts`, `doorkeeper`, `sessions`: check hosts, sizes, tokens and cookies.
- `connections`, `ranges`, `heads`: slow clients, parts of files, HEAD.
- `openapi_document`, `telemetry`: the description of the API, and its Prometheus metrics.

`static/` is the dashboard: plain JavaScript modules that use REST; `app.js` is the first.
"""
