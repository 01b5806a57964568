-- artifact_store: prefix, id. Records the id of the artifact store unless there is one ('' only
-- asks). Returns the one that is recorded, '' for none.
--- @include prelude
local key, id = PREFIX .. 'artifact_store', ARGV[2]

if id ~= '' then redis.call('SET', key, id, 'NX') end
return {'ok', redis.call('GET', key) or ''}
