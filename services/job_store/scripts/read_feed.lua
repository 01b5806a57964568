-- read_feed: prefix, job_id, event_id, known, attempt, step, log_attempt, log_seq, limit,
--            logs (1 or 0), floor. One consistent look at everything after a position.
-- Only attempts that the reader knows of are read, up to `known` or by the state events here.
local id, known, limit = ARGV[2], tonumber(ARGV[4]), bounded(ARGV[9], 1000)
local at, step = tonumber(ARGV[5]), tonumber(ARGV[6])
local log_at, log_seq = tonumber(ARGV[7]), tonumber(ARGV[8])
local status = redis.call('HMGET', job_key(id), 'status', 'state_event')
if not status[1] then return {'not_found', 'job', id} end

local more, wake = 0, {}

-- Where to wait for the next entry: behind all that is there, hidden points included.
local function wait_behind(stream)
  local newest = redis.call('XREVRANGE', stream, '+', '-', 'COUNT', 1)[1]
  wake[#wake + 1] = stream
  wake[#wake + 1] = newest and newest[1] or '0-0'
end

local function full(entries, wanted)
  if #entries >= wanted then more = 1 end
  return entries
end

local events = full(redis.call('XRANGE', job_key(id, 'events'), '(' .. ARGV[3], '+',
                               'COUNT', limit), limit)
wait_behind(job_key(id, 'events'))
-- These events tell of attempts: a started one by its state, an earlier one by the points and
-- lines ('p', 'l') that belong before the event.
local logged = at  -- newest attempt of which a point was sent
for _, event in ipairs(events) do
  local fields = event[2]
  local author = tonumber(string.match(fields[6], '^%d+'))
  logged = math.max(logged, author)
  known = math.max(known, author, tonumber(string.match(fields[8], '^%d+')))
  if fields[2] == 'state' then
    local state = cjson.decode(fields[4])
    if state.status ~= 'queued' then known = math.max(known, tonumber(state.attempt)) end
  end
end

-- The reader passes over points up to `floor`, until a rewind brings steps again; what it would
-- pass over need not be read. A rewind of the newest attempt may follow among events that did not
-- fit, unless it has logged a point: an attempt rewinds before its first one.
local function floor_of(attempt)
  if more == 1 and attempt == known and logged < known then return -1 end
  local floor = tonumber(ARGV[11])
  for _, event in ipairs(events) do
    if event[2][2] == 'rewound' then
      local rewind = cjson.decode(event[2][4])
      if tonumber(rewind.attempt) <= attempt then
        floor = math.min(floor, tonumber(rewind.to_step))
      end
    end
  end
  return floor
end

local segments = {}
for _, segment in ipairs(visible_segments(id, 0, 2 ^ 53)) do
  local attempt, first, last = segment[1], segment[2], segment[3]
  if attempt >= at and attempt <= known then
    if attempt == at then first = math.max(first, step + 1) end
    first = math.max(first, floor_of(attempt) + 1)
    if first <= last then segments[#segments + 1] = {attempt, first, last} end
  end
end
local points, files, found = visible_points(id, segments, limit)
if found >= limit then more = 1 end
for _, attempt in ipairs(attempts_between(id, at, known)) do
  wait_behind(job_key(id, 'metrics', attempt))
end

local lines = {}
if ARGV[10] == '1' then
  for _, attempt in ipairs(attempts_between(id, log_at, known)) do
    local stream, wanted = job_key(id, 'logs', attempt), limit - #lines
    if wanted > 0 then
      local from = attempt == log_at and '(' .. text(log_seq) .. '-1' or '-'
      if attempt == log_at and log_seq < 0 then from = '-' end
      for _, entry in ipairs(full(redis.call('XRANGE', stream, from, '+', 'COUNT', wanted),
                                  wanted)) do
        lines[#lines + 1] = {attempt, entry[1], entry[2][2]}
      end
    end
    wait_behind(stream)
  end
end
return {'ok', status[1], status[2], more, events, redis.call('HGETALL', job_key(id, 'schemas')),
        points, files, lines, wake}
