-- progress: prefix, job_id, attempt, claim_id, step, phase, tokens_seen, pulses, phase_progress
--           ("done/total/per second"), eta_ms (empty where unknown). Returns signals.
--- @include prelude
--- @include fence
local id, attempt, claim, step = ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5])
local phase, tokens_seen, pulses, phase_progress = ARGV[6], ARGV[7], ARGV[8], ARGV[9]
local eta_ms = ARGV[10]

local stale, job = fence(id, attempt, claim)
if stale then return stale end
local now = now_ms()
local moved = step > tonumber(job.current_step)
local shown = redis.call('HMGET', job_key(id), 'phase', 'pulses', 'phase_progress')
local changes = {eta_ms = eta_ms}
if moved or shown[1] ~= phase or shown[2] ~= pulses or shown[3] ~= phase_progress then
  changes.phase, changes.pulses, changes.phase_progress = phase, pulses, phase_progress
  changes.progress_at, changes.updated_at = now, now
end
if moved then changes.current_step = text(step) end
if tokens_seen ~= '0' then changes.tokens_seen = tokens_seen end
set_hash(job_key(id), changes)
return signals(job)
