-- Appends an event of a job. Its fields: e, the kind (state, checkpoint, rewound, alert); d, the data
-- (JSON; of a checkpoint `time\nJSON`); p and l, the last point ('attempt:step') and log line
-- ('attempt:seq') that were published before it, so that readers keep the order; b, the id of the
-- best checkpoint at that moment. Returns the event's id.
local function emit(id, job, kind, data, best)
  return redis.call('XADD', job_key(id, 'events'), 'MAXLEN', '~', 20000, '*', 'e', kind,
                    'd', data, 'p', job.last_point, 'l', job.last_log, 'b', best or '')
end
