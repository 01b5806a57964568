-- renew_place: prefix, job_id, attempt, claim_id, place, has_worked (1 or 0). Counts up; the worker that has
-- claimed the attempt watches the counter, and how often a place has worked since its last renewal.
-- One that comes after the end of the place (`leave_place`) changes nothing. Returns signals.
--- @include prelude
--- @include fence
local id, attempt, claim, place, has_worked = ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6]

local stale, job = fence(id, attempt, claim)
if stale then return stale end
local places = job_key(id, 'places')
if tonumber(redis.call('HGET', places, 'count:' .. place) or 0) < 0 then return signals(job) end
redis.call('HINCRBY', places, 'count:' .. place, 1)
redis.call('HINCRBY', places, 'work', has_worked)
return signals(job)
