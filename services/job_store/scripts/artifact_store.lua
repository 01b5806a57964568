-- artifact_store: prefix, id. Records the id of the artifact store unless there is one ('' only
-- asks). Replies with the one that is recorded, '' for none.
local key = PREFIX .. 'artifact_store'
if ARGV[2] ~= '' then redis.call('SET', key, ARGV[2], 'NX') end
return {'ok', redis.call('GET', key) or ''}
