-- read_jobs: prefix, index, below, count, above. A page, newest first. Returns id and
-- record (JSON, with the time of reading) of each.
--- @include prelude
--- @include record
local index, below, count, above = ARGV[2], ARGV[3], bounded(ARGV[4], 1001), ARGV[5]

local now, reply = now_ms(), {'ok'}
local ids = redis.call('ZRANGE', index_key(index), below, above, 'BYLEX', 'REV', 'LIMIT', 0, count)
for _, id in ipairs(ids) do
  append(reply, id)
  append(reply, record_json(id, now))
end
return reply
