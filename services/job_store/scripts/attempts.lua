-- The attempts of a job.

-- The entries of attempts that have one, by number (a text).
local function read_attempts(id)
  local entries = read_hash(job_key(id, 'attempts'))
  for number, entry in pairs(entries) do entries[number] = cjson.decode(entry) end
  return entries
end

-- The numbers of the attempts that have an entry, ascending, within the bounds: they were claimed, or
-- ResumeJob was told where they begin.
local function attempts_between(id, first, last)
  local numbers = {}
  for _, number in ipairs(redis.call('HKEYS', job_key(id, 'attempts'))) do
    local attempt = tonumber(number)
    if attempt >= first and attempt <= last then append(numbers, attempt) end
  end
  table.sort(numbers)
  return numbers
end

-- Deletes what all attempts published.
local function unlink_streams(id)
  for _, attempt in ipairs(attempts_between(id, 1, math.huge)) do
    local summary = job_key(id, 'summary', attempt)
    local keys = {job_key(id, 'metrics', attempt), job_key(id, 'archive', attempt),
                  job_key(id, 'logs', attempt), job_key(id, 'samples', attempt), summary}
    for level = 3, 30 do append(keys, summary .. ':' .. level) end
    redis.call('UNLINK', unpack(keys))
  end
end
