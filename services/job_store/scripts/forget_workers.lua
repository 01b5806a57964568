-- forget_workers: prefix, worker_id, ... Drops those from the list whose key has expired.
for i = 2, #ARGV do
  if redis.call('EXISTS', PREFIX .. 'worker:' .. ARGV[i]) == 0 then
    redis.call('ZREM', PREFIX .. 'workers', ARGV[i])
  end
end
return {'ok'}
