-- journal_mark: prefix, least. Notes the number of the newest entry of the journal, or `least` if that
-- is larger. A number that was noted stays or grows. Returns it.
--- @include prelude
local key, least = PREFIX .. 'journal_mark', tonumber(ARGV[2])

local function number(name) return tonumber(redis.call('GET', name) or '0') end

local mark = text(math.max(number(key), number(PREFIX .. 'journal'), least))
redis.call('SET', key, mark)
return {'ok', mark}
