-- forget_workers: prefix, worker_id, ... Drops those from the list whose key has expired.
-- Returns nothing.
--- @include prelude
local first_worker = 2

for i = first_worker, #ARGV do
  local worker = ARGV[i]
  if redis.call('EXISTS', item_key('worker', worker)) == 0 then
    redis.call('ZREM', PREFIX .. 'workers', worker)
  end
end
return {'ok'}
