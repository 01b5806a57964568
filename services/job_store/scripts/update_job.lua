-- update_job: prefix, job_id, request_key, body_hash, ttl_ms, added, removed (JSON arrays of tags),
-- most (tags of a job), then the notes and their folded form where they are to change. Returns the job.
--- @include prelude
--- @include memo
--- @include transitions
local id, added, removed = ARGV[2], cjson.decode(ARGV[6]), cjson.decode(ARGV[7])
local most, notes, folded = tonumber(ARGV[8]), ARGV[9], ARGV[10]
local memo = {key = ARGV[3], hash = ARGV[4], ttl_ms = ARGV[5]}

local first_answer = recall(memo)
if first_answer then return first_answer end
local job, err = load_job(id)
if err then return err end

local tags, left_out = {}, {}
local function keep(tag)
  if not left_out[tag] then append(tags, tag) end
  left_out[tag] = true
end
for _, tag in ipairs(removed) do left_out[tag] = true end
for _, tag in ipairs(cjson.decode(job.tags or '[]')) do keep(tag) end
for _, tag in ipairs(added) do keep(tag) end
if #tags > most then return {'too_many_tags', id, text(#tags), text(most)} end

-- Notes that are not given are nil, which changes nothing.
local changes = {tags = #tags > 0 and cjson.encode(tags) or '[]', user_notes = notes,
                 folded_notes = folded}
-- The time of a held job's last change is its worker's last report: how long it ran hangs on that.
if not is_held(job.status) then changes.updated_at = now_ms() end
for tag in each_tag(job.tags) do redis.call('ZREM', tag_key(tag), id) end
for _, tag in ipairs(tags) do redis.call('ZADD', tag_key(tag), 0, id) end
set_fields(id, job, changes)
return remember_of_job(id, 'update', memo, cjson.encode(job))
