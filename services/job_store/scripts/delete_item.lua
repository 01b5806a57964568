-- delete_item: prefix, kind, id, request_key, body_hash, ttl_ms. A config, a dataset or a sweep.
-- Returns '{}'.
--- @include prelude
--- @include memo
local kind, id = ARGV[2], ARGV[3]
local memo = {key = ARGV[4], hash = ARGV[5], ttl_ms = ARGV[6]}

local first_answer = recall(memo)
if first_answer then return first_answer end
if redis.call('UNLINK', item_key(kind, id)) == 0 then return not_found(kind, id) end
redis.call('ZREM', PREFIX .. kind .. 's', id)
if kind == 'sweep' then
  redis.call('UNLINK', item_key(kind, id) .. ':children')
  redis.call('SREM', PREFIX .. 'sweeps:open', id)
end
return remember(memo, '{}')
