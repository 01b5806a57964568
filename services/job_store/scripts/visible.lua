-- What readers see: the range of steps of each attempt, and raw entries packed into one string.
-- A single reply string is read many times faster by a client than thousands of small ones.

--- @include attempts

local function oldest_entry(stream)
  return redis.call('XRANGE', stream, '-', '+', 'COUNT', 1)[1]
end

-- {attempt, first (step), last} in ascending order; clipped to lo..hi.
local function visible_segments(id, lo, hi)
  local starts = {}
  for number, entry in pairs(read_attempts(id)) do
    append(starts, {attempt = tonumber(number), step = tonumber(entry.start_step)})
  end
  table.sort(starts, function(a, b) return a.attempt > b.attempt end)
  local segments, limit = {}, hi
  for _, start in ipairs(starts) do
    -- A fresh start includes step 0; a resumed one begins after the step it resumed from.
    local first = math.max(lo, start.step > 0 and start.step + 1 or 0)
    if first <= limit then
      table.insert(segments, 1, {attempt = start.attempt, first = first, last = limit})
    end
    limit = math.min(limit, start.step)
  end
  return segments
end

local function step_of(entry)
  return leading_number(entry[1])
end

-- Appends step (double), attempt, schema (uint16) and the packed doubles to `out`.
local function pack_entry(out, attempt, entry)
  out[#out + 1] = struct.pack('<dHH', step_of(entry), attempt, tonumber(entry[2][1]))
  out[#out + 1] = entry[2][2]
end

-- The archived files of a segment, until they hold `count` points or more: appends
-- {attempt, first step, last step, file (JSON)} to `files`. Returns how many points they hold for
-- certain: the points of a file that the segment's edge cuts through are not counted.
local function archived_files(id, segment, count, files)
  local archive, sure, offset = job_key(id, 'archive', segment.attempt), 0, 0
  repeat
    local page = redis.call('ZRANGE', archive, text(segment.first), '+inf', 'BYSCORE',
                            'LIMIT', offset, 16)
    for _, stored in ipairs(page) do
      local file = cjson.decode(stored)
      if file.first_step > segment.last or sure >= count then return sure end
      append(files, {segment.attempt, text(segment.first), text(segment.last), stored})
      if file.first_step >= segment.first and file.last_step <= segment.last then
        sure = sure + file.points
      end
    end
    offset = offset + 16
  until #page < 16 or sure >= count
  return sure
end

-- At least the first `count` visible points of the segments, or all: raw ones packed into the
-- first result; the second names the archived files of older ones, in order, as `archived_files`
-- does; the third is the number of points that are there for certain.
local function visible_points(id, segments, count)
  local out, files, sure = {}, {}, 0
  for _, segment in ipairs(segments) do
    if sure < count then sure = sure + archived_files(id, segment, count - sure, files) end
    if sure < count then
      local entries = redis.call('XRANGE', job_key(id, 'metrics', segment.attempt),
                                 text(segment.first) .. '-0', text(segment.last),
                                 'COUNT', count - sure)
      for _, entry in ipairs(entries) do pack_entry(out, segment.attempt, entry) end
      sure = sure + #entries
    end
  end
  return table.concat(out), files, sure
end
