-- create_job: prefix, job_id, request_key, body_hash, ttl_ms, config_document, field, value, ...
local id, request_key, body_hash = ARGV[2], ARGV[3], ARGV[4]
local known = recall(request_key, body_hash)
if known then return known end

local now = now_ms()
local job = {}
for i = 7, #ARGV, 2 do job[ARGV[i]] = ARGV[i + 1] end
job.v = VERSION
job.job_id = id
job.status = 'queued'
job.created_at = now
job.updated_at = now
set_fields(id, job, job)
redis.call('SET', job_key(id, 'config'), ARGV[6])
for _, index in ipairs({'all', 'queued', 'unsent'}) do redis.call('ZADD', index_key(index), 0, id) end
if job.name ~= '' then redis.call('ZADD', name_key(job.name), 0, id) end
emit_state(id, job, now)
return remember(request_key, body_hash, ARGV[5], cjson.encode(job))
