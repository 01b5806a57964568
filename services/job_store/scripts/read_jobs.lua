-- read_jobs: prefix, index, below, above, count, look, filter (JSON: status ('' for all), tags and
-- words, both arrays). The newest jobs of an index that pass the filter: `count` of them, or those
-- among the first `look`. Returns the id that the next page begins below ('' at the end of the
-- index), then id and record (JSON, with the time of reading) of each.
--- @include prelude
--- @include record
local index, below, above = ARGV[2], ARGV[3], ARGV[4]
local count, look, filter = bounded(ARGV[5], 1000), bounded(ARGV[6], 1000), cjson.decode(ARGV[7])
local has_words = #filter.words > 0

-- Whether `text` has all of these in it.
local function has_all(text, parts)
  for _, part in ipairs(parts) do
    if not string.find(text, part, 1, true) then return false end
  end
  return true
end

-- What a search looks through. Redis can fold ASCII alone; other text is stored folded too.
local function searched(f)
  return string.lower(table.concat({f[3] or '', f[2] or '', f[4] or ''}, '\n')) .. '\n' ..
    table.concat({f[5] or '', f[6] or ''}, '\n')
end

-- Whether each word is in the text or, where it is too long to be there by chance, in the id.
local function is_found(id, text)
  for _, word in ipairs(filter.words) do
    local is_there = string.find(text, word, 1, true) or
      (#word >= 6 and string.find(id, word, 1, true))
    if not is_there then return false end
  end
  return true
end

local quoted = {}  -- as they are in the record's JSON; a tag needs no escapes
for _, tag in ipairs(filter.tags) do append(quoted, '"' .. tag .. '"') end

local function passes(id)
  if filter.status == '' and #quoted == 0 and not has_words then return true end
  local f = redis.call('HMGET', job_key(id), 'status', 'tags', 'name', 'user_notes', 'folded_name',
                       'folded_notes')
  if filter.status ~= '' and f[1] ~= filter.status then return false end
  return has_all(f[2] or '', quoted) and (not has_words or is_found(id, searched(f)))
end

local now, reply, last = now_ms(), {'ok', ''}, ''
local ids = redis.call('ZRANGE', index_key(index), below, above, 'BYLEX', 'REV', 'LIMIT', 0, look + 1)
for position, id in ipairs(ids) do
  if position > look or #reply == 2 + 2 * count then
    reply[2] = last
    break
  end
  last = id
  if passes(id) then
    append(reply, id)
    append(reply, record_json(id, now))
  end
end
return reply
