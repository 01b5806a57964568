-- lease: prefix, job_id, attempt, claim_id. Counts up; the reconciler watches the counter.
-- Returns signals.
--- @include prelude
--- @include fence
local id, attempt, claim = ARGV[2], ARGV[3], ARGV[4]

local stale, job = fence(id, attempt, claim)
if stale then return stale end
redis.call('HINCRBY', job_key(id), 'lease_count', 1)
return signals(job)
