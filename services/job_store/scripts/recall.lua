-- recall: prefix, request_key, body_hash. The first answer to a request; 'none' for a new one.
return recall(ARGV[2], ARGV[3]) or {'none'}
