-- restore_item: prefix, kind, id, field, value, ... Enters a config or a dataset that Redis has lost.
-- Returns 1; 0 for one that is there.
--- @include prelude
local kind, id = ARGV[2], ARGV[3]
local key = item_key(kind, id)

if redis.call('EXISTS', key) == 1 then return {'ok', 0} end
set_hash(key, map({unpack(ARGV, 4)}))
redis.call('ZADD', PREFIX .. kind .. 's', 0, id)
return {'ok', 1}
