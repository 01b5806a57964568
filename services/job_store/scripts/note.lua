-- note: prefix, job_id, attempt, claim_id, message. About an attempt that goes on.
local id = ARGV[2]
local stale = fence(id, ARGV[3], ARGV[4])
if stale then return stale end
local job, now = load_job(id), now_ms()
set_fields(id, job, {message = ARGV[5], updated_at = now})
emit_state(id, job, now)
return {'ok'}
