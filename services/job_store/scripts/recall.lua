-- recall: prefix, request_key, body_hash. Returns the first answer to a request; 'none' for a new
-- one.
--- @include prelude
--- @include memo
local memo = {key = ARGV[2], hash = ARGV[3]}

return recall(memo) or {'none'}
