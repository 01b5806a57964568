-- stop_job: prefix, job_id, request_key, body_hash, ttl_ms
local id, request_key, body_hash = ARGV[2], ARGV[3], ARGV[4]
local known = recall(request_key, body_hash)
if known then return known end
local job, err = load_job(id)
if err then return err end

local now = now_ms()
if job.status == 'queued' then
  move(id, job, 'stopped', now, {message = 'stopped while it waited for a worker'})
elseif job.status == 'running' then
  local deadline = tonumber(now) + tonumber(job.stop_timeout_seconds) * 1000
  move(id, job, 'stopping', now, {stop_requested_at = now, stop_deadline = text(deadline)})
elseif job.status ~= 'stopping' then
  return refused(id, job, 'stop', 'only queued and running jobs can be stopped')
end
return remember(request_key, body_hash, ARGV[5], cjson.encode(job))
