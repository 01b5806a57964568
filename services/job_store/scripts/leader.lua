-- leader: prefix, owner, ttl_ms. Takes the lock, or extends it; ttl 0 releases it.
local lock, owner, ttl = PREFIX .. 'leader', ARGV[2], tonumber(ARGV[3])
local holder = redis.call('GET', lock)
if holder and holder ~= owner then return {'ok', 0} end
if ttl == 0 then
  redis.call('DEL', lock)
else
  redis.call('SET', lock, owner, 'PX', ttl)
end
return {'ok', 1}
