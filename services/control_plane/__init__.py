"""The control plane: the gRPC services over the job store, and the reconciler."""
