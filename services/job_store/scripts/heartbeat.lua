-- heartbeat: prefix, worker_id, ttl_ms, record (JSON). The key expires with its worker.
local now, key = now_ms(), PREFIX .. 'worker:' .. ARGV[2]
-- A full server refuses a script only if its first write may take memory. This one takes none, so
-- that workers are known while it is full.
redis.call('PEXPIRE', key, ARGV[3])
redis.call('SET', key, now .. '\n' .. ARGV[4], 'PX', ARGV[3])
redis.call('ZADD', PREFIX .. 'workers', now, ARGV[2])
-- Workers that never signed off and sent no heartbeat for a day.
redis.call('ZREMRANGEBYSCORE', PREFIX .. 'workers', '-inf', text(tonumber(now) - 86400000))
return {'ok', now}
