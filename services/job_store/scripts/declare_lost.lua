-- declare_lost: prefix, job_id, attempt, claim_id, error, message. By the reconciler.
local id = ARGV[2]
local stale = fence(id, ARGV[3], ARGV[4])
if stale then
  if stale[1] == 'fenced' then return {'none'} end
  return stale
end
local job = load_job(id)
lose(id, job, 'lost', ARGV[5], ARGV[6], now_ms())
return snapshot(job)
