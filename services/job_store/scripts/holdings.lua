-- holdings: prefix. Returns how many jobs, configs and datasets there are, the id of the artifact
-- store, and how far a recovery has come ('' for none).
--- @include prelude
return {'ok', redis.call('ZCARD', index_key('all')), redis.call('ZCARD', PREFIX .. 'configs'),
        redis.call('ZCARD', PREFIX .. 'datasets'), redis.call('GET', PREFIX .. 'artifact_store') or '',
        redis.call('GET', PREFIX .. 'recovery') or ''}
