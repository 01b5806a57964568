-- known_checkpoints: prefix, jobs, count. The newest registered checkpoint (time, newline, JSON) of
-- at most count jobs, looked for among the newest `jobs` ones.
local found = {}
for _, id in ipairs(redis.call('ZREVRANGE', index_key('all'), 0, ARGV[2] - 1)) do
  local newest = redis.call('ZRANGE', job_key(id, 'checkpoints'), -1, -1)[1]
  if newest then
    found[#found + 1] = redis.call('HGET', job_key(id, 'checkpoint_data'), newest)
    if #found >= tonumber(ARGV[3]) then break end
  end
end
return {'ok', found}
