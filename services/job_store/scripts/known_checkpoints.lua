-- known_checkpoints: prefix, jobs, count. Returns the newest registered checkpoint (time, newline,
-- JSON) of at most `count` jobs, looked for among the newest `jobs` ones.
--- @include prelude
local jobs, count = tonumber(ARGV[2]), tonumber(ARGV[3])

local records = {}
for _, id in ipairs(redis.call('ZREVRANGE', index_key('all'), 0, jobs - 1)) do
  local newest = redis.call('ZRANGE', job_key(id, 'checkpoints'), -1, -1)[1]
  if newest then
    append(records, redis.call('HGET', job_key(id, 'checkpoint_data'), newest))
    if #records >= count then break end
  end
end
return {'ok', records}
