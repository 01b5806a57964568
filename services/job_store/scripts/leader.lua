-- leader: prefix, owner, ttl_ms, dead. Takes the lock, or extends it; ttl 0 releases it. Returns 1,
-- or 0 and the lock's value, which changes with every extension. Where the clock was set back the
-- lock would outlive its owner: a process that has seen the value not change names it in `dead`.
--- @include prelude
local owner, ttl_ms, dead = ARGV[2], tonumber(ARGV[3]), ARGV[4]

local lock = PREFIX .. 'leader'
local value = redis.call('GET', lock)
local holder, count = string.match(value or '', '^(.*):(%d+)$')
if value and holder ~= owner and value ~= dead then return {'ok', 0, value} end
if ttl_ms > 0 then
  redis.call('SET', lock, owner .. ':' .. text((tonumber(count) or 0) + 1), 'PX', ttl_ms)
elseif holder == owner then
  redis.call('DEL', lock)
end
return {'ok', 1, ''}
