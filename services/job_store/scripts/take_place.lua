-- take_place: prefix, job_id, attempt, claim_id, place, taker. A worker takes a place beside the one
-- that has claimed the attempt. Returns the job; 'none' where the attempt is over, or another taker has
-- the place.
--- @include prelude
--- @include fence
--- @include record
local id, attempt, claim, place, taker = ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6]

local stale = fence(id, attempt, claim)
if stale then return stale[1] == 'fenced' and {'none'} or stale end
local places = job_key(id, 'places')
redis.call('HSETNX', places, place, taker)
if redis.call('HGET', places, place) ~= taker then return {'none'} end
return snapshot(load_job(id))
