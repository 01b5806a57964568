"""The whole Training Engine on one machine: `training-engine up`."""
