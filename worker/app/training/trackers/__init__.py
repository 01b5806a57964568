"""Where metrics are sent besides `metrics.jsonl`, as `trackers` and `wandb_project` ask for.

A tracker stops no run and delays no step: each works in a thread of its own. In order of reading:

- `protocol`: what a tracker is, and the run that it gets.
- `trackers`: the trackers of a run, chosen by its configuration.
- `background`: the thread of a tracker and the queue before it.
- `csv_file`: `metrics.csv`.
- `event_files`: the files that TensorBoard reads.
- `mlflow_run`, `wandb_run`: MLflow; Weights & Biases.
- `requirements`: what has to be there before the first step.
"""
