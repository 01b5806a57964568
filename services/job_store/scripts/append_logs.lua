-- append_logs: prefix, job_id, attempt, claim_id, of_attempt, max_lines, logged_attempts,
--              then (seq, line) pairs. Lines of attempts that are too old are not wanted any more.
local id, attempt, target, max_lines = ARGV[2], ARGV[3], ARGV[5], ARGV[6]
local stale, fenced = fence(id, attempt, ARGV[4])
if stale then return stale end
if tonumber(target) <= tonumber(attempt) - tonumber(ARGV[7]) then
  local lines = (#ARGV - 7) / 2
  return signals(fenced, lines, lines)
end
local stream = job_key(id, 'logs', target)
local newest = redis.call('XREVRANGE', stream, '+', '-', 'COUNT', 1)[1]
local last, added, seen = newest and tonumber(string.match(newest[1], '^%d+')) or -1, 0, 0
for i = 8, #ARGV, 2 do
  local seq = tonumber(ARGV[i])
  if seq > last then
    redis.call('XADD', stream, 'MAXLEN', '~', max_lines, ARGV[i] .. '-1', 'l', ARGV[i + 1])
    last, added = seq, added + 1
  end
  seen = seen + 1
end
local reached = tonumber(string.match(fenced.last_log, '^%d+'))
if added > 0 and tonumber(target) >= reached then
  redis.call('HSET', job_key(id), 'last_log', target .. ':' .. text(last))
end
return signals(fenced, seen, seen - added)
