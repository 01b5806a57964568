-- forget_checkpoint: prefix, job_id, checkpoint_id. The files of a retired one are gone.
-- Returns nothing.
--- @include prelude
local id, checkpoint_id = ARGV[2], ARGV[3]

if redis.call('SREM', job_key(id, 'retired_checkpoints'), checkpoint_id) == 1 then
  redis.call('HDEL', job_key(id, 'checkpoint_data'), checkpoint_id)
end
return {'ok'}
