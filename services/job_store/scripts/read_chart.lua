-- read_chart: prefix, job_id, first_step, last_step, max_points.
-- Picks the finest level that stays within max_points and holds all of the range. Edges that
-- cut through a bucket are put together from finer levels, down to raw points.
local id, lo, hi, max_points = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
if redis.call('EXISTS', job_key(id)) == 0 then return {'not_found', 'job', id} end
local segments = visible_segments(id, lo, hi)

local function level_key(attempt, level)
  return job_key(id, 'summary', attempt) .. ':' .. level
end

local function bucket_head(entry)
  local index, first, last = struct.unpack('<ddd', entry[2][2])
  return {index = index, first = first, last = last}
end

-- Buckets of a level that end within the segment, and whether the level reaches back to it.
local function measure(segment, level)
  local key = level_key(segment[1], level)
  local from, to = text(segment[2]) .. '-0', text(segment[3])
  local first = redis.call('XRANGE', key, from, to, 'COUNT', 1)[1]
  local last = redis.call('XREVRANGE', key, to, from, 'COUNT', 1)[1]
  local oldest = redis.call('XRANGE', key, '-', '+', 'COUNT', 1)[1]
  local covers = true
  if oldest then
    local head = bucket_head(oldest)
    covers = head.index == 0 or head.first <= segment[2]
  end
  if not first then return 0, covers end
  return bucket_head(last).index - bucket_head(first).index + 1, covers
end

local function total(level)
  local count, covers = 0, true
  for _, segment in ipairs(segments) do
    local n, reaches = measure(segment, level)
    count = count + n
    covers = covers and reaches
  end
  return count, covers
end

local function raw_covers()
  for _, segment in ipairs(segments) do
    local stream = job_key(id, 'metrics', segment[1])
    local oldest = redis.call('XRANGE', stream, '-', '+', 'COUNT', 1)[1]
    local ever = tonumber(redis.call('HGET', job_key(id, 'summary', segment[1]), 'points') or '0')
    local trimmed = ever > redis.call('XLEN', stream)
    if trimmed and (not oldest or step_of(oldest) > segment[2]) then return false end
  end
  return true
end

local names = {}
for columns, schema in pairs(map(redis.call('HGETALL', job_key(id, 'schemas')))) do
  names[schema] = {}
  for name in string.gmatch(columns, '[^,]+') do table.insert(names[schema], name) end
end

-- The finest level that holds all of the range tells how many points it has.
local level = BASE_LEVEL
local count, covers = total(level)
while level < TOP_LEVEL and not covers do
  level = level + 1
  count, covers = total(level)
end

-- A short range is read raw; the caller makes the buckets.
if count * 2 ^ level <= max_points * 2 ^ BASE_LEVEL and raw_covers() then
  local out = {}
  for _, segment in ipairs(segments) do
    local entries = redis.call('XRANGE', job_key(id, 'metrics', segment[1]),
                               text(segment[2]) .. '-0', text(segment[3]))
    for _, entry in ipairs(entries) do pack_entry(out, segment[1], entry) end
  end
  return {'ok', 0, redis.call('HGETALL', job_key(id, 'schemas')), table.concat(out)}
end

while level < TOP_LEVEL and count > max_points do
  level = level + 1
  count = total(level)
end

-- A raw point in the form of a bucket with the attempt's columns.
local function bucket_of(entry, column_of)
  local schema = names[entry[2][1]]
  local values = {struct.unpack('<' .. string.rep('d', #schema + 1), entry[2][2])}
  local extents = {}
  for i, name in ipairs(schema) do
    local at = 3 * column_of[name] - 2
    while #extents < at - 1 do extents[#extents + 1] = NAN end
    extents[at], extents[at + 1], extents[at + 2] = values[i + 1], values[i + 1], values[i + 1]
  end
  local step = step_of(entry)
  return pack_bucket({index = 0, first = step, last = step, count = 1, time = values[1],
                      extents = extents})
end

local function collect(out, attempt, column_of, from, to, at_level)
  if from > to then return end
  local first, last = text(from) .. '-0', text(to)
  if at_level < BASE_LEVEL then
    for _, entry in ipairs(redis.call('XRANGE', job_key(id, 'metrics', attempt), first, last,
                                      'COUNT', math.min(2 ^ level, 1024))) do
      local packed = bucket_of(entry, column_of)
      out[#out + 1] = struct.pack('<I4', #packed) .. packed
    end
    return
  end
  local entries = redis.call('XRANGE', level_key(attempt, at_level), first, last)
  if entries[1] and bucket_head(entries[1]).first < from then table.remove(entries, 1) end
  if #entries == 0 then return collect(out, attempt, column_of, from, to, at_level - 1) end
  collect(out, attempt, column_of, from, bucket_head(entries[1]).first - 1, at_level - 1)
  for _, entry in ipairs(entries) do
    out[#out + 1] = struct.pack('<I4', #entry[2][2])
    out[#out + 1] = entry[2][2]
  end
  collect(out, attempt, column_of, bucket_head(entries[#entries]).last + 1, to, at_level - 1)
end

local reply = {'ok', level}
for _, segment in ipairs(segments) do
  local columns = redis.call('HGET', job_key(id, 'summary', segment[1]), 'columns')
  if columns then
    local column_of, n, out = {}, 0, {}
    for name in string.gmatch(columns, '[^,]+') do
      n = n + 1
      column_of[name] = n
    end
    collect(out, segment[1], column_of, segment[2], segment[3], level)
    reply[#reply + 1] = columns
    reply[#reply + 1] = table.concat(out)
  end
end
return reply
