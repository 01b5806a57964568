-- Whether an attempt may write, and the reply to what it writes.

-- Nil if (attempt, claim) owns the job, else the error reply; and the fields it has read.
local function fence(id, attempt, claim)
  local f = redis.call('HMGET', job_key(id), 'v', 'status', 'attempt', 'claim_id', 'current_step',
                       'last_point', 'last_log')
  if not f[1] then return {'fenced', id, attempt, 'the job was deleted'} end
  if f[1] ~= VERSION then return {'version', 'job', id, f[1]} end
  local owns = f[3] == attempt and f[4] == claim and claim ~= ''
  if not owns or not is_held(f[2]) then
    return {'fenced', id, attempt, 'the job is ' .. f[2] .. ', attempt ' .. f[3]}
  end
  return nil, {status = f[2], current_step = f[5], last_point = f[6], last_log = f[7]}
end

-- The reply to what an attempt writes: {'ok', whether a stop is requested (1 or 0), how many
-- entries are there now, how many of them were there before}.
local function signals(job, delivered, duplicates)
  return {'ok', job.status == 'stopping' and 1 or 0, delivered or 0, duplicates or 0}
end
