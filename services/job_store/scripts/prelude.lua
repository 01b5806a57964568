-- Shared by every script: keys, time, versions, replies, request memos, fencing.
-- ARGV[1] is the key prefix. Keys are built here, not declared: the store runs on one primary
-- (with replicas), never on Redis Cluster. A reply begins with 'ok' or the name of an error.
local PREFIX = ARGV[1]
local VERSION = '1'

local function job_key(id, ...)
  return PREFIX .. 'job:' .. table.concat({id, ...}, ':')
end

local function index_key(status)
  return PREFIX .. 'jobs:' .. status
end

local function name_key(name)
  return index_key('name:' .. name)
end

-- Files of this job may be superfluous: they are looked through a while after the first such call.
local function ask_for_sweep(id, now)
  redis.call('ZADD', index_key('sweep'), 'NX', now, id)
end

-- How many of something may be read: a script holds everybody up, so no argument alone says that.
-- 0 for what is no number.
local function bounded(argument, most)
  local number = tonumber(argument)
  if not number or number ~= number then return 0 end
  return math.min(number, most)
end

-- The numbers of the attempts that were ever claimed, ascending, within the bounds.
local function attempts_between(id, first, last)
  local found = {}
  for _, number in ipairs(redis.call('HKEYS', job_key(id, 'attempts'))) do
    local attempt = tonumber(number)
    if attempt >= first and attempt <= last then found[#found + 1] = attempt end
  end
  table.sort(found)
  return found
end

local function text(number)  -- tostring() would write large integers as 1.7e+12
  return string.format('%.0f', number)
end

local function now_ms()
  local time = redis.call('TIME')
  return text(tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000))
end

local function map(flat)
  local result = {}
  for i = 1, #flat, 2 do result[flat[i]] = flat[i + 1] end
  return result
end

-- The whole record (without its config document), or nil and the error reply.
local function load_job(id)
  local flat = redis.call('HGETALL', job_key(id))
  if #flat == 0 then return nil, {'not_found', 'job', id} end
  local job = map(flat)
  if job.v ~= VERSION then return nil, {'version', 'job', id, job.v or 'none'} end
  return job
end

local function set_fields(id, job, changes)
  local flat = {}
  for field, value in pairs(changes) do
    flat[#flat + 1] = field
    flat[#flat + 1] = value
    job[field] = value
  end
  if #flat > 0 then redis.call('HSET', job_key(id), unpack(flat)) end
end

local function snapshot(job)
  return {'ok', cjson.encode(job)}
end

local function refused(id, job, action, why)
  return {'refused', id, job.status, action, why or ''}
end

-- The first answer to this request, an error if the body differs, nil if it is new.
local function recall(request_key, body_hash)
  local memo = redis.call('HMGET', request_key, 'hash', 'answer')
  if not memo[1] then return nil end
  if memo[1] ~= body_hash then return {'reused'} end
  return {'ok', memo[2]}
end

local function remember(request_key, body_hash, ttl_ms, answer)
  redis.call('HSET', request_key, 'hash', body_hash, 'answer', answer)
  redis.call('PEXPIRE', request_key, ttl_ms)
  return {'ok', answer}
end

-- Nil if (attempt, claim) owns the job, else the error reply; and the fields it has read.
local function fence(id, attempt, claim)
  local f = redis.call('HMGET', job_key(id), 'v', 'status', 'attempt', 'claim_id', 'current_step',
                       'last_point', 'last_log')
  if not f[1] then return {'fenced', id, attempt, 'the job was deleted'} end
  if f[1] ~= VERSION then return {'version', 'job', id, f[1]} end
  local owns = f[3] == attempt and f[4] == claim and claim ~= ''
  if not owns or (f[2] ~= 'running' and f[2] ~= 'stopping') then
    return {'fenced', id, attempt, 'the job is ' .. f[2] .. ', attempt ' .. f[3]}
  end
  return nil, {status = f[2], current_step = f[5], last_point = f[6], last_log = f[7]}
end

local function signals(fenced, delivered, duplicates)
  return {'ok', fenced.status == 'stopping' and 1 or 0, delivered or 0, duplicates or 0}
end
