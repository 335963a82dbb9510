/** Permits of concurrency policies in Redis, and the leases of the instances that hold them. */

/**
 * How long an instance that says nothing is taken to be alive, in microseconds by the clock of Redis. After that its
 * permits are free.
 */
export const LEASE_US = 10_000_000;

/**
 * How many sessions an instance may have: a session is the number of the instance times this, and one more for each after
 * the first. A later one ends those before it, also when these are heard of afterwards.
 */
export const SESSIONS = 2 ** 20;

/** Milliseconds for which a key lives that permits are held of; who holds them says so more often. */
export const PERMIT_TTL_MS = 300_000;

/** The key of the instances outlives the last of their leases by so many milliseconds. */
const SLACK_MS = 1000;

/**
 * What the scripts have in common.
 *
 * The permits of a key are pairs of a session and what it holds; instances are pairs of a session and when its lease
 * ends. So an instance says once, for all of its permits, that it is alive. A lease that reaches further than one from
 * now was written when the clock was ahead.
 */
export const PERMIT_FUNCTIONS = `
local pack, unpackAt = struct.pack, struct.unpack
local function keepPairs(key, list, ttl)
  local text
  for session, number in pairs(list) do
    if number > 0 then
      local pair = pack('<dd', session, number)
      text = text and text .. pair or pair
    end
  end
  if text then redis.call('SET', key, text, 'PX', ttl) else redis.call('DEL', key) end
end
local function living(value)
  local list = {}
  if value and #value % 16 == 0 then
    for at = 1, #value, 16 do
      local session, till = unpackAt('<dd', value, at)
      if till > now + ${LEASE_US} then till = now + ${LEASE_US} end
      if till > now then list[session] = till end
    end
  end
  return list
end
local function permits(value, alive)
  local list, total = {}, 0
  if value and #value % 16 == 0 then
    for at = 1, #value, 16 do
      local session, number = unpackAt('<dd', value, at)
      if alive[session] and number > 0 then list[session] = number; total = total + number end
    end
  end
  return list, total
end
`;

/** What {@linkcode permitScript} does with the lease of a session. */
export type LeaseAction = "begin" | "renew" | "leave" | "end";

/**
 * Tells what an instance holds, whatever the limit, and that it is alive.
 *
 * KEYS: that of the instances, and those of counted keys. ARGV: the session, what to do with its lease, and for each of
 * the counted keys how much more is held (or less, below 0).
 *
 * Reply: 1, or 0 when the session is over, or a later one of the instance has begun; then nothing is changed.
 */
const PERMITS = `
local session, action = tonumber(ARGV[1]), ARGV[2]
local values = redis.call('MGET', unpack(KEYS))
local alive = living(values[1])
if action == 'begin' then
  local instance = math.floor(session / ${SESSIONS})
  for other in pairs(alive) do
    if math.floor(other / ${SESSIONS}) == instance then
      if other > session then return {0} end
      alive[other] = nil
    end
  end
elseif not alive[session] then
  return {0}
end
if action ~= 'leave' then
  alive[session] = action ~= 'end' and now + ${LEASE_US} or nil
  keepPairs(KEYS[1], alive, '${LEASE_US / 1000 + SLACK_MS}')
end
for i = 2, #KEYS do
  local held = permits(values[i], alive)
  held[session] = (held[session] or 0) + tonumber(ARGV[i + 1])
  keepPairs(KEYS[i], held, '${PERMIT_TTL_MS}')
end
return {1}
`;

/** The script that tells of permits. @param time how it takes the time */
export function permitScript(time: string): string {
  return time + PERMIT_FUNCTIONS + PERMITS;
}
