-- confirm_start: prefix, job_id, attempt, claim_id, step, notes (JSON array), data summary, data
-- warnings (JSON array), environment. Where an attempt really begins: at its newest registered
-- checkpoint, or before it where that is damaged.
-- Returns nothing.
--- @include prelude
--- @include fence
--- @include transitions
local id, attempt, claim, step = ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5])
local notes, summary, warnings, environment = ARGV[6], ARGV[7], ARGV[8], ARGV[9]

local stale = fence(id, attempt, claim)
if stale then return stale end
local job = load_job(id)
local entry = read_attempt(id, attempt)
local start = tonumber(entry.start_step)
if step > start then
  return refused(id, job, 'start', 'step ' .. text(step) .. ' is beyond its newest registered ' ..
    'checkpoint, step ' .. text(start))
end
if leading_number(job.last_point) == tonumber(attempt) and step < start then
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
set_fields(id, job, {notes = notes ~= '[]' and notes or job.notes,
                     data_summary = summary ~= '' and summary or job.data_summary,
                     data_warnings = warnings, environment = environment,
                     progress_at = now, updated_at = now})
return {'ok'}
