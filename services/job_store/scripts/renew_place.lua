-- renew_place: prefix, job_id, attempt, claim_id, place. Counts up; the worker that has claimed the
-- attempt watches the counter. Returns signals.
--- @include prelude
--- @include fence
local id, attempt, claim, place = ARGV[2], ARGV[3], ARGV[4], ARGV[5]

local stale, job = fence(id, attempt, claim)
if stale then return stale end
redis.call('HINCRBY', job_key(id, 'places'), 'count:' .. place, 1)
return signals(job)
