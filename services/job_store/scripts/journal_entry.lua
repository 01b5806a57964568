-- journal_entry: prefix, kind, id. Copies what is stored of a job, a config, a dataset or a sweep,
-- for the journal. Returns the number of the entry, the entry (JSON), and 1 for the record's first entry,
-- else 0; 'none' where there is no record.
-- Numbers of a record grow, also across a restart of the server that forgot the last of them: they
-- are microseconds of the server's clock, or one more than the number before.
--- @include prelude
local kind, id = ARGV[2], ARGV[3]
local key = kind == 'job' and job_key(id) or item_key(kind, id)

local fields = read_hash(key)
if fields.v ~= VERSION then return {'none'} end
local time = redis.call('TIME')
local now_us = tonumber(time[1]) * 1000000 + tonumber(time[2])
local is_first = fields.journal == nil
local revision = text(math.max(now_us, tonumber(fields.journal or '0') + 1))
redis.call('HSET', key, 'journal', revision)
redis.call('SET', PREFIX .. 'journal', revision)
fields.journal = revision
local entry = {v = VERSION, kind = kind, id = id, revision = revision, fields = fields,
               store = redis.call('GET', PREFIX .. 'artifact_store') or ''}
if kind == 'job' then
  local function ranked(part) return map(redis.call('ZRANGE', job_key(id, part), 0, -1, 'WITHSCORES')) end
  entry.config = redis.call('GET', job_key(id, 'config')) or ''
  entry.attempts = read_hash(job_key(id, 'attempts'))
  entry.checkpoints = ranked('checkpoints')
  entry.checkpoint_scores = ranked('checkpoint_scores')
  entry.checkpoint_data = read_hash(job_key(id, 'checkpoint_data'))
  entry.requests = read_hash(job_key(id, 'requests'))
  entry.retired_checkpoints = redis.call('SMEMBERS', job_key(id, 'retired_checkpoints'))
end
return {'ok', revision, cjson.encode(entry), is_first and 1 or 0}
