-- The checker's own script: puts a state of the job store into database 0, and reads the one that
-- is there. A state is a set of parts, one a key. A part is the key with its content in canonical
-- form: sorted, without what is told apart only by time. Database 1 holds one copy of each part.
--
-- states: 'put', then key and part for each key of the state.
-- states: 'read', kept. Returns the parts, in order of their keys ('12,7,…'), and the events that
--         were emitted since the state was put: kind, data, kind, data, …
-- states: 'exact', kept. Returns a digest of all keys with every byte of their contents.
-- states: 'text', part, … Returns key, newline, content (JSON) of each.
-- `kept` is the key of the one answer to a request that belongs to a state.

-- Of a job's record. Times and counters only count on, and no script decides by them; texts are for
-- people. Of some fields scripts or the reconciler ask whether they are empty.
local IGNORED = {lease_count = 1, progress_at = 1, updated_at = 1, phase = 1, pulses = 1,
                 phase_progress = 1, eta_ms = 1, state_event = 1, message = 1, tokens_seen = 1,
                 ran_ms = 1, worker_id = 1, notes = 1, data_summary = 1, warnings = 1, data_warnings = 1,
                 data_roots = 1}
local WHETHER = {created_at = 1, started_at = 1, completed_at = 1, enqueued_at = 1,
                 stop_requested_at = 1, stop_deadline = 1, running_since = 1, error = 1}

-- What each field of a hash becomes, by the end of the hash's key.
local FIELD = {
  record = function(field, value)
    if WHETHER[field] then return value == '' and '' or 'set' end
    return value
  end,
  attempts = function(_, value)
    local entry = cjson.decode(value)
    return (entry.claim_id or '') .. ' ' .. entry.start_step .. ' ' .. (entry.outcome and 'ended' or '')
  end,
  checkpoint_data = function(_, value) return string.match(value, '\n(.*)$') end,
  request = function() return 'answered' end,
}

local function kind_of(key)
  if string.find(key, 'job:[^:]+$') then return 'record' end
  if string.find(key, 'request:', 1, true) then return 'request' end
  return string.match(key, ':([^:]+)$')
end

local function read_hash(key)
  local flat, names, fields = redis.call('HGETALL', key), {}, {}
  local kind = kind_of(key)
  local ignored = kind == 'record' and IGNORED or {}
  for i = 1, #flat, 2 do
    if not ignored[flat[i]] then
      names[#names + 1] = flat[i]
      fields[flat[i]] = flat[i + 1]
    end
  end
  table.sort(names)
  local content, canonical = {}, FIELD[kind]
  for i, name in ipairs(names) do
    content[2 * i - 1] = name
    content[2 * i] = canonical and canonical(name, fields[name]) or fields[name]
  end
  return content
end

local function read_stream(key)
  if kind_of(key) == 'events' then return {} end  -- what a call adds to them is read below
  local content = {}
  for _, entry in ipairs(redis.call('XRANGE', key, '-', '+')) do
    content[#content + 1] = entry[1]
    for _, word in ipairs(entry[2]) do content[#content + 1] = word end
  end
  return content
end

local READ = {
  hash = read_hash,
  stream = read_stream,
  string = function(key) return {redis.call('GET', key)} end,
  set = function(key)
    local members = redis.call('SMEMBERS', key)
    table.sort(members)
    return members
  end,
  zset = function(key)
    local kind = kind_of(key)
    local has_times = kind == 'sweep' or kind == 'delayed'
    if has_times then return redis.call('ZRANGE', key, 0, -1) end
    return redis.call('ZRANGE', key, 0, -1, 'WITHSCORES')
  end,
}

-- Notices are left out: they only hasten what the reconciler does in its rounds.
local function keys_of_state()
  local keys = {}
  for _, key in ipairs(redis.call('KEYS', '*')) do
    local is_left_out = string.find(key, 'request:') or string.find(key, 'notices$')
    if key == ARGV[2] or not is_left_out then keys[#keys + 1] = key end
  end
  table.sort(keys)
  return keys
end

local commands = {}

function commands.put()
  local present = redis.call('KEYS', '*')
  if #present > 0 then redis.call('UNLINK', unpack(present)) end
  redis.call('SELECT', 1)
  for i = 2, #ARGV, 2 do redis.call('COPY', 'part:' .. ARGV[i + 1], ARGV[i], 'DB', 0) end
  redis.call('SELECT', 0)
  for i = 2, #ARGV, 2 do
    if string.find(ARGV[i], ':events$') then redis.call('XTRIM', ARGV[i], 'MAXLEN', 0) end
  end
end

local function part_of(key)
  local kind = redis.call('TYPE', key).ok
  local text = key .. '\n' .. cjson.encode(READ[kind](key))
  redis.call('SELECT', 1)
  local part = redis.call('HGET', 'parts', text)
  if not part then
    part = tostring(redis.call('HLEN', 'parts') + 1)
    redis.call('HSET', 'parts', text, part)
    redis.call('HSET', 'texts', part, text)
    redis.call('SELECT', 0)
    redis.call('COPY', key, 'part:' .. part, 'DB', 1)
  end
  redis.call('SELECT', 0)
  return part
end

function commands.read()
  local parts, events = {}, {}
  for _, key in ipairs(keys_of_state()) do
    parts[#parts + 1] = part_of(key)
    if string.find(key, ':events$') then
      for _, entry in ipairs(redis.call('XRANGE', key, '-', '+')) do
        events[#events + 1] = entry[2][2]
        events[#events + 1] = entry[2][4]
      end
    end
  end
  return {table.concat(parts, ','), unpack(events)}
end

function commands.exact()
  local contents = {}
  for _, key in ipairs(keys_of_state()) do
    contents[#contents + 1] = key
    contents[#contents + 1] = redis.call('DUMP', key)
  end
  return redis.sha1hex(table.concat(contents, '\n'))
end

function commands.text()
  redis.call('SELECT', 1)
  local texts = redis.call('HMGET', 'texts', unpack(ARGV, 2))
  redis.call('SELECT', 0)
  return texts
end

return commands[ARGV[1]]()
