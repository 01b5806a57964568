"""The control plane: the gRPC services over the job store, and the reconciler.

It validates, stores and answers, and gives lost attempts a successor. It trains nothing, and keeps
nothing in memory that another control plane would miss. In order of reading:

- `__main__`, `settings`, `server`: the process, its settings, and the services that it offers.
- `state`: what all services share: the stores, the queue, the artifact store.
- `jobs`: JobService; a job begins in `StartJob`.
- `planning`, `config_reading`, `config_codec`, `execution`, `paths`, `initial_weights`,
  `preflight_cache`: what `StartJob` checks before a job is stored: the configuration that the
  request brings, its stored form, its limits, its files, the weights it begins with.
- `forks`, `overlay`: a job that begins with a checkpoint of another, and a configuration that is
  another one with changes.
- `sweeps`: many values of a configuration, trained as jobs and compared.
- `job_surroundings`: what belongs to a job's record elsewhere: its message, its files.
- `requests`, `paging`, `annotations`: what calls share: request ids, names, page sizes, tags and
  notes.
- `queue`: the message that brings an attempt to a worker.
- `reconciler`, `leases`: finds attempts that lost their worker or their message, and queues them
  again.
- `alert_sending`, `webhooks`: sends alerts to their receivers, and signs what it sends.
- `gangs`: when a job over several workers may begin.
- `leftovers`: deletes files that no record refers to.
- `conversion`: stored records as messages.
- `watching`, `metrics`: what a job does and measures, live and afterwards: `WatchJob`,
  MetricsService.
- `series`: curves of many jobs, from copies of their histories by columns.
- `checkpoints`, `downloads`, `evaluation`, `datasets`, `config_service`, `generation`,
  `workers`: the other services.
- `inspection`: reads the beginning of a dataset for a client, in a process of its own.
- `errors`, `rpc_errors`, `interceptors`: turn errors of the stores and rules into the one error
  model of calls.
- `authentication`: lets calls in by their bearer token.
- `artifacts`, `archive`, `journal`: check that the artifact store is the right one; read old
  metrics in it; keep copies of the records in it.
- `health`, `health_service`, `telemetry`: readiness and Prometheus metrics, for operators.
"""
