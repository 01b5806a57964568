-- explain_wait: prefix, why, before, cuda (1 or 0), limit. A worker writes into the messages of
-- waiting jobs that it could train why it takes none; why '' removes its message, which was
-- `before`. Messages of other workers stay. Returns nothing.
--- @include prelude
--- @include transitions
local why, before, cuda, limit = ARGV[2], ARGV[3], ARGV[4] == '1', bounded(ARGV[5], 10000)

local WAITS = 'waits for the artifact store: '
local message = why ~= '' and WAITS .. why or ''
for _, id in ipairs(redis.call('ZRANGE', index_key('queued'), 0, limit - 1)) do
  local f = redis.call('HMGET', job_key(id), 'v', 'message', 'device')
  local mine = f[2] == WAITS .. before
  local free = why ~= '' and string.sub(f[2] or '', 1, #WAITS) ~= WAITS
  local fits = cuda or string.sub(f[3] or '', 1, 4) ~= 'cuda'
  if f[1] == VERSION and fits and f[2] ~= message and (mine or free) then
    say(id, load_job(id), message)
  end
end
return {'ok'}
