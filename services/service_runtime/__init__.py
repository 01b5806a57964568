"""What every process of the engine shares: settings, logs, telemetry, authentication, signals.

Submodules are imported by name; only `rpc_errors` needs gRPC.
"""
