-- register_checkpoint: prefix, job_id, attempt, claim_id, checkpoint_id, step, score, record (JSON)
local id, checkpoint_id = ARGV[2], ARGV[5]
local stale = fence(id, ARGV[3], ARGV[4])
if stale then return stale end
if redis.call('HEXISTS', job_key(id, 'checkpoint_data'), checkpoint_id) == 1 then return {'ok'} end
register(id, load_job(id), checkpoint_id, ARGV[6], ARGV[7], ARGV[8], now_ms())
return {'ok'}
