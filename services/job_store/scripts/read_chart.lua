-- read_chart: prefix, job_id, first_step, last_step, max_points.
-- Picks the finest level that stays within max_points and holds all of the range. Edges that
-- cut through a bucket are put together from finer levels, down to single points.
-- Returns the level (0: points alone), schemas, packed raw points, files of archived ones, then
-- columns and buckets of each attempt.
--- @include prelude
--- @include summaries
--- @include visible
local id, lo, hi, max_points = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), bounded(ARGV[5], 2000)

if redis.call('EXISTS', job_key(id)) == 0 then return not_found('job', id) end
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
  local key = level_key(segment.attempt, level)
  local from, to = text(segment.first) .. '-0', text(segment.last)
  local first = redis.call('XRANGE', key, from, to, 'COUNT', 1)[1]
  local last = redis.call('XREVRANGE', key, to, from, 'COUNT', 1)[1]
  local oldest = oldest_entry(key)
  local covers = true
  if oldest then
    local head = bucket_head(oldest)
    covers = head.index == 0 or head.first <= segment.first
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

-- The finest level that holds all of the range tells how many points it has.
local level = BASE_LEVEL
local count, covers = total(level)
while level < TOP_LEVEL and not covers do
  level = level + 1
  count, covers = total(level)
end

local schemas = redis.call('HGETALL', job_key(id, 'schemas'))

-- A short range is read raw; the caller makes the buckets.
if count * 2 ^ level <= max_points * 2 ^ BASE_LEVEL then
  local packed, files = visible_points(id, segments, 2 ^ 53)
  return {'ok', 0, schemas, packed, files}
end

while level < TOP_LEVEL and count > max_points do
  level = level + 1
  count = total(level)
end

local edges = {}  -- what no bucket holds alone: single points, raw or archived

local function collect(out, attempt, from, to, at_level)
  if from > to then return end
  if at_level < BASE_LEVEL then
    append(edges, {attempt = attempt, first = from, last = to})
    return
  end
  local entries = redis.call('XRANGE', level_key(attempt, at_level), text(from) .. '-0', text(to))
  if entries[1] and bucket_head(entries[1]).first < from then table.remove(entries, 1) end
  if #entries == 0 then return collect(out, attempt, from, to, at_level - 1) end
  collect(out, attempt, from, bucket_head(entries[1]).first - 1, at_level - 1)
  for _, entry in ipairs(entries) do
    out[#out + 1] = struct.pack('<I4', #entry[2][2])
    out[#out + 1] = entry[2][2]
  end
  collect(out, attempt, bucket_head(entries[#entries]).last + 1, to, at_level - 1)
end

local summaries = {}
for _, segment in ipairs(segments) do
  local columns = redis.call('HGET', job_key(id, 'summary', segment.attempt), 'columns') or ''
  local buckets = {}
  collect(buckets, segment.attempt, segment.first, segment.last, level)
  append(summaries, columns)
  append(summaries, table.concat(buckets))
end
local packed, files = visible_points(id, edges, 2 ^ 53)
local reply = {'ok', level, schemas, packed, files}
for _, part in ipairs(summaries) do append(reply, part) end
return reply
