"""The whole Training Engine on one machine: `training-engine up` and `recover`.

- `command`: the command: its options, the addresses that it prints, its end.
- `recover_command`: `training-engine recover`: rebuilds the records after the loss of the server.
- `stack`: which processes there are, how each is started, and in which order.
- `supervisor`: starts them again when they die, and ends them in order.
- `data_folder`, `embedded_server`: where the stack keeps its data, and the server that it brings
  along.
- `errors`: what can keep it from starting.
"""
