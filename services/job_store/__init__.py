"""Job state in Redis: typed records, atomic transitions, streams and history.

The truth about every job; the queue is only transport. Knows no gRPC and no torch.
"""
