-- change_sweep: prefix, sweep_id, request_key, body_hash, ttl_ms, expected statuses (with commas),
--               expected number of decided rungs ('' for any), action, is_open (1 or 0), job_id of a child
--               ('' for none), its attempt, field, value, ... Changes a sweep that is as expected. An open
--               one is driven by the control planes.
-- Returns the sweep; 'none' where another number of rungs is decided, or that attempt of the child is not
-- its last any more, or has not failed.
--- @include prelude
--- @include memo
local id, expected, rungs, action, is_open = ARGV[2], ARGV[6], ARGV[7], ARGV[8], ARGV[9] == '1'
local child, attempt = ARGV[10], ARGV[11]
local memo = {key = ARGV[3], hash = ARGV[4], ttl_ms = ARGV[5]}

local first_answer = recall(memo)
if first_answer then return first_answer end
local sweep = read_hash(item_key('sweep', id))
if not sweep.v then return not_found('sweep', id) end
if sweep.v ~= VERSION then return {'version', 'sweep', id, sweep.v} end
if not string.find(',' .. expected .. ',', ',' .. sweep.status .. ',', 1, true) then
  return refused(id, sweep, action, '')
end
if rungs ~= '' and sweep.rungs_decided ~= rungs then return {'none'} end
if child ~= '' then
  local f = redis.call('HMGET', job_key(child), 'status', 'attempt')
  if f[1] ~= 'failed' or f[2] ~= attempt then return {'none'} end  -- it was cured and resumed
end
local changes = map({unpack(ARGV, 12)})
-- Noted in the record, so that the journal has it, as `note_request` does for the one that made it.
if memo.hash ~= '-' then changes['asked_' .. action] = memo.key .. ' ' .. memo.hash end
set_hash(item_key('sweep', id), changes)
for field, value in pairs(changes) do sweep[field] = value end
redis.call(is_open and 'SADD' or 'SREM', PREFIX .. 'sweeps:open', id)
return remember(memo, cjson.encode(sweep))
