-- explain_wait: prefix, why, before, cuda (1 or 0), limit. A worker says in the messages of jobs
-- that wait for one like it why it takes none; why '' takes that back. What another worker said of
-- itself stays.
local WAITS = 'waits for the artifact store: '
local message = ARGV[2] ~= '' and WAITS .. ARGV[2] or ''
for _, id in ipairs(redis.call('ZRANGE', index_key('queued'), 0, ARGV[5] - 1)) do
  local f = redis.call('HMGET', job_key(id), 'v', 'message', 'device')
  local mine = f[2] == WAITS .. ARGV[3]
  local free = message ~= '' and string.sub(f[2] or '', 1, #WAITS) ~= WAITS
  local fits = ARGV[4] == '1' or string.sub(f[3] or '', 1, 4) ~= 'cuda'
  if f[1] == VERSION and fits and f[2] ~= message and (mine or free) then
    local job, now = load_job(id), now_ms()
    set_fields(id, job, {message = message, updated_at = now})
    emit_state(id, job, now)
  end
end
return {'ok'}
