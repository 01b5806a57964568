-- due_sweeps: prefix, age_ms, limit. Ids of the jobs whose files are to be looked through now.
-- They stay in 'sweeping' until that is done; what is asked for meanwhile is a sweep of its own.
local pending, current = index_key('sweep'), index_key('sweeping')
local newest = text(tonumber(now_ms()) - tonumber(ARGV[2]))
local due = redis.call('ZRANGEBYSCORE', pending, '-inf', newest, 'LIMIT', 0, bounded(ARGV[3], 1000))
for _, id in ipairs(due) do
  redis.call('ZREM', pending, id)
  redis.call('SADD', current, id)
end
return {'ok', redis.call('SMEMBERS', current)}
