-- was_deleted: prefix, job_id. Returns 1 where the job was deleted a short while ago, else 0. A job
-- that a server has forgotten was not deleted: only a deletion leaves an entry for the sweep.
--- @include prelude
local id = ARGV[2]

if redis.call('EXISTS', job_key(id)) == 1 then return {'ok', 0} end
local entered = redis.call('ZSCORE', index_key('sweep'), id)
  or redis.call('SISMEMBER', index_key('sweeping'), id) == 1
return {'ok', entered and 1 or 0}
