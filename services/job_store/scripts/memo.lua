-- The first answers to requests. A memo is {key, hash (of the request's body), ttl_ms}.

-- The first answer to this request, an error if the body differs, nil if it is new.
local function recall(memo)
  local stored = redis.call('HMGET', memo.key, 'hash', 'answer')
  if not stored[1] then return nil end
  if stored[1] ~= memo.hash then return {'reused'} end
  return {'ok', stored[2]}
end

-- Notes the request that made an item among its fields, so that the journal has it: its repetition
-- gets an answer also where Redis was lost in between. '-' is the hash of a call without an id.
local function note_request(memo, record)
  if memo.hash ~= '-' then record.request_key, record.request_hash = memo.key, memo.hash end
end

-- The memo of the request that made an item, as `note_request` has noted it, for a recovered one.
local function remember_noted(record, ttl_ms, answer)
  if not record.request_key then return end
  redis.call('HSET', record.request_key, 'hash', record.request_hash, 'answer', answer)
  redis.call('PEXPIRE', record.request_key, ttl_ms)
end

local function remember(memo, answer)
  redis.call('HSET', memo.key, 'hash', memo.hash, 'answer', answer)
  redis.call('PEXPIRE', memo.key, memo.ttl_ms)
  return {'ok', answer}
end
