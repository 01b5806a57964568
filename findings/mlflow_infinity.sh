#!/usr/bin/env bash
# mlflow 3.17.2: infinity that is logged to a database comes back as 1.797e308; NaN comes back as NaN.
#
# log_metric takes the value without a word. The store writes the largest float in its place, so the history
# and the latest value have a finite number, and the axis of a chart reaches to 1e308. The gradient norm of
# one bad step is such a value.
# Here: the tracker for MLflow sends finite values alone.
#
# Output seen (Linux, Python 3.11): the lines of `expected` below.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet mlflow-skinny==3.17.2 sqlalchemy==2.1.9 alembic==1.20.1 pandas==3.1.1
cd "$folder"
export MLFLOW_TRACKING_URI=sqlite:///runs.db MLFLOW_DISABLE_TELEMETRY=true
seen=$("$folder/venv/bin/python" - 2>"$folder/log" <<'P'
import math

from mlflow import MlflowClient

client = MlflowClient()
experiment = client.create_experiment("norms")
run = client.create_run(experiment).info.run_id
for step, value in enumerate((1.5, math.nan, math.inf, -math.inf)):
    client.log_metric(run, "grad_norm", value, step=step)
for point in client.get_metric_history(run, "grad_norm"):
    print(point.step, point.value)
print("latest", client.get_run(run).data.metrics["grad_norm"])
P
) || { cat "$folder/log"; exit 1; }
expected='0 1.5
1 nan
2 1.7976931348623157e+308
3 -1.7976931348623157e+308
latest -1.7976931348623157e+308'
echo "$seen"
[ "$seen" = "$expected" ] || { echo "mlflow behaves differently now; expected:"; echo "$expected"; exit 1; }
