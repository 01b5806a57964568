-- remove_checkpoint: prefix, job_id, checkpoint_id, attempt, claim_id, request_key, body_hash, ttl_ms.
-- With a token from the trainer's rotation: returns 1, or 0 where it is not registered.
-- Without one (attempt '') by a person, only on a job at rest: returns the job's id as JSON.
--- @include prelude
--- @include fence
--- @include memo
--- @include transitions
local id, checkpoint_id, attempt, claim = ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local memo = {key = ARGV[6], hash = ARGV[7], ttl_ms = ARGV[8]}

local by_trainer = attempt ~= ''
local answer
if by_trainer then answer = fence(id, attempt, claim) else answer = recall(memo) end
if answer then return answer end
local job, err = load_job(id)
if err then return err end
if not by_trainer and is_held(job.status) then
  return refused(id, job, 'delete a checkpoint of', 'stop it first')
end
if not by_trainer and job.status == 'queued' and newest_checkpoint(id) == checkpoint_id then
  return refused(id, job, 'delete this checkpoint of', 'it continues from it; stop it first')
end
if not redis.call('ZSCORE', job_key(id, 'checkpoints'), checkpoint_id) then
  return by_trainer and {'ok', 0} or not_found('checkpoint', checkpoint_id)
end
retire_checkpoint(id, checkpoint_id)
update_best(id, job)
return by_trainer and {'ok', 1} or
  remember_of_job(id, 'delete_checkpoint', memo, cjson.encode({job_id = id}))
