-- lease: prefix, job_id, attempt, claim_id. Counts up; the reconciler watches the counter.
local id = ARGV[2]
local stale, fenced = fence(id, ARGV[3], ARGV[4])
if stale then return stale end
redis.call('HINCRBY', job_key(id), 'lease_count', 1)
return signals(fenced)
