"""The stubs of protos/training_engine/v1, written by `make protos`; never edit them."""
