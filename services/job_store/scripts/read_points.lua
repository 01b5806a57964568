-- read_points: prefix, job_id, first_step, last_step, steps. Entries of that many steps, packed,
-- the schemas to read them with, and the first step that is still held raw.
local id, lo, hi, wanted = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
if redis.call('EXISTS', job_key(id)) == 0 then return {'not_found', 'job', id} end

local out, steps = {}, 0
for _, segment in ipairs(visible_segments(id, lo, hi)) do
  if steps <= wanted then
    local entries = redis.call('XRANGE', job_key(id, 'metrics', segment[1]),
                               text(segment[2]) .. '-0', text(segment[3]),
                               'COUNT', wanted + 1 - steps)
    for _, entry in ipairs(entries) do
      steps = steps + 1
      if steps <= wanted then pack_entry(out, segment[1], entry) end
    end
  end
end

local first_raw = ''
for _, segment in ipairs(visible_segments(id, 0, hi)) do
  local entry = redis.call('XRANGE', job_key(id, 'metrics', segment[1]), text(segment[2]) .. '-0',
                           text(segment[3]), 'COUNT', 1)[1]
  if entry then
    first_raw = text(step_of(entry))
    break
  end
end
return {'ok', redis.call('HGETALL', job_key(id, 'schemas')), table.concat(out),
        steps > wanted and 1 or 0, first_raw}
