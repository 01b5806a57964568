-- resume_job: prefix, job_id, request_key, body_hash, ttl_ms, checkpoint_id, max_steps, document,
--             from_start (1 or 0), stop_at_step ('' for none), sweep_id ('' for none): of a sweep that has
--             to be running. Returns the job.
--- @include prelude
--- @include memo
--- @include transitions
local id, checkpoint_id, max_steps = ARGV[2], ARGV[6], tonumber(ARGV[7])
local document, from_start, stop_at_step = ARGV[8], ARGV[9] == '1', ARGV[10]
local sweep_id = ARGV[11]
local memo = {key = ARGV[3], hash = ARGV[4], ttl_ms = ARGV[5]}

local first_answer = recall(memo)
if first_answer then return first_answer end
-- Who drives a sweep may have been frozen since it ran.
local sweep = sweep_id ~= '' and redis.call('HGET', item_key('sweep', sweep_id), 'status') or 'deleted'
if sweep_id ~= '' and sweep ~= 'running' then
  return refused(sweep_id, {status = sweep}, 'resume a child of', '')
end
local job, err = load_job(id)
if err then return err end
if not TERMINAL[job.status] then  -- [T19]
  return refused(id, job, 'resume', 'only stopped, failed and succeeded jobs can be resumed')
end

local newest, step = newest_checkpoint(id)
local newest_step, is_chosen = step, from_start or checkpoint_id ~= ''
if from_start then
  step = 0
elseif checkpoint_id ~= '' then
  step = tonumber(redis.call('ZSCORE', job_key(id, 'checkpoints'), checkpoint_id))
  if not step then return not_found('checkpoint', checkpoint_id) end
else
  checkpoint_id = newest
end
if max_steps and max_steps <= step then
  return refused(id, job, 'resume', 'max_steps ' .. text(max_steps) ..
    ' must be larger than the step to resume from, ' .. text(step))
end
local longer = max_steps and max_steps > tonumber(job.max_steps)
local earlier = step < newest_step and step < (max_steps or tonumber(job.max_steps))
if job.status == 'succeeded' and not (longer or earlier or from_start) then  -- [T21]
  return refused(id, job, 'resume', 'a succeeded job needs a larger max_steps than ' ..
    job.max_steps .. ' or an earlier checkpoint, or from_start')
end

local now = now_ms()
supersede_checkpoints(id, job, step)
if document ~= '' then redis.call('SET', job_key(id, 'config'), document) end
local attempt = text(tonumber(job.attempt) + 1)
-- A child that waited for the decision about its rung goes on: its rules stay as they are.
local waited = sweep_id ~= '' and tonumber(job.stop_at_step) ~= nil
requeue(id, job, now, {  -- [T14] [T15]
  alert_state = waited and job.alert_state or cjson.encode(nothing_judged(attempt)),
  max_steps = max_steps and text(max_steps) or job.max_steps, message = '',
  consecutive_failures = '0', current_step = text(step), stop_at_step = stop_at_step,
  resumed_from_step = checkpoint_id ~= '' and text(step) or '',
  resume_checkpoint_id = checkpoint_id})
-- Without a choice the claim says where the attempt begins, and cuts the history: the attempt before
-- may have saved a later checkpoint that it did not register.
if is_chosen then
  write_attempt(id, attempt, {start_step = text(step)})
  cut_history(id, job, attempt, step, now)
end
return remember_of_job(id, 'resume', memo, cjson.encode(job))
