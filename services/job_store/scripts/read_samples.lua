-- read_samples: prefix, job_id, first_step, last_step, count. Returns at most that many visible steps
-- with sampled texts, ascending: {attempt, step, `time\ntexts` (JSON)} of each.
--- @include prelude
--- @include visible
local id, lo, hi, count = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), bounded(ARGV[5], 101)

if redis.call('EXISTS', job_key(id)) == 0 then return not_found('job', id) end
local found = {'ok'}
for _, segment in ipairs(visible_segments(id, lo, hi)) do
  if #found <= count then
    local entries = redis.call('XRANGE', job_key(id, 'samples', segment.attempt),
                               text(segment.first) .. '-0', text(segment.last),
                               'COUNT', count + 1 - #found)
    for _, entry in ipairs(entries) do
      append(found, {segment.attempt, text(step_of(entry)), entry[2][2]})
    end
  end
end
return found
