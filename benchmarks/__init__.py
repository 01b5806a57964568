"""Timed claims, each measured against something run side by side. Run: make bench.

- `__main__`, `harness`, `significance`: which benchmarks there are, how all of them measure, and
  whether two means differ.
- `on_gpu`: tests and benchmarks for a machine with a GPU, within eight minutes.
- `trainer_throughput`, `trainer_memory`, `checkpoint_loading`, `export_memory`, `generation`,
  `async_save`, `import_weights`, `modern_recipe`, `own_tokenizer`, `tokenizing`: the library.
- `upload`: checkpoints that go to a bucket.
- `service_processes`: the real processes of those that follow.
- `service_start`, `service_throughput`, `service_recovery`: a job: its start, its speed, a lost
  worker.
- `service_calls`, `service_watching`, `service_history`: calls, watchers, and what history costs.
- `page`: the dashboard in a browser: many runs over each other, a long list.
"""
