-- The first answers to requests. A memo is {key, hash (of the request's body), ttl_ms}.

-- The first answer to this request, an error if the body differs, nil if it is new.
local function recall(memo)
  local stored = redis.call('HMGET', memo.key, 'hash', 'answer')
  if not stored[1] then return nil end
  if stored[1] ~= memo.hash then return {'reused'} end
  return {'ok', stored[2]}
end

local function remember(memo, answer)
  redis.call('HSET', memo.key, 'hash', memo.hash, 'answer', answer)
  redis.call('PEXPIRE', memo.key, memo.ttl_ms)
  return {'ok', answer}
end
