-- surplus: prefix, job_id, attempt, claim_id, max_points, count. Where the job has more raw points
-- than max_points it returns the oldest visible ones, at most count: their attempt, the first and
-- the last step, how many, the schemas to read them with, and them, packed. 'none' otherwise.
-- Points that readers do not see any more are dropped instead: a cut never moves up again.
--- @include prelude
--- @include fence
--- @include visible
local id, attempt, claim = ARGV[2], ARGV[3], ARGV[4]
local max_points, count = tonumber(ARGV[5]), bounded(ARGV[6], 10000)

local stale = fence(id, attempt, claim)
if stale then return stale end
local attempts, lengths, total = attempts_between(id, 1, tonumber(attempt)), {}, 0
for _, number in ipairs(attempts) do
  lengths[number] = redis.call('XLEN', job_key(id, 'metrics', number))
  total = total + lengths[number]
end
local last_visible = {}
for _, segment in ipairs(visible_segments(id, 0, 2 ^ 53)) do
  last_visible[segment.attempt] = segment.last
end
for _, number in ipairs(attempts) do
  if total <= max_points then return {'none'} end
  if lengths[number] > 0 then
    local stream, entries = job_key(id, 'metrics', number), {}
    if last_visible[number] then
      entries = redis.call('XRANGE', stream, '-', text(last_visible[number]), 'COUNT', count)
    end
    if #entries > 0 then
      local packed = {}
      for _, entry in ipairs(entries) do pack_entry(packed, number, entry) end
      return {'ok', number, text(step_of(entries[1])), text(step_of(entries[#entries])), #entries,
              redis.call('HGETALL', job_key(id, 'schemas')), table.concat(packed)}
    end
    redis.call('UNLINK', stream)
    total = total - lengths[number]
  end
end
return {'none'}
