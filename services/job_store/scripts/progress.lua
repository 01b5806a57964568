-- progress: prefix, job_id, attempt, claim_id, step, phase, tokens_seen, pulses, phase_progress
--           ("done/total"), eta_ms (empty where unknown)
local id, step = ARGV[2], tonumber(ARGV[5])
local stale, fenced = fence(id, ARGV[3], ARGV[4])
if stale then return stale end
local now = now_ms()
local moved = step > tonumber(fenced.current_step)
local shown = redis.call('HMGET', job_key(id), 'phase', 'pulses', 'phase_progress')
if moved or shown[1] ~= ARGV[6] or shown[2] ~= ARGV[8] or shown[3] ~= ARGV[9] then
  redis.call('HSET', job_key(id), 'phase', ARGV[6], 'pulses', ARGV[8], 'phase_progress', ARGV[9],
             'progress_at', now, 'updated_at', now)
end
if moved then redis.call('HSET', job_key(id), 'current_step', text(step)) end
if ARGV[7] ~= '0' then redis.call('HSET', job_key(id), 'tokens_seen', ARGV[7]) end
redis.call('HSET', job_key(id), 'eta_ms', ARGV[10])
return signals(fenced)
