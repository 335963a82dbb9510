/** The scripts that run in Redis: decisions, and permits with their leases. */

import { MAX_AHEAD_US } from "../limiter/algorithm.ts";

// Permits of concurrency policies in Redis, and the leases of the instances that hold them.

/**
 * How long an instance without renewals counts as alive, in microseconds by the clock of Redis. After that its permits
 * are free.
 */
export const LEASE_US = 10_000_000;

/**
 * Maximum number of sessions of an instance: a session is the number of the instance times this, plus one for each
 * further session. A later session ends earlier ones, even if messages of these arrive afterwards.
 */
export const SESSIONS = 2 ** 20;

/** Lifetime in milliseconds of a key with permits; its holders extend it more often. */
export const PERMIT_TTL_MS = 300_000;

/** Additional lifetime in milliseconds of the key of instances after the last of their leases. */
const PERMIT_SLACK_MS = 1000;

/**
 * Functions shared by the scripts.
 *
 * The permits of a key are pairs of a session and its number of permits; instances are pairs of a session and the end
 * of its lease. So an instance renews all of its permits at once. A lease that ends later than a new one would was
 * written when the clock was ahead.
 */
const PERMIT_FUNCTIONS = `
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
 * Sends the permits that an instance holds, regardless of the limit, and renews its lease.
 *
 * KEYS: the key of the instances, and those of counted keys. ARGV: the session, the action for its lease, and for each
 * of the counted keys the change of its permits (negative for fewer).
 *
 * Reply: 1, or 0 if the session has ended, or a later one of the instance has begun; then nothing is changed.
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
  keepPairs(KEYS[1], alive, '${LEASE_US / 1000 + PERMIT_SLACK_MS}')
end
for i = 2, #KEYS do
  local held = permits(values[i], alive)
  held[session] = (held[session] or 0) + tonumber(ARGV[i + 1])
  keepPairs(KEYS[i], held, '${PERMIT_TTL_MS}')
end
return {1}
`;

/** The script that updates permits. @param time Lua code that sets the time */
export function permitScript(time: string): string {
  return time + PERMIT_FUNCTIONS + PERMITS;
}

// The decision about a request, as a script that Redis runs in one step.

/** Uses the time of the server: one clock for all instances. */
export const SERVER_TIME = "local time = redis.call('TIME')\nlocal now = time[1] * 1000000 + time[2]\n";

/** Format of a state in Redis: three doubles. */
const STATE = "<ddd";

/** Additional lifetime of a key in milliseconds, for servers whose clocks differ a little after a failover. */
const SLACK_MS = 1000;

/** Maximum lifetime of a key in milliseconds: ten years, used for states without an end. */
const MAX_TTL_MS = 315_360_000_000;

/**
 * Reads and writes states: always with an expiry, so that no key stays for ever.
 *
 * Another value under the key counts as no state, and is overwritten.
 */
const STATE_FUNCTIONS = `
local floor, ceil, max, min, INF = math.floor, math.ceil, math.max, math.min, math.huge
local AHEAD = ${MAX_AHEAD_US}
local function read(value)
  if not value or #value ~= 24 then return 0, 0, 0 end
  return struct.unpack('${STATE}', value)
end
local function write(key, a, b, c)
  local ttl = min(max(0, ceil((a - now) / 1000)) + ${SLACK_MS}, ${MAX_TTL_MS})
  redis.call('SET', key, struct.pack('${STATE}', a, b, c), 'PX', string.format('%.0f', ttl))
end
`;

/** The same arithmetic as the functions in `limiter/algorithm.ts`, also with doubles. */
const ALGORITHMS = `
local function fixed(a, b, c, limit, window, burst, cost, penalize)
  local corrects = a > now + window
  if corrects then a = now + window elseif a <= now then a = now + window; b = 0 end
  local ok = b + cost <= limit
  if ok or penalize then b = b + cost end
  local retry = a - now
  if b + cost <= limit then retry = 0 elseif cost > limit then retry = INF end
  return ok, a, b, 0, max(0, floor(limit - b)), retry, a - now, corrects
end
local function sliding(a, b, c, limit, window, burst, cost, penalize)
  local start, previous, current = a - 2 * window, b, c
  local corrects = start > now
  if corrects then start = now
  elseif a <= now then start = now; previous = 0; current = 0
  elseif now >= start + window then start = start + window; previous = current; current = 0 end
  local left = window - (now - start)
  local ok = previous * left + (current + cost) * window <= limit * window
  if ok or penalize then current = current + cost end
  local retry
  if previous * left + (current + cost) * window <= limit * window then retry = 0
  elseif cost > limit then retry = INF
  elseif current + cost <= limit then retry = left - floor((limit - current - cost) * window / previous)
  else retry = left + max(0, window - floor((limit - cost) * window / current)) end
  local reset = 0
  if current > 0 then reset = left + window elseif previous > 0 then reset = left end
  local remaining = max(0, floor((limit * window - previous * left - current * window) / window))
  return ok, start + 2 * window, previous, current, remaining, retry, reset, corrects
end
local function refill(b, c, limit)
  if c > now + AHEAD then return b, now, true end
  local at = max(now, c)
  return max(0, b - (at - c) * limit), at, false
end
local function bucket(a, b, c, limit, window, burst, cost, penalize, bounded)
  if limit == 0 then burst = 0 end
  local capacity = burst * window
  local used, at, corrects = refill(b, c, limit)
  local most = penalize and 2 * capacity or capacity
  if bounded and used > most then used = most; corrects = true end
  local needed = cost * window
  local ok = used + needed <= capacity
  if ok then used = used + needed
  elseif penalize then used = max(used, min(used + needed, 2 * capacity)) end
  local full = 0
  if used ~= 0 then full = ceil(used / limit) end
  local missing = used + needed - capacity
  local retry = 0
  if missing > 0 then
    if cost > burst then retry = INF else retry = ceil(missing / limit) + at - now end
  end
  return ok, at + full, used, at, max(0, floor((capacity - used) / window)), retry, at + full - now, corrects
end
local algorithms = { f = fixed, s = sliding, t = bucket }
`;

/** Numbers per policy in the reply. */
export const REPLY_SIZE = 5;
/** Numbers in the reply before those of the policies. */
export const REPLY_HEAD = 2;

/**
 * KEYS: one per policy, followed by the key of the instances if one of the policies has permits. ARGV: how often the
 * request may be counted (prefetch), the session of this instance (0 without permits), and for each policy algorithm,
 * limit, window, burst, cost, flags (the sum of 1: penalizes, 2: is on a dry run, 4: is bounded).
 *
 * Reply: the time, how often the request was counted (0: refused), and for each policy admitted (0 or 1), remaining,
 * microseconds until the next try and until the whole limit is available (-1: never), and the end of the state (0 for
 * permits). Only the time and -1 if the session has ended: the permits of the instance are unknown then, and nothing is
 * decided.
 */
const DECISION = `
local times, session = tonumber(ARGV[1]), tonumber(ARGV[2])
local values = redis.call('MGET', unpack(KEYS))
local count, alive = #KEYS, nil
if session ~= 0 then
  alive = living(values[count])
  if not alive[session] then return {now, -1} end
  count = count - 1
end
local reply, states = {}, {}
local function permit(i, limit, cost)
  local held, total = permits(values[i], alive)
  local ok = total + cost <= limit
  if ok then total = total + cost; held[session] = (held[session] or 0) + cost end
  local remaining = max(0, floor(limit - total))
  local retry = 1000000
  if remaining >= cost then retry = 0 elseif cost > limit then retry = INF end
  states[i] = { ok, false, held }
  return ok, 0, 0, 0, remaining, retry, 0
end
local function evaluate()
  local admitted = true
  for i = 1, count do
    local at = 6 * i - 3
    local kind, limit, cost, flags = ARGV[at], tonumber(ARGV[at + 1]), tonumber(ARGV[at + 4]), tonumber(ARGV[at + 5])
    local ok, a, b, c, remaining, retry, reset, corrects
    if kind == 'c' then
      ok, a, b, c, remaining, retry, reset = permit(i, limit, cost)
    else
      local penalize = flags % 2 == 1
      a, b, c = read(values[i])
      ok, a, b, c, remaining, retry, reset, corrects = algorithms[kind](a, b, c, limit, tonumber(ARGV[at + 2]),
        tonumber(ARGV[at + 3]), times * cost, penalize, flags >= 4)
      states[i] = { ok, penalize or corrects, a, b, c }
    end
    if not ok and flags % 4 < 2 then admitted = false end
    local out = 5 * i - 2
    reply[out] = ok and 1 or 0
    reply[out + 1] = remaining
    reply[out + 2] = retry == INF and -1 or retry
    reply[out + 3] = reset == INF and -1 or reset
    reply[out + 4] = a == INF and -1 or a
  end
  return admitted
end
local admitted = evaluate()
if not admitted and times > 1 then
  times = 1
  admitted = evaluate()
end
for i, state in ipairs(states) do
  local writes = state[2]
  if state[1] then writes = admitted end
  if writes then
    if state[4] then write(KEYS[i], state[3], state[4], state[5]) else keepPairs(KEYS[i], state[3], '${PERMIT_TTL_MS}') end
  end
end
reply[1] = now
reply[2] = admitted and times or 0
return reply
`;

/** How long Redis stores the number of the last correction of an instance, in milliseconds. */
const CORRECTED_TTL_MS = 90_000_000;

/**
 * Adds to the count of a key, takes back a part, or deletes the key; each correction once, however often it is sent.
 *
 * KEYS: the key, and the key with the number of the instance's last correction. ARGV: the number of this correction,
 * the algorithm (`x` deletes), limit, window, burst, the amount to add (negative to take back), the end of the state
 * and the time of the count. The same arithmetic as `correctCount` in `limiter/memory_store.ts`.
 */
const CORRECTION = `
local number, kind = tonumber(ARGV[1]), ARGV[2]
local limit, window, burst = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local delta, taken, at = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])
local value, latest = unpack(redis.call('MGET', KEYS[1], KEYS[2]))
if latest and (tonumber(latest) or 0) >= number then return {0} end
redis.call('SET', KEYS[2], ARGV[1], 'PX', ${CORRECTED_TTL_MS})
local a, b, c = read(value)
local function fill(amount)
  local left, from = refill(b, c, limit)
  local used = max(0, left + amount)
  if used == 0 then return from, used, from end
  return from + ceil(used / limit), used, from
end
local function correct()
  if delta > 0 then
    if kind == 't' then return fill(delta * window) end
    local ok, x, y, z = algorithms[kind](a, b, c, limit, window, burst, delta, true)
    return x, y, z
  end
  if not value then return nil end
  if kind == 't' then
    local left = -delta * window - max(0, now - at) * limit
    if left <= 0 then return nil end
    return fill(-left)
  end
  if kind == 'f' and a == taken then return a, max(0, b + delta), c end
  if kind == 's' and a == taken then return a, b, max(0, c + delta) end
  if kind == 's' and a == taken + window then return a, max(0, b + delta), c end
  return nil
end
if kind == 'x' then
  redis.call('DEL', KEYS[1])
else
  a, b, c = correct()
  if a then write(KEYS[1], a, b, c) end
end
return {1}
`;

/**
 * KEYS: an otherwise unused key. Runs all commands of the other scripts and leaves nothing: a server that is read-only,
 * has no memory left or denies the commands to the user returns an error.
 */
const CHECK = `
redis.call('MGET', KEYS[1])
redis.call('SET', KEYS[1], redis.call('GET', KEYS[1]) or now, 'PX', 1000)
redis.call('DEL', KEYS[1])
return {1}
`;

/** The script that checks whether Redis can count. */
export function checkScript(): string {
  return SERVER_TIME + CHECK;
}

/** The script that corrects counts. */
export function correctScript(time: string = SERVER_TIME): string {
  return time + STATE_FUNCTIONS + ALGORITHMS + CORRECTION;
}

/** The script that decides; all keys of a call are in one cluster slot. */
export function decideScript(time: string = SERVER_TIME): string {
  return time + STATE_FUNCTIONS + PERMIT_FUNCTIONS + ALGORITHMS + DECISION;
}
