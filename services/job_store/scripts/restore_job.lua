-- restore_job: prefix, job_id, job (JSON: fields, config, attempts, checkpoints, checkpoint_scores,
-- checkpoint_data, retired_checkpoints, requests, as in the journal). Enters a job that Redis has lost. The
-- recovery holds it, as `fields` say, until `release_job`. Returns 1; 0 for one that is there.
--- @include prelude
--- @include transitions
local id, stored = ARGV[2], cjson.decode(ARGV[3])
local job = stored.fields

local there = read_hash(job_key(id))
if there.v and there.recovering ~= '1' then return {'ok', 0} end
unlink_streams(id)  -- of a recovery that was cut short
for _, part in ipairs({'', 'attempts', 'latest', 'events', 'schemas', 'checkpoints',
                       'checkpoint_data', 'checkpoint_scores', 'retired_checkpoints', 'requests',
                       'system'}) do
  redis.call('UNLINK', part == '' and job_key(id) or job_key(id, part))
end

local function rank(part)
  for member, score in pairs(stored[part]) do redis.call('ZADD', job_key(id, part), score, member) end
end

job.recovering = '1'
set_hash(job_key(id), job)
redis.call('SET', job_key(id, 'config'), stored.config)
set_hash(job_key(id, 'attempts'), stored.attempts)
set_hash(job_key(id, 'checkpoint_data'), stored.checkpoint_data)
set_hash(job_key(id, 'requests'), stored.requests)
rank('checkpoints')
rank('checkpoint_scores')
for _, checkpoint_id in ipairs(stored.retired_checkpoints) do
  redis.call('SADD', job_key(id, 'retired_checkpoints'), checkpoint_id)
end
for _, index in ipairs({'all', job.status}) do redis.call('ZADD', index_key(index), 0, id) end
if string.find(job.alerts or '', '"pending"', 1, true) then
  redis.call('ZADD', index_key('alerting'), 0, id)
end
if job.name ~= '' then redis.call('ZADD', name_key(job.name), 0, id) end
if (job.sweep_id or '') ~= '' then
  redis.call('HSET', item_key('sweep', job.sweep_id) .. ':children', job.sweep_child, id)
end
for tag in each_tag(job.tags) do redis.call('ZADD', tag_key(tag), 0, id) end
-- Each event of a checkpoint comes behind the points before it.
for _, checkpoint_id in ipairs(redis.call('ZRANGE', job_key(id, 'checkpoints'), 0, -1)) do
  local record = stored.checkpoint_data[checkpoint_id]
  local author = cjson.decode(string.match(record, '\n(.*)')).attempt
  local point = text(author) .. ':' .. stored.checkpoints[checkpoint_id]
  redis.call('SET', item_key('checkpoint', checkpoint_id), id)
  emit(id, {last_point = point, last_log = '0:0'}, 'checkpoint', record, job.best_checkpoint_id)
end
return {'ok', 1}
