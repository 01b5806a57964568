-- delete_job: prefix, job_id, request_key, body_hash, ttl_ms. Returns '{}'.
--- @include prelude
--- @include memo
--- @include record
--- @include attempts
local id = ARGV[2]
local memo = {key = ARGV[3], hash = ARGV[4], ttl_ms = ARGV[5]}

local first_answer = recall(memo)
if first_answer then return first_answer end
-- A record of another version can be deleted too: that is the remedy its error names.
local job = read_hash(job_key(id))
if not job.v then return not_found('job', id) end
if is_held(job.status) then return refused(id, job, 'delete', 'stop it first') end  -- [T18]

for _, checkpoint_id in ipairs(redis.call('HKEYS', job_key(id, 'checkpoint_data'))) do
  redis.call('DEL', item_key('checkpoint', checkpoint_id))
end
unlink_streams(id)
-- UNLINK frees large streams outside the main thread.
for _, part in ipairs({'config', 'attempts', 'latest', 'events', 'schemas', 'checkpoints',
                       'checkpoint_data', 'checkpoint_scores', 'retired_checkpoints', 'requests',
                       'system'}) do
  redis.call('UNLINK', job_key(id, part))
end
redis.call('UNLINK', job_key(id))  -- [T04] [T16]
for _, index in ipairs({'all', 'unsent', 'delayed', 'alerting', 'queued', 'stopped', 'succeeded',
                        'failed'}) do
  redis.call('ZREM', index_key(index), id)
end
redis.call('ZREM', name_key(job.name or ''), id)
for tag in each_tag(job.tags) do redis.call('ZREM', tag_key(tag), id) end
-- Its files are removed by a sweep after its record. The sweep's delay begins now, even where an
-- earlier sweep was due sooner: nothing would ask for another one.
redis.call('ZREM', index_key('sweep'), id)
ask_for_sweep(id, now_ms())
return remember(memo, '{}')
