-- read_feed: prefix, job_id, event_id, known, attempt, step, log_attempt, log_seq, limit,
--            logs (1 or 0), floor. One consistent look at everything after a position.
-- Only attempts that the reader knows of are read, up to `known` or by the state events here.
-- Returns the job's status, the id of its newest state event, whether there is more (1 or 0), the
-- events, the schemas to read raw points with, those, packed, the files of archived ones, log lines
-- as {attempt, entry id, line}, and the streams to wait for with the ids to wait behind.
--- @include prelude
--- @include visible
local id, last_event, known = ARGV[2], ARGV[3], tonumber(ARGV[4])
local at, step = tonumber(ARGV[5]), tonumber(ARGV[6])
local log_at, log_seq = tonumber(ARGV[7]), tonumber(ARGV[8])
local limit, with_logs, floor = bounded(ARGV[9], 1000), ARGV[10] == '1', tonumber(ARGV[11])

local status = redis.call('HMGET', job_key(id), 'status', 'state_event')
if not status[1] then return not_found('job', id) end
local more, wake = 0, {}

-- Where to wait for the next entry: behind all that is there, hidden points included.
local function wait_behind(stream)
  local newest = newest_entry(stream)
  append(wake, stream)
  append(wake, newest and newest[1] or '0-0')
end

-- At most `count` entries of a stream.
local function read_entries(stream, from, count)
  local entries = redis.call('XRANGE', stream, from, '+', 'COUNT', count)
  if #entries >= count then more = 1 end
  return entries
end

local events = read_entries(job_key(id, 'events'), '(' .. last_event, limit)
wait_behind(job_key(id, 'events'))
-- These events tell of attempts: a started one by its state, an earlier one by the points and
-- lines ('p', 'l') that belong before the event.
local logged = at  -- newest attempt of which a point was sent
for _, entry in ipairs(events) do
  local event = map(entry[2])
  local author = leading_number(event.p)
  logged = math.max(logged, author)
  known = math.max(known, author, leading_number(event.l))
  if event.e == 'state' then
    local state = cjson.decode(event.d)
    if state.status ~= 'queued' then known = math.max(known, tonumber(state.attempt)) end
  end
end

-- The reader passes over points up to `floor`, until a rewind brings steps again; what it would
-- pass over need not be read. A rewind of the newest attempt may follow among events that did not
-- fit, unless it has logged a point: an attempt rewinds before its first one.
local function floor_of(attempt)
  if more == 1 and attempt == known and logged < known then return -1 end
  local lowest = floor
  for _, entry in ipairs(events) do
    local event = map(entry[2])
    if event.e == 'rewound' then
      local rewind = cjson.decode(event.d)
      if tonumber(rewind.attempt) <= attempt then
        lowest = math.min(lowest, tonumber(rewind.to_step))
      end
    end
  end
  return lowest
end

local segments = {}
for _, segment in ipairs(visible_segments(id, 0, 2 ^ 53)) do
  local attempt = segment.attempt
  if attempt >= at and attempt <= known then
    if attempt == at then segment.first = math.max(segment.first, step + 1) end
    segment.first = math.max(segment.first, floor_of(attempt) + 1)
    if segment.first <= segment.last then append(segments, segment) end
  end
end
local points, files, sure = visible_points(id, segments, limit)
if sure >= limit then more = 1 end
for _, attempt in ipairs(attempts_between(id, at, known)) do
  wait_behind(job_key(id, 'metrics', attempt))
end

local lines = {}
if with_logs then
  for _, attempt in ipairs(attempts_between(id, log_at, known)) do
    local stream, from = job_key(id, 'logs', attempt), '-'
    if attempt == log_at and log_seq >= 0 then from = '(' .. text(log_seq) .. '-1' end
    if #lines < limit then
      for _, entry in ipairs(read_entries(stream, from, limit - #lines)) do
        append(lines, {attempt, entry[1], entry[2][2]})
      end
    end
    wait_behind(stream)
  end
end
return {'ok', status[1], status[2], more, events, redis.call('HGETALL', job_key(id, 'schemas')),
        points, files, lines, wake}
