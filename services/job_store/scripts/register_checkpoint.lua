-- register_checkpoint: prefix, job_id, attempt, claim_id, checkpoint_id, step, score, record (JSON)
local id, checkpoint_id, score = ARGV[2], ARGV[5], ARGV[7]
local stale = fence(id, ARGV[3], ARGV[4])
if stale then return stale end
local now = now_ms()
if redis.call('HEXISTS', job_key(id, 'checkpoint_data'), checkpoint_id) == 1 then return {'ok'} end
local job = load_job(id)
-- An attempt that ends where it began saves that step again. The new one takes the place of the
-- old, and its score where it has none: steps are unique, and a step was measured once.
for _, old in ipairs(redis.call('ZRANGEBYSCORE', job_key(id, 'checkpoints'), ARGV[6], ARGV[6])) do
  if score == '' then score = redis.call('ZSCORE', job_key(id, 'checkpoint_scores'), old) or '' end
  retire_checkpoint(id, old)
end
-- The record keeps the bytes it came with: cjson would cut its numbers to 14 digits.
local stored = now .. '\n' .. ARGV[8]
redis.call('HSET', job_key(id, 'checkpoint_data'), checkpoint_id, stored)
redis.call('ZADD', job_key(id, 'checkpoints'), ARGV[6], checkpoint_id)
redis.call('SET', PREFIX .. 'checkpoint:' .. checkpoint_id, id)
if score ~= '' then
  redis.call('ZADD', job_key(id, 'checkpoint_scores'), score, checkpoint_id)
  update_best(id, job)
end
-- What was kept for want of any other may go now.
if redis.call('SCARD', job_key(id, 'retired_checkpoints')) > 0 then ask_for_sweep(id, now) end
set_fields(id, job, {fresh_checkpoint = '1', consecutive_failures = '0', updated_at = now})
emit(id, job, 'checkpoint', stored, job.best_checkpoint_id)
return {'ok'}
