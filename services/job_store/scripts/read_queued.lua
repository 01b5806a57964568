-- read_queued: prefix, index, limit. Returns the oldest jobs of the index as one JSON array; of each an
-- array of status, v, attempt, priority, device, enqueued_at, nodes and, last, its id. A field that
-- is missing is false. One string is read many times faster by a client than a thousand replies.
--- @include prelude
local index, limit = ARGV[2], bounded(ARGV[3], 1000)

local rows = {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', index_key(index), '-inf', '+inf', 'LIMIT', 0, limit)) do
  local row = redis.call('HMGET', job_key(id), 'status', 'v', 'attempt', 'priority', 'device',
                         'enqueued_at', 'nodes')
  append(row, id)
  append(rows, row)
end
return {'ok', cjson.encode(rows)}
