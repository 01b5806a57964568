-- append_logs: prefix, job_id, attempt, claim_id, of_attempt, max_lines, logged_attempts,
--              then (seq, line) pairs. Lines of older attempts than those are dropped.
-- Returns signals.
--- @include prelude
--- @include fence
local id, attempt, claim, target = ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local max_lines, logged_attempts, first_pair = ARGV[6], tonumber(ARGV[7]), 8

local stale, job = fence(id, attempt, claim)
if stale then return stale end
local received = (#ARGV - first_pair + 1) / 2
if tonumber(target) <= tonumber(attempt) - logged_attempts then
  return signals(job, received, received)
end

local stream = job_key(id, 'logs', target)
local newest = newest_entry(stream)
local last, added = newest and leading_number(newest[1]) or -1, 0
for i = first_pair, #ARGV, 2 do
  local seq, line = tonumber(ARGV[i]), ARGV[i + 1]
  if seq > last then
    redis.call('XADD', stream, 'MAXLEN', '~', max_lines, ARGV[i] .. '-1', 'l', line)
    last, added = seq, added + 1
  end
end
if added > 0 and tonumber(target) >= leading_number(job.last_log) then
  redis.call('HSET', job_key(id), 'last_log', target .. ':' .. text(last))
end
return signals(job, received, received - added)
