-- Read a sentinel and the batches after a seq, or of a channel, what was published under some keys.
--
-- KEYS   1 sentinel (hash)   2 log (stream)   3 of a channel: publication keys (sorted set, by seq)
-- ARGV   1 seq after which to read   2 events after which no more batches are added   3 bytes, too; or
--        "0" to leave the log alone   4 batches, too   5 JSON: [publication key, …], or ""
-- returns {now, token, record, lease, ttl, store, seqs, first, batches}: times in ms; "" for what is
--         not there; store is what the server's memory goes back to, and seqs belong to the
--         publication keys, where those are asked for; first is the oldest seq in the log; batches
--         are the raw records, the first of which may begin at or before the seq
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local found = redis.call('HMGET', KEYS[1], 'token', 'record', 'lease')
local store, seqs = '', {}
if ARGV[5] ~= '' then
  store = redis.call('INFO', 'replication'):match('master_replid:(%w+)') or ''
  for index, key in ipairs(cjson.decode(ARGV[5])) do
    seqs[index] = redis.call('ZSCORE', KEYS[3], key) or ''
  end
end
local wanted, most, many = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local first = ''
if most > 0 then
  local oldest = redis.call('XRANGE', KEYS[2], '-', '+', 'COUNT', 1)
  if oldest[1] then
    first = oldest[1][2][2]
  end
end
local batches, size, more, from = {}, 0, wanted > 0, '(' .. ARGV[1] .. '-0'
local enough, count = nil, 1
while more do
  local entries, last, per_batch = redis.call('XRANGE', KEYS[2], from, '+', 'COUNT', count), 0, 1
  more = #entries == count
  for _, entry in ipairs(entries) do
    local begins = tonumber(entry[2][2]) or 1
    last = tonumber(entry[1]:match('^%d+'))
    enough = enough or math.max(tonumber(ARGV[1]), begins - 1) + wanted
    per_batch = math.max(1, last - begins + 1)
    batches[#batches + 1] = entry[2][4]
    size = size + #entry[2][4]
    from = '(' .. entry[1]
    if size >= most or last >= enough or #batches >= many then
      more = false
      break
    end
  end
  if more then
    -- As many as should do, if they are like those before: a batch may have hundreds of events, or
    -- one.
    local by_size = (most - size) * #batches / math.max(1, size)
    count = math.min(64, math.ceil(math.min((enough - last) / per_batch, by_size)))
  end
end
local ttl = redis.call('PTTL', KEYS[1])
return {now, found[1] or '', found[2] or '', found[3] or '0', ttl, store, seqs, first, batches}
