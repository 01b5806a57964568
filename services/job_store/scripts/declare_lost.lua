-- declare_lost: prefix, job_id, attempt, claim_id, error, message. By the reconciler.
-- Returns the job; 'none' where that claim is not the current one any more.
--- @include prelude
--- @include fence
--- @include transitions
local id, attempt, claim, error_json, message = ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6]

local stale = fence(id, attempt, claim)
if stale then return stale[1] == 'fenced' and {'none'} or stale end  -- [T24]
local job = load_job(id)
end_lost_attempt(id, job, 'lost', error_json, message, now_ms())
return snapshot(job)
