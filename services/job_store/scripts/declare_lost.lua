-- declare_lost: prefix, job_id, attempt, claim_id, error, message, fields (with commas), seen. By the
-- reconciler, which may have been frozen since it looked. Returns the job; 'none' where that claim is not
-- the current one any more, or the values of `fields` (with spaces) are not what was seen of them.
--- @include prelude
--- @include fence
--- @include transitions
local id, attempt, claim, error_json, message = ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local fields, seen = ARGV[7], ARGV[8]

local function shown()
  local values = redis.call('HMGET', job_key(id), unpack(split(fields)))
  for i = 1, #values do values[i] = values[i] or '' end
  return table.concat(values, ' ')
end

local stale = fence(id, attempt, claim)
if stale then return stale[1] == 'fenced' and {'none'} or stale end  -- [T24]
if fields ~= '' and shown() ~= seen then return {'none'} end
local job = load_job(id)
end_lost_attempt(id, job, 'lost', error_json, message, now_ms())
return snapshot(job)
