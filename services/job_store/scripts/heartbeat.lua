-- heartbeat: prefix, worker_id, ttl_ms, record (JSON). The key expires with its worker.
local now = now_ms()
redis.call('SET', PREFIX .. 'worker:' .. ARGV[2], now .. '\n' .. ARGV[4], 'PX', ARGV[3])
redis.call('ZADD', PREFIX .. 'workers', now, ARGV[2])
-- Who never left, and whom nobody missed for a day.
redis.call('ZREMRANGEBYSCORE', PREFIX .. 'workers', '-inf', text(tonumber(now) - 86400000))
return {'ok', now}
