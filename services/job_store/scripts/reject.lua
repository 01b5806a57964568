-- reject: prefix, job_id, attempt, error. A waiting attempt that can never run: FAILED.
local id, attempt = ARGV[2], ARGV[3]
local job, err = load_job(id)
if err then
  if err[1] == 'not_found' then return {'ok', 0} end
  return err
end
if job.status ~= 'queued' or job.attempt ~= attempt then return {'ok', 0} end
move(id, job, 'failed', now_ms(), {error = ARGV[4], message = ''})
return {'ok', 1}
