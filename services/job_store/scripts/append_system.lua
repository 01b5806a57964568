-- append_system: prefix, job_id, attempt, claim_id, most, time_ms, values (JSON). Appends a sample of
-- what the trainer's processes use. Where there are `most` samples, every second one is dropped first:
-- they cover the whole run, in steps that grow with its length. Returns signals.
--- @include prelude
--- @include fence
local id, attempt, claim, most = ARGV[2], ARGV[3], ARGV[4], bounded(ARGV[5], 2000)
local time_ms, values = ARGV[6], ARGV[7]

local stale, job = fence(id, attempt, claim)
if stale then return stale end
local samples, new = job_key(id, 'system'), attempt .. '\n' .. time_ms .. '\n' .. values
if redis.call('LINDEX', samples, -1) == new then return signals(job) end  -- its answer was lost
if redis.call('LLEN', samples) >= most then
  local kept = {}
  for place, sample in ipairs(redis.call('LRANGE', samples, 0, -1)) do
    if place % 2 == 1 then append(kept, sample) end  -- the first one stays
  end
  redis.call('DEL', samples)
  redis.call('RPUSH', samples, unpack(kept))
end
redis.call('RPUSH', samples, new)
return signals(job)
