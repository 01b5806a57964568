-- due_sweeps: prefix, age_ms, limit. Returns ids of the jobs whose files are to be looked through
-- now. They stay in 'sweeping' until that is done; what is asked for meanwhile is a sweep of its own.
--- @include prelude
local age_ms, limit = tonumber(ARGV[2]), bounded(ARGV[3], 1000)

local pending, current = index_key('sweep'), index_key('sweeping')
local newest = text(tonumber(now_ms()) - age_ms)
for _, id in ipairs(redis.call('ZRANGEBYSCORE', pending, '-inf', newest, 'LIMIT', 0, limit)) do
  redis.call('ZREM', pending, id)
  redis.call('SADD', current, id)
end
return {'ok', redis.call('SMEMBERS', current)}
