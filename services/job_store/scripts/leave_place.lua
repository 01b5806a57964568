-- leave_place: prefix, job_id, attempt, claim_id, place, count. The processes of a place have ended before
-- the attempt has; `count`, below 0, says how. Returns nothing.
--- @include prelude
--- @include fence
local id, attempt, claim, place, count = ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6]

local stale = fence(id, attempt, claim)
if stale then return stale end
redis.call('HSET', job_key(id, 'places'), 'count:' .. place, count)
return {'ok'}
