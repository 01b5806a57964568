-- claim: prefix, job_id, attempt, worker_id, claim_id, logged_attempts, and where the attempt before
--        saved a checkpoint that it did not register: its claim_id, then checkpoint_id, step, score,
--        record (JSON) of that. 'none' for every message but the first.
local id, attempt, worker, claim = ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local job, err = load_job(id)
if err then
  if err[1] == 'not_found' then return {'none'} end
  return err
end
local mine = job.claim_id == claim and job.attempt == attempt
if mine and (job.status == 'running' or job.status == 'stopping') then
  return snapshot(job)  -- the first answer was lost on the way
end
if job.status ~= 'queued' or job.attempt ~= attempt then return {'none'} end

local now = now_ms()
local before = read_attempt(id, text(tonumber(attempt) - 1))
-- An attempt that has an entry already begins where a person's resume said.
if ARGV[7] and before and before.claim_id == ARGV[7] and not read_attempt(id, attempt) then
  local _, newest = newest_checkpoint(id)
  if tonumber(ARGV[9]) > math.max(newest, tonumber(before.start_step)) then
    register(id, job, ARGV[8], ARGV[9], ARGV[10], ARGV[11], now)
  end
end
-- What it left beside that goes now that it was looked through.
if before then ask_for_sweep(id, now) end
local checkpoint_id, step = newest_checkpoint(id)
write_attempt(id, attempt, {claim_id = claim, worker_id = worker, claimed_at = now,
                            start_step = text(step)})
move(id, job, 'running', now, {
  claim_id = claim, worker_id = worker, error = '', message = '', running_since = now,
  started_at = job.started_at ~= '' and job.started_at or now,
  current_step = text(step), resume_checkpoint_id = checkpoint_id,
  resumed_from_step = checkpoint_id ~= '' and text(step) or '',
  lease_count = '0', phase = 'starting', phase_progress = '0/0', eta_ms = '', progress_at = now,
  fresh_checkpoint = '0'})
cut_history(id, job, attempt, step, now)
for _, number in ipairs(redis.call('HKEYS', job_key(id, 'attempts'))) do
  if tonumber(number) <= tonumber(attempt) - tonumber(ARGV[6]) then
    redis.call('UNLINK', job_key(id, 'logs', number))
  end
end
return snapshot(job)
