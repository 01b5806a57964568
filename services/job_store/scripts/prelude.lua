-- Shared by every script: keys, time, hashes, lists, replies.
-- ARGV[1] is the key prefix. Keys are built here, not declared: the store runs on one primary
-- (with replicas), never on Redis Cluster. A reply begins with one of these words:
--   {'ok', ...}                                what the script's header says it returns
--   {'none'}                                   success, with nothing to return
--   {'not_found', kind, id}                    no such record
--   {'version', kind, id, version}             a record in the layout of another release
--   {'refused', id, status, action, why}       the job's state forbids the action
--   {'fenced', id, attempt, why}               the caller's claim of the job is not the current one
--   {'reused'}                                 the request id was used for another request
--   {'too_many_tags', id, tags, most}          numbers: the job's tags after the change, and the limit
local PREFIX = ARGV[1]
local VERSION = '1'  -- of the layout of records, in their field `v`

local function job_key(id, ...)
  return PREFIX .. 'job:' .. table.concat({id, ...}, ':')
end

local function index_key(status)
  return PREFIX .. 'jobs:' .. status
end

local function name_key(name)
  return index_key('name:' .. name)
end

-- The list of the jobs that have a tag.
local function tag_key(tag)
  return index_key('tag:' .. tag)
end

-- The tags in a record's JSON array: none of them needs escapes.
local function each_tag(tags)
  return string.gmatch(tags or '', '"([^"]+)"')
end

local function item_key(kind, id)
  return PREFIX .. kind .. ':' .. id
end

local function text(number)  -- tostring() would write large integers as 1.7e+12
  return string.format('%.0f', number)
end

-- The number that a text begins with, as in '{attempt}:{step}' and '{step}-{sequence}'.
local function leading_number(value)
  return tonumber(string.match(value, '^%d+'))
end

local function now_ms()
  local time = redis.call('TIME')
  return text(tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000))
end

-- How many of something a script may read: `argument`, but at most `most`, since all other clients
-- wait for a script. 0 where `argument` is not a number.
local function bounded(argument, most)
  local number = tonumber(argument)
  if not number or number ~= number then return 0 end  -- only NaN differs from itself
  return math.min(number, most)
end

local function append(list, value)
  list[#list + 1] = value
end

-- A map of {field, value, field, value, ...}, which is how Redis replies with a hash.
local function map(flat)
  local result = {}
  for i = 1, #flat, 2 do result[flat[i]] = flat[i + 1] end
  return result
end

local function read_hash(key)
  return map(redis.call('HGETALL', key))
end

local function set_hash(key, fields)
  local flat = {}
  for field, value in pairs(fields) do
    flat[#flat + 1] = field
    flat[#flat + 1] = value
  end
  if #flat > 0 then redis.call('HSET', key, unpack(flat)) end
end

-- The parts of a text with commas between them.
local function split(list)
  local parts = {}
  for part in string.gmatch(list, '[^,]+') do parts[#parts + 1] = part end
  return parts
end

-- An entry of a stream is {id, {field, value, ...}}; nil where the stream is empty.
local function newest_entry(stream)
  return redis.call('XREVRANGE', stream, '+', '-', 'COUNT', 1)[1]
end

local function not_found(kind, id)
  return {'not_found', kind, id}
end

local function refused(id, job, action, why)
  return {'refused', id, job.status, action, why}
end

-- Whether a worker holds a job in this state.
local function is_held(status)
  return status == 'running' or status == 'stopping'
end
