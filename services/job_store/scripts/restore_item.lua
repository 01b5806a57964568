-- restore_item: prefix, kind, id, ttl_ms, field, value, ... Enters a config or a dataset that Redis
-- has lost; the call that made it is answered with it for `ttl_ms`. Returns 1; 0 for one that is there.
--- @include prelude
--- @include memo
local kind, id, ttl_ms, item = ARGV[2], ARGV[3], ARGV[4], map({unpack(ARGV, 5)})
local key = item_key(kind, id)

if redis.call('EXISTS', key) == 1 then return {'ok', 0} end
set_hash(key, item)
remember_noted(item, ttl_ms, cjson.encode({id = id, created_at = item.created_at}))
redis.call('ZADD', PREFIX .. kind .. 's', 0, id)
return {'ok', 1}
