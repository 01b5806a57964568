-- delete_item: prefix, kind, id, request_key, body_hash, ttl_ms
local kind, id, request_key, body_hash = ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local known = recall(request_key, body_hash)
if known then return known end
if redis.call('UNLINK', PREFIX .. kind .. ':' .. id) == 0 then return {'not_found', kind, id} end
redis.call('ZREM', PREFIX .. kind .. 's', id)
return remember(request_key, body_hash, ARGV[6], '{}')
