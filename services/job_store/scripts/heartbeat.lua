-- heartbeat: prefix, worker_id, ttl_ms, record (JSON). The key expires with its worker.
-- Returns the time.
--- @include prelude
local worker, ttl_ms, record = ARGV[2], ARGV[3], ARGV[4]

local now, key = now_ms(), item_key('worker', worker)
-- A full server refuses a script only if its first write may take memory. This one takes none, so
-- that workers are known while it is full.
redis.call('PEXPIRE', key, ttl_ms)
redis.call('SET', key, now .. '\n' .. record, 'PX', ttl_ms)
redis.call('ZADD', PREFIX .. 'workers', now, worker)
-- Workers that never signed off and sent no heartbeat for a day.
redis.call('ZREMRANGEBYSCORE', PREFIX .. 'workers', '-inf', text(tonumber(now) - 86400000))
return {'ok', now}
