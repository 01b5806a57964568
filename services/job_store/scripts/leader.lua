-- leader: prefix, owner, ttl_ms, dead. Takes the lock, or extends it; ttl 0 releases it. Replies with
-- 1, or with 0 and the lock's value, which changes with every extension. Where the clock was set
-- back the lock would outlive its owner: a process that has seen the value not change names it in `dead`.
local lock, owner, ttl = PREFIX .. 'leader', ARGV[2], tonumber(ARGV[3])
local value = redis.call('GET', lock)
local holder, count = string.match(value or '', '^(.*):(%d+)$')
if value and holder ~= owner and value ~= ARGV[4] then return {'ok', 0, value} end
if ttl > 0 then
  redis.call('SET', lock, owner .. ':' .. text((tonumber(count) or 0) + 1), 'PX', ttl)
elseif holder == owner then
  redis.call('DEL', lock)
end
return {'ok', 1, ''}
