-- create_item: prefix, kind, id, request_key, body_hash, ttl_ms, field, value, ...
-- A config or a dataset: a hash and an entry in the list of its kind.
local kind, id, request_key, body_hash = ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local known = recall(request_key, body_hash)
if known then return known end
local item = {v = VERSION, id = id, created_at = now_ms()}
for i = 7, #ARGV, 2 do item[ARGV[i]] = ARGV[i + 1] end
for field, value in pairs(item) do
  redis.call('HSET', PREFIX .. kind .. ':' .. id, field, value)
end
redis.call('ZADD', PREFIX .. kind .. 's', 0, id)
return remember(request_key, body_hash, ARGV[6], cjson.encode({id = id, created_at = item.created_at}))
