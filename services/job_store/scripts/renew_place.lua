-- renew_place: prefix, job_id, attempt, claim_id, place, has_worked (1 or 0). Counts up; the worker that has
-- claimed the attempt watches the counter, and how often a place has worked since its last renewal.
-- Returns signals.
--- @include prelude
--- @include fence
local id, attempt, claim, place, has_worked = ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6]

local stale, job = fence(id, attempt, claim)
if stale then return stale end
redis.call('HINCRBY', job_key(id, 'places'), 'count:' .. place, 1)
redis.call('HINCRBY', job_key(id, 'places'), 'work', has_worked)
return signals(job)
