-- release_delayed: prefix, job_id, attempt. The pause before this retry is over: it gets its
-- message. Returns 1, or 0 where that attempt waits for no pause.
--- @include prelude
local id, attempt = ARGV[2], ARGV[3]

if redis.call('HGET', job_key(id), 'attempt') ~= attempt then return {'ok', 0} end
if redis.call('ZREM', index_key('delayed'), id) == 0 then return {'ok', 0} end
redis.call('ZADD', index_key('unsent'), 0, id)
return {'ok', 1}
