-- read_jobs: prefix, index, below, count, above. A page of records, newest first, as JSON: one string
-- for a record is read many times faster by a client than its forty fields.
-- With an index of '' below is a job id: that record and its config document.
-- With it comes the time of reading.
local now = now_ms()
local function record(id)
  local flat = redis.call('HGETALL', job_key(id))
  if #flat == 0 then return '' end
  local job = map(flat)
  job.read_at = now
  return cjson.encode(job)
end

if ARGV[2] == '' then
  return {'ok', record(ARGV[3]), ARGV[4] == '1' and redis.call('GET', job_key(ARGV[3], 'config')) or ''}
end
local ids = redis.call('ZRANGE', index_key(ARGV[2]), ARGV[3], ARGV[5], 'BYLEX', 'REV',
                       'LIMIT', 0, bounded(ARGV[4], 1001))
local reply = {'ok'}
for _, id in ipairs(ids) do
  reply[#reply + 1] = id
  reply[#reply + 1] = record(id)
end
return reply
