-- finish: prefix, job_id, attempt, claim_id, kind, error, message. Ends an attempt.
-- Returns the job.
--- @include prelude
--- @include fence
--- @include transitions
local id, attempt, claim, kind = ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local error_json, message = ARGV[6], ARGV[7]

local stale = fence(id, attempt, claim)
if stale then
  local entry = read_attempt(id, attempt)
  if entry and entry.claim_id == claim and entry.outcome == kind then
    local job, err = load_job(id)
    return err or snapshot(job)  -- the first answer was lost on the way
  end
  return stale  -- [T24]
end
local job = load_job(id)
local now = now_ms()
if kind == 'crashed' then
  end_lost_attempt(id, job, kind, error_json, message, now)
  return snapshot(job)
end
if kind == 'stopped' and job.status ~= 'stopping' and not is_where_it_stops(id, job) then  -- [T17]
  return refused(id, job, 'finish the stop of', 'no stop was requested')
end
end_attempt(id, attempt, kind, now)
if TERMINAL[kind] then  -- [T06] [T07] [T12] [T13] [T25], and [T11] where it stopped as it was asked to
  move(id, job, kind, now, {error = error_json, message = message})
elseif job.status == 'stopping' then  -- [T11]
  move(id, job, 'stopped', now, {message = message})
else  -- [T08]
  requeue(id, job, now, {
    message = message, consecutive_failures = job.fresh_checkpoint == '1' and '0'
      or job.consecutive_failures}, error_json ~= '')  -- one that needs time waits for the pause
end
return snapshot(job)
