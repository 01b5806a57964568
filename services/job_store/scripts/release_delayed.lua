-- release_delayed: prefix, base_ms, longest_ms. Retries whose pause is over get their message; the
-- pause doubles with each failure in a row. Replies with how many are released.
local base, longest, now = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(now_ms())
local waiting, released = redis.call('ZRANGE', index_key('delayed'), 0, 999, 'WITHSCORES'), 0
for i = 1, #waiting, 2 do
  local id, since = waiting[i], tonumber(waiting[i + 1])
  local failures = tonumber(redis.call('HGET', job_key(id), 'consecutive_failures')) or 1
  if now - since >= math.min(base * 2 ^ math.max(failures - 1, 0), longest) then
    redis.call('ZREM', index_key('delayed'), id)
    redis.call('ZADD', index_key('unsent'), 0, id)
    released = released + 1
  end
end
return {'ok', released}
