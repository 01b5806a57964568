-- say_waiting: prefix, job_id, attempt, message. Says why an attempt waits for workers. Returns nothing.
--- @include prelude
--- @include transitions
local id, attempt, message = ARGV[2], ARGV[3], ARGV[4]

local f = redis.call('HMGET', job_key(id), 'v', 'status', 'attempt', 'message')
if f[1] == VERSION and f[2] == 'queued' and f[3] == attempt and f[4] ~= message then
  say(id, load_job(id), message)
end
return {'ok'}
