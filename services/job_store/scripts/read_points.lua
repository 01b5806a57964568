-- read_points: prefix, job_id, first_step, last_step, points. At least that many points of these
-- steps, or all: the schemas to read raw ones with, the raw ones, the files of archived ones, and
-- the first step that is still held raw.
local id, lo, hi, wanted = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), bounded(ARGV[5], 10001)
if redis.call('EXISTS', job_key(id)) == 0 then return {'not_found', 'job', id} end
local packed, files = visible_points(id, visible_segments(id, lo, hi), wanted)

local first_raw = ''
for _, segment in ipairs(visible_segments(id, 0, hi)) do
  local entry = redis.call('XRANGE', job_key(id, 'metrics', segment[1]), text(segment[2]) .. '-0',
                           text(segment[3]), 'COUNT', 1)[1]
  if entry then
    first_raw = text(step_of(entry))
    break
  end
end
return {'ok', redis.call('HGETALL', job_key(id, 'schemas')), packed, files, first_raw}
