-- remove_checkpoint: prefix, job_id, checkpoint_id, attempt, claim_id, request_key, hash, ttl_ms
-- With a token from the trainer's rotation; without one (attempt '') only on a job at rest.
local id, checkpoint_id, attempt, request_key = ARGV[2], ARGV[3], ARGV[4], ARGV[6]
if attempt ~= '' then
  local stale = fence(id, attempt, ARGV[5])
  if stale then return stale end
else
  local known = recall(request_key, ARGV[7])
  if known then return known end
end
local job, err = load_job(id)
if err then return err end
if attempt == '' and (job.status == 'running' or job.status == 'stopping') then
  return refused(id, job, 'delete a checkpoint of', 'stop it first')
end
if attempt == '' and job.status == 'queued' and (newest_checkpoint(id)) == checkpoint_id then
  return refused(id, job, 'delete this checkpoint of', 'it continues from it; stop it first')
end
local registered = redis.call('ZSCORE', job_key(id, 'checkpoints'), checkpoint_id)
if not registered then
  if attempt ~= '' then return {'ok', 0} end
  return {'not_found', 'checkpoint', checkpoint_id}
end
retire_checkpoint(id, checkpoint_id)
update_best(id, job)
if attempt ~= '' then return {'ok', 1} end
return remember(request_key, ARGV[7], ARGV[8], '{}')
