-- restore_item: prefix, kind, id, ttl_ms, field, value, ... Enters a config, a dataset or a sweep that
-- Redis has lost; the calls that made and changed it are answered with it for `ttl_ms`. Returns 1; 0 for
-- one that is there.
--- @include prelude
--- @include memo
local kind, id, ttl_ms, item = ARGV[2], ARGV[3], ARGV[4], map({unpack(ARGV, 5)})
local key = item_key(kind, id)

if redis.call('EXISTS', key) == 1 then return {'ok', 0} end
set_hash(key, item)
remember_noted(item, ttl_ms, cjson.encode({id = id, created_at = item.created_at}))
for field, request in pairs(item) do
  if string.find(field, 'asked_', 1, true) then
    local request_key, hash = string.match(request, '(.*) (.*)')
    remember({key = request_key, hash = hash, ttl_ms = ttl_ms}, cjson.encode(item))
  end
end
redis.call('ZADD', PREFIX .. kind .. 's', 0, id)
if kind == 'sweep' then redis.call('SADD', PREFIX .. 'sweeps:open', id) end
return {'ok', 1}
