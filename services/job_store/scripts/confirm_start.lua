-- confirm_start: prefix, job_id, attempt, claim_id, step, notes (JSON array)
local id, attempt, step = ARGV[2], ARGV[3], tonumber(ARGV[5])
local stale = fence(id, attempt, ARGV[4])
if stale then return stale end
local job = load_job(id)
local entry = read_attempt(id, attempt)
local start = tonumber(entry.start_step)
if step > start then
  return refused(id, job, 'start', 'step ' .. text(step) .. ' is beyond its newest registered ' ..
    'checkpoint, step ' .. text(start))
end
if string.match(job.last_point, '^%d+') == attempt and step < start then
  return refused(id, job, 'start', 'this attempt has already published points')
end
local now = now_ms()
if step < start then
  entry.start_step = text(step)
  write_attempt(id, attempt, entry)
  supersede_checkpoints(id, job, step)
  local checkpoint_id = newest_checkpoint(id)
  cut_history(id, job, attempt, step, now)
  set_fields(id, job, {
    current_step = text(step), resume_checkpoint_id = checkpoint_id,
    resumed_from_step = step > 0 and text(step) or ''})
end
set_fields(id, job, {notes = ARGV[6] ~= '[]' and ARGV[6] or job.notes, progress_at = now,
                     updated_at = now})
return {'ok'}
