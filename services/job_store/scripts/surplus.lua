-- surplus: prefix, job_id, attempt, claim_id, max_points, count. Where the job has more raw points
-- than max_points: the oldest visible ones, at most count; 'none' otherwise.
-- What no reader can see any more is dropped instead: a cut never moves up again.
local id = ARGV[2]
local max_points, count = tonumber(ARGV[5]), bounded(ARGV[6], 10000)
local stale = fence(id, ARGV[3], ARGV[4])
if stale then return stale end
local attempts, lengths, total = attempts_between(id, 1, tonumber(ARGV[3])), {}, 0
for _, n in ipairs(attempts) do
  lengths[n] = redis.call('XLEN', job_key(id, 'metrics', n))
  total = total + lengths[n]
end
local visible = {}
for _, segment in ipairs(visible_segments(id, 0, 2 ^ 53)) do visible[segment[1]] = segment end
for _, n in ipairs(attempts) do
  if total <= max_points then return {'none'} end
  if lengths[n] > 0 then
    local stream, entries = job_key(id, 'metrics', n), {}
    if visible[n] then
      entries = redis.call('XRANGE', stream, '-', text(visible[n][3]), 'COUNT', count)
    end
    if #entries > 0 then
      local out = {}
      for _, entry in ipairs(entries) do pack_entry(out, n, entry) end
      return {'ok', n, text(step_of(entries[1])), text(step_of(entries[#entries])), #entries,
              redis.call('HGETALL', job_key(id, 'schemas')), table.concat(out)}
    end
    redis.call('UNLINK', stream)
    total = total - lengths[n]
  end
end
return {'none'}
