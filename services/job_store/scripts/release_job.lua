-- release_job: prefix, job_id, attempt, claim_id, fields (JSON), ttl_ms. Ends the recovery's hold on a
-- job: from now on it is in the state that `fields` say, and the calls that `requests` notes are answered
-- with it for `ttl_ms`. Returns nothing.
--- @include prelude
--- @include memo
--- @include fence
--- @include transitions
local id, attempt, claim, changes = ARGV[2], ARGV[3], ARGV[4], cjson.decode(ARGV[5])
local ttl_ms = ARGV[6]

local stale = fence(id, attempt, claim)
if stale then return stale end
local job, now = load_job(id), now_ms()
redis.call('ZREM', index_key(job.status), id)
redis.call('HDEL', job_key(id), 'recovering')
changes.updated_at = now
if TERMINAL[changes.status] and changes.completed_at == '' then changes.completed_at = now end
set_fields(id, job, changes)
redis.call('ZADD', index_key(job.status), 0, id)
if job.status == 'queued' then redis.call('ZADD', index_key('unsent'), 0, id) end
for _, request in pairs(read_hash(job_key(id, 'requests'))) do
  local key, hash = string.match(request, '(.*) (.*)')
  remember({key = key, hash = hash, ttl_ms = ttl_ms}, cjson.encode(job))
end
emit_state(id, job, now)
return {'ok'}
