-- release_delayed: prefix, job_id, attempt. The pause before this retry is over: it gets its message.
local id = ARGV[2]
if redis.call('HGET', job_key(id), 'attempt') ~= ARGV[3] then return {'ok', 0} end
if redis.call('ZREM', index_key('delayed'), id) == 0 then return {'ok', 0} end
redis.call('ZADD', index_key('unsent'), 0, id)
return {'ok', 1}
