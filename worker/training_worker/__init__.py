"""Takes attempts from the queue, supervises their trainers, and publishes what they do.

The worker takes the message, forks the trainer (RQ calls it the horse) and supervises it; a
trainer of a job in several processes launches these, its ranks. In order of reading:

- `__main__`, `settings`, `connections`, `preload`, `respawn`: the process, what it imports before
  it forks, and the process that forks it under `up`.
- `worker`, `messages`: takes a message from the queue, and obeys signals.
- `attempt_runner`, `claiming`: claims the attempt of a message, forks the trainer, waits for its
  end.
- `witness`, `side_process`: the process beside the worker that reports its death, and how a worker
  keeps such a process.
- `artifacts`, `unregistered`: what comes before a claim: is the artifact store there, and has the
  attempt before saved a checkpoint that it did not register?
- `supervisor`, `board`: the parent's side: renews the lease, watches the steps through a shared
  page of memory, kills a trainer that is stuck, reports one that died.
- `system_sampler`, `process_tree`, `gpus`: what the trainer's processes use, each 5 seconds.
- `horse`, `exits`, `temporary_files`: the forked process: its signals, its connections, its exit
  codes, and where its temporary files are.
- `attempt`, `set_up`, `stop_request`, `checkpoint_metrics`: builds the trainer, trains, reports the
  attempt's end; its folder and configuration, a request to stop, the metrics of a checkpoint.
- `own_callbacks`: the callbacks that the worker's operator adds to each trainer.
- `datasets`, `resume`, `stored_files`, `copies`: which files the attempt reads and which checkpoint
  it continues; copies of both where the store has no files on this machine.
- `spool`, `output`: logged metrics and printed lines, on disk before they are published.
- `publisher`, `sending`: the thread that publishes both and registers checkpoints, in that order;
  the one that sends checkpoints to a bucket before.
- `republish`, `archive`, `retention`: what the publisher does besides: completes what earlier
  attempts lack, moves old points out of Redis, deletes surplus checkpoints.
- `journal`: copies of the job's record in the artifact store, for the loss of Redis.
- `failures`, `failed_saves`: what an exception means for the attempt; what a save without room
  means.
- `ranks`, `follower`: an attempt in several processes.
- `gathering`, `place_watch`, `places`: an attempt over several workers: how they come together, the
  side of those that have not claimed it, and whether they all live.
- `inference`, `sampling`, `evaluations`, `models`, `local_disk`, `inference_failures`: the process
  that samples text from checkpoints and measures their loss on data.
"""
