"""What every process of the engine shares: settings, logs, telemetry, authentication, signals.

Modules are imported by name. In order of reading:

- `settings`: flags and variables of a process, checked together.
- `process`: how a process begins and ends: its parent, its signals, its exit message.
- `duties`, `backoff`: background work that goes on whatever it raises, and how long it pauses.
- `temporary_folder`: a folder that goes with its process, however that ends.
- `logs`, `telemetry`: what a process says and counts.
- `tokens`, `failed_attempts`: who may call, and how wrong tokens are slowed.
"""
