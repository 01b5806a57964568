-- archive_points: prefix, job_id, attempt, claim_id, of_attempt, segment (JSON).
-- Drops the oldest raw points of a stream, which a durable file holds: readers find them there.
-- Returns 1, or 0 where the stream does not begin with that segment: nothing is dropped.
--- @include prelude
--- @include fence
--- @include visible
local id, attempt, claim, target, stored = ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6]

local stale = fence(id, attempt, claim)
if stale then return stale end
local stream, archive = job_key(id, 'metrics', target), job_key(id, 'archive', target)
local segment = cjson.decode(stored)
local last = text(segment.last_step)
-- Entries leave a stream only at its beginning: if the segment's first and last entry are there,
-- so are all between.
local oldest = oldest_entry(stream)
local ending = redis.call('XRANGE', stream, last, last, 'COUNT', 1)[1]
if not (oldest and ending) or step_of(oldest) ~= segment.first_step then return {'ok', 0} end
redis.call('ZADD', archive, last, stored)
redis.call('XTRIM', stream, 'MINID', '=', text(segment.last_step + 1) .. '-0')
return {'ok', 1}
