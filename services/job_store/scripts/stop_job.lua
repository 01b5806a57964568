-- stop_job: prefix, job_id, request_key, body_hash, ttl_ms. Returns the job.
--- @include prelude
--- @include memo
--- @include transitions
local id = ARGV[2]
local memo = {key = ARGV[3], hash = ARGV[4], ttl_ms = ARGV[5]}

local first_answer = recall(memo)
if first_answer then return first_answer end
local job, err = load_job(id)
if err then return err end

local now = now_ms()
if job.status == 'queued' then  -- [T03]
  move(id, job, 'stopped', now, {
    message = 'stopped while it waited for a worker', stop_at_step = ''})
elseif job.status == 'running' then  -- [T05]
  local deadline = tonumber(now) + tonumber(job.stop_timeout_seconds) * 1000
  move(id, job, 'stopping', now, {stop_requested_at = now, stop_deadline = text(deadline),
                                 stop_at_step = ''})
elseif job.status ~= 'stopping' then  -- [T20]; one that is stopping goes on so: [T22]
  return refused(id, job, 'stop', 'only queued and running jobs can be stopped')
end
return remember_of_job(id, 'stop', memo, cjson.encode(job))
