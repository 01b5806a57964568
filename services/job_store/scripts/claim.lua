-- claim: prefix, job_id, attempt, worker_id, claim_id, logged_attempts, and where the last claimed
--        attempt saved a checkpoint that it did not register: its claim_id, then checkpoint_id, step,
--        score, record (JSON) of that. Returns the job; 'none' for every message but the first.
--- @include prelude
--- @include transitions
local id, attempt, worker, claim, logged_attempts = ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local author = ARGV[7]
local saved = author and {id = ARGV[8], step = tonumber(ARGV[9]), score = ARGV[10],
                          record = ARGV[11]}

local job, err = load_job(id)
if err then return err[1] == 'not_found' and {'none'} or err end
local current = job.attempt == attempt
if current and job.claim_id == claim and is_held(job.status) then
  return snapshot(job)  -- the first answer was lost on the way
end
if not current or job.status ~= 'queued' then return {'none'} end  -- [T23]

local now = now_ms()
-- Attempts that were stopped while they waited have no entry, unless a person chose where to begin.
-- Such a choice decides, until a worker has claimed an attempt.
local earlier = attempts_between(id, 1, tonumber(attempt) - 1)
local before = read_attempt(id, earlier[#earlier] or 0)
local message = ''
if saved and before and before.claim_id == author and not read_attempt(id, attempt) then
  local _, newest = newest_checkpoint(id)
  local is_newer = saved.step > math.max(newest, tonumber(before.start_step))
  if is_newer and saved.step <= tonumber(job.max_steps) then
    register(id, job, saved, now)
    message = 'it continues from step ' .. text(saved.step) .. ', which attempt ' ..
      text(earlier[#earlier]) .. ' had saved and not registered'
  end
end
-- Other files that the attempt before left are to be removed.
if before then ask_for_sweep(id, now) end
local checkpoint_id, step = newest_checkpoint(id)
write_attempt(id, attempt, {claim_id = claim, worker_id = worker, claimed_at = now,
                            start_step = text(step)})
move(id, job, 'running', now, {  -- [T02]
  claim_id = claim, worker_id = worker, error = '', message = message, running_since = now,
  started_at = job.started_at ~= '' and job.started_at or now,
  current_step = text(step), resume_checkpoint_id = checkpoint_id,
  resumed_from_step = checkpoint_id ~= '' and text(step) or '',
  lease_count = '0', phase = 'starting', phase_progress = '0/0', eta_ms = '', progress_at = now,
  fresh_checkpoint = '0'})  -- '1' once this attempt has registered a checkpoint
cut_history(id, job, attempt, step, now)
for _, number in ipairs(attempts_between(id, 1, tonumber(attempt) - tonumber(logged_attempts))) do
  redis.call('UNLINK', job_key(id, 'logs', number))
end
return snapshot(job)
