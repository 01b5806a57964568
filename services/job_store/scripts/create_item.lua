-- create_item: prefix, kind, id, request_key, body_hash, ttl_ms, field, value, ...
-- A config, a dataset or a sweep: a hash and an entry in the list of its kind. Returns id and created_at as
-- JSON.
--- @include prelude
--- @include memo
local kind, id = ARGV[2], ARGV[3]
local memo = {key = ARGV[4], hash = ARGV[5], ttl_ms = ARGV[6]}
local item = map({unpack(ARGV, 7)})

local first_answer = recall(memo)
if first_answer then return first_answer end
item.v, item.id, item.created_at = VERSION, id, now_ms()
note_request(memo, item)
set_hash(item_key(kind, id), item)
redis.call('ZADD', PREFIX .. kind .. 's', 0, id)
if kind == 'sweep' then redis.call('SADD', PREFIX .. 'sweeps:open', id) end
return remember(memo, cjson.encode({id = id, created_at = item.created_at}))
