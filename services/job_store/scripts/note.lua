-- note: prefix, job_id, attempt, claim_id, message. About an attempt that goes on. Returns nothing.
--- @include prelude
--- @include fence
--- @include transitions
local id, attempt, claim, message = ARGV[2], ARGV[3], ARGV[4], ARGV[5]

local stale = fence(id, attempt, claim)
if stale then return stale end
say(id, load_job(id), message)
return {'ok'}
