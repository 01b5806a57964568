-- message: prefix, job_id, attempt, 'sent' | 'lost'. The queue message of a waiting attempt.
-- Returns 1, or 0 where that attempt does not wait.
--- @include prelude
local id, attempt, what = ARGV[2], ARGV[3], ARGV[4]

local f = redis.call('HMGET', job_key(id), 'status', 'attempt')
if f[1] ~= 'queued' or f[2] ~= attempt then return {'ok', 0} end
if what == 'sent' then
  redis.call('ZREM', index_key('unsent'), id)
  redis.call('HSET', job_key(id), 'enqueued_at', now_ms())
else
  redis.call('ZADD', index_key('unsent'), 0, id)
  redis.call('HSET', job_key(id), 'enqueued_at', '')
end
return {'ok', 1}
