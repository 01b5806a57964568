-- read_points: prefix, job_id, first_step, last_step, points. At least that many points of these
-- steps, or all. Returns the schemas to read raw ones with, the raw ones, the files of archived
-- ones, and the first step that is still held raw.
--- @include prelude
--- @include visible
local id, lo, hi, points = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), bounded(ARGV[5], 10001)

if redis.call('EXISTS', job_key(id)) == 0 then return not_found('job', id) end
local packed, files = visible_points(id, visible_segments(id, lo, hi), points)

local first_raw = ''
for _, segment in ipairs(visible_segments(id, 0, hi)) do
  local entry = redis.call('XRANGE', job_key(id, 'metrics', segment.attempt),
                           text(segment.first) .. '-0', text(segment.last), 'COUNT', 1)[1]
  if entry then
    first_raw = text(step_of(entry))
    break
  end
end
return {'ok', redis.call('HGETALL', job_key(id, 'schemas')), packed, files, first_raw}
