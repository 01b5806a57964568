-- register_checkpoint: prefix, job_id, attempt, claim_id, checkpoint_id, step, score, record (JSON).
-- Returns nothing.
--- @include prelude
--- @include fence
--- @include transitions
local id, attempt, claim = ARGV[2], ARGV[3], ARGV[4]
local saved = {id = ARGV[5], step = ARGV[6], score = ARGV[7], record = ARGV[8]}

local stale = fence(id, attempt, claim)
if stale then return stale end
local _, newest = newest_checkpoint(id)
-- An attempt registers its checkpoints in the order of their steps. So one of an earlier step is there
-- or, where the call was long on its way, may have lost its files since.
local is_late = tonumber(saved.step) < newest
if not is_late and redis.call('HEXISTS', job_key(id, 'checkpoint_data'), saved.id) == 0 then
  register(id, load_job(id), saved, now_ms())
end
return {'ok'}
